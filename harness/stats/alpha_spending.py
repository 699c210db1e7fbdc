"""One alpha for a whole loop of tests: what each iteration may spend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import StatisticsError

Scheme = Literal["fixed_sequence", "even", "fallback", "endless"]


@dataclass(frozen=True, slots=True)
class AlphaSpending:
    """How the chance of any wrong pass is shared out among iterations tested one after another.

    Parameters
    ----------
    alpha : float
        Chance of passing any checkpoint that should not pass, over all iterations.
    n_iterations : int
        Iterations planned.
    scheme : {"fixed_sequence", "even", "fallback", "endless"}
        fixed_sequence: alpha at every iteration as long as all before passed, and nothing after the first that did
        not: the first checkpoint that should not pass stops the loop with probability 1 - alpha, and nothing after
        it is tested. even: alpha / n_iterations. fallback: the same, but what an iteration that passed had is
        handed on to the next. endless: 6 alpha / (pi t)^2, for a loop without a planned end.

    Raises
    ------
    StatisticsError
        An alpha outside (0, 1), no iterations, or an unknown scheme.

    Notes
    -----
    fixed_sequence and fallback keep the familywise error under any dependence between the tests, even the same prompts
    at every iteration. They take each iteration's hypothesis as given. Where the loop goes on from an earlier
    checkpoint after a failure, the later checkpoints depend on what the test set said before, one bit a look; fresh
    prompts at each iteration, or a locked final set, are safe from that.

    References
    ----------
    Maurer, Hothorn and Lehmacher (1995), fixed-sequence tests. Wiens (2003), A fixed sequence Bonferroni procedure for
    testing multiple endpoints, Pharmaceutical Statistics 2:211-215; Wiens and Dmitrienko (2005), The fallback
    procedure, J. Biopharmaceutical Statistics 15:929-942.
    """

    alpha: float
    n_iterations: int
    scheme: Scheme = "fallback"

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < 1.0:
            raise StatisticsError(f"alpha is {self.alpha}", "a number between 0 and 1", "0.05 is usual")
        if self.n_iterations < 1:
            raise StatisticsError(f"{self.n_iterations} iterations", "at least 1")
        if self.scheme not in ("fixed_sequence", "even", "fallback", "endless"):
            raise StatisticsError(f"scheme {self.scheme!r}", "fixed_sequence, even, fallback or endless")

    def level(self, passed: Sequence[bool]) -> float:
        """The alpha of the next iteration.

        Parameters
        ----------
        passed : sequence of bool
            Whether each iteration so far passed.

        Returns
        -------
        float
            0 where nothing is left: the iteration may be measured, but cannot pass.

        Raises
        ------
        StatisticsError
            More iterations than planned.
        """
        done = len(passed)
        if self.scheme == "endless":
            return 6.0 * self.alpha / (math.pi * (done + 1)) ** 2
        if done >= self.n_iterations:
            raise StatisticsError(
                f"iteration {done + 1} of {self.n_iterations} planned",
                "no more iterations than planned",
                "plan more from the start, or use the scheme endless",
            )
        if self.scheme == "fixed_sequence":
            return self.alpha if all(passed) else 0.0
        share = self.alpha / self.n_iterations
        if self.scheme == "even":
            return share
        run = 0  # passes just before this iteration hand their share on
        while run < done and passed[done - 1 - run]:
            run += 1
        return share * (run + 1)
