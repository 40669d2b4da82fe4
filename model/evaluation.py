"""How good the verdicts are, with intervals that say how far to trust each number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """k of n, its value and its 95 % Wilson score interval; value and interval are None when n is 0."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, k: int, n: int) -> Rate:
        if n == 0:
            return cls(0, 0, None, None, None)
        interval = stats.binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
        return cls(k, n, k / n, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class AreaUnderCurve:
    """An area under a curve with its 95 % interval; all None without both kinds of pictures."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions compared with what people confirmed.

    Positive means abnormal: a false positive is a false alarm, a false negative a miss. `auroc` judges the
    order of the scores, the rest judges the verdicts.
    """

    normals: int
    abnormals: int
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    false_alarm_rate: Rate
    recall: Rate
    precision: Rate
    auroc: AreaUnderCurve
    average_precision: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    scores: Sequence[float] | NDArray[np.float64],
    abnormal: Sequence[bool] | NDArray[np.bool_],
    called_abnormal: Sequence[bool] | NDArray[np.bool_],
) -> Evaluation:
    """Compares n predictions with the truth.

    scores: (n,), higher is stranger; abnormal: (n,), what people confirmed; called_abnormal: (n,), the verdicts.
    """
    score = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(abnormal, dtype=bool)
    called = np.asarray(called_abnormal, dtype=bool)
    tp, fp = int((truth & called).sum()), int((~truth & called).sum())
    fn, tn = int((truth & ~called).sum()), int((~truth & ~called).sum())
    return Evaluation(
        normals=fp + tn,
        abnormals=tp + fn,
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
        false_alarm_rate=Rate.of(fp, fp + tn),
        recall=Rate.of(tp, tp + fn),
        precision=Rate.of(tp, tp + fp),
        auroc=auroc_with_interval(score, truth),
        average_precision=average_precision(score, truth),
    )


def auroc(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float:
    """Chance that an abnormal picture scores above a normal one, ties counted half (Mann and Whitney, 1947)."""
    positives = int(abnormal.sum())
    negatives = len(abnormal) - positives
    ranks = stats.rankdata(scores)
    wins = ranks[abnormal].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def auroc_with_interval(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> AreaUnderCurve:
    """AUROC with Newcombe's score interval, which holds for small samples and at 1.0.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2"
    (2006), method 5: the areas whose own Hanley-McNeil variance does not rule out the one observed.
    """
    positives = int(abnormal.sum())
    negatives = len(abnormal) - positives
    if positives == 0 or negatives == 0:
        return AreaUnderCurve(None, None, None)
    area = auroc(scores, abnormal)
    z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    middle = (positives + negatives) / 2 - 1

    def excess(candidate: float) -> float:
        spread = 1 + middle * (1 - candidate) / (2 - candidate) + middle * candidate / (1 + candidate)
        variance = candidate * (1 - candidate) * spread / (positives * negatives)
        return abs(candidate - area) - z * math.sqrt(variance)

    inner = min(max(area, 1e-9), 1 - 1e-9)  # at 0 and 1 the variance vanishes, and with it the root
    low = 0.0 if area == 0 else float(optimize.brentq(excess, 0.0, inner))
    high = 1.0 if area == 1 else float(optimize.brentq(excess, inner, 1.0))
    return AreaUnderCurve(area, low, high)


def average_precision(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float | None:
    """Mean precision over the ranks at which abnormal pictures stand; tied scores share one rank."""
    if not abnormal.any():
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(abnormal, scores))


def significantly_worse(
    candidate: NDArray[np.float64],
    current: NDArray[np.float64],
    abnormal: NDArray[np.bool_],
    *,
    resamples: int = 1000,
) -> bool:
    """Whether the candidate's AUROC is below the current one's on the same pictures, beyond chance.

    Paired, stratified bootstrap: worse when 95 % of the resamples agree. Deterministic.
    """
    generator = np.random.default_rng(0)
    normal_rows, abnormal_rows = np.flatnonzero(~abnormal), np.flatnonzero(abnormal)
    losses = 0
    for _ in range(resamples):
        rows = np.concatenate(
            [
                generator.choice(normal_rows, len(normal_rows)),
                generator.choice(abnormal_rows, len(abnormal_rows)),
            ]
        )
        losses += auroc(candidate[rows], abnormal[rows]) < auroc(current[rows], abnormal[rows])
    return losses >= 0.95 * resamples
