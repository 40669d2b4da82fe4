"""How probable it is that a picture of some score is abnormal, learned from confirmed pictures of both kinds.

Platt, "Probabilistic Outputs for Support Vector Machines" (1999): a logistic curve, fitted to targets that are a
little short of 0 and 1, so that few pictures do not make it too sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

ENOUGH_OF_EACH = 20


@dataclass(frozen=True, slots=True)
class Probability:
    """A logistic curve over the score's distance from the threshold. It holds where abnormal pictures are as
    frequent as among those that it was fitted to.
    """

    slope: float
    intercept: float

    def __call__(self, score: float) -> float:
        """The probability of abnormal, in (0, 1), of a picture with this `score`, in (0, 1)."""
        return 1 / (1 + math.exp(-max(-700.0, self.slope * _stretch(score) + self.intercept)))


def fit_probability(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> Probability | None:
    """The curve of n confirmed pictures, float64 (n,) in (0, 1) and bool (n,).

    None with fewer than ENOUGH_OF_EACH of either kind, or where abnormal pictures do not score higher.
    """
    positives, negatives = int(abnormal.sum()), int((~abnormal).sum())
    if min(positives, negatives) < ENOUGH_OF_EACH:
        return None
    target = np.where(abnormal, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    features = np.array([_stretch(score) for score in scores])[:, None]
    curve = LogisticRegression(C=np.inf).fit(
        np.vstack([features, features]),
        np.repeat([True, False], len(scores)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope, intercept = float(curve.coef_[0, 0]), float(curve.intercept_[0])
    return Probability(slope, intercept) if slope > 0 else None


def _stretch(score: float) -> float:
    """The inverse of the squashing that made the score: its distance from the threshold, without bounds."""
    y = 2 * score - 1
    return y / (1 - min(abs(y), 1 - 1e-9))
