"""The regression behind the published length-controlled win rate, fitted by scikit-learn as alpaca_eval 0.6.6 fits it.

scikit-learn's "liblinear" solver at its default tolerance stops before the minimum, and where it stops depends on the
random order in which it visits the coefficients. The published figure is therefore reproduced only by the same calls
of the same solver; `benchmarks.alpaca_eval.logistic` solves the same problem to the minimum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.alpaca_eval.logistic import Array

_RANDOM_STATE = 123


def fit_as_published(features: Array, label: Array, weight: Array, n_folds: int, C_grid: Array) -> tuple[Array, float]:
    """Choose C by cross-validation and fit, as ``fit_LogisticRegressionCV`` of alpaca_eval does.

    Parameters
    ----------
    features : ndarray, shape (k, n)
        One row a coefficient.
    label : ndarray, shape (n,)
        Probability of the positive class. Each observation becomes one row of each class, weighted by it and by its
        complement.
    weight : ndarray, shape (n,)
        Weight of each observation.
    n_folds : int
        Folds of the cross-validation; both rows of an observation share a fold.
    C_grid : ndarray
        Candidates for the inverse strength of the penalty.

    Returns
    -------
    coefficients : ndarray, shape (k,)
    C : float
    """
    import sklearn
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    probability = np.concatenate([label, 1.0 - label])
    weights = np.concatenate([weight, weight])
    classes = np.repeat([1, 0], len(label))
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
        model = LogisticRegressionCV(
            Cs=C_grid,
            cv=GroupKFold(n_splits=n_folds),
            scoring=scorer.set_score_request(probability=True, weights=True),
            solver="liblinear",
            l1_ratios=(1.0,),
            fit_intercept=False,
            random_state=_RANDOM_STATE,
            use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)
        model.fit(
            np.concatenate([features, features], axis=1).T,
            classes,
            sample_weight=probability * weights,
            groups=np.tile(np.arange(len(label)), 2),
            probability=probability,
            weights=weights,
        )
    return np.asarray(model.coef_[0]), float(model.C_)


def _log_loss(classes: npt.NDArray[np.int64], predicted: Array, probability: Array, weights: Array) -> float:
    """Weighted cross-entropy of the soft labels; `probability` is that of the row's own class."""
    positive = np.where(classes == 1, probability, 1.0 - probability)
    predicted = np.clip(predicted, 1e-15, 1.0 - 1e-15)
    losses = positive * np.log(predicted) + (1.0 - positive) * np.log(1.0 - predicted)
    return -float(np.mean(losses * weights))
