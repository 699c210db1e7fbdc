"""The objective of the L1-penalised logistic regression, for comparing solvers."""

import numpy as np


def l1_objective(rows, coefficients, C):
    """Give ||b||_1 + C * loss for each row b of the coefficients; the losses of all rows are added."""
    loss = np.zeros(len(coefficients))
    for part in rows:
        score = np.atleast_2d(np.squeeze(coefficients[:, None, :] @ part.features, axis=1))
        loss += np.sum(part.weight * (np.logaddexp(0.0, score) - part.label * score), axis=-1)
    return np.abs(coefficients).sum(axis=-1) + C * loss
