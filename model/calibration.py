"""From raw scores of normal pictures to a threshold that keeps the false-alarm rate people ask for.

The scores must be out of sample: each picture scored by a memory bank that had not seen it. Scores of the
training pictures themselves are far too low and would flag most good pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from model.prediction import Verdict

PROVISIONAL_BELOW = 10
SUSPECTS_FROM = 10
SUSPECT_Z = 4.5
SUSPECT_SHARE = 0.1
LEAST_SHARE = 0.1
LEAST_SPREAD = 0.05
"""Scores of real pictures vary more; those of a few may agree by chance."""
LARGEST_LOG = 700.0
ENOUGH = 50
"""So many scores need no help from an assumption about their distribution."""


@dataclass(frozen=True)
class Calibration:
    """Out-of-sample scores of the normal pictures, and the threshold that they support.

    scores: float64 (n,), ascending; raw scores of normal pictures by a bank that had not seen them.
    alarm_rate: the false-alarm rate asked for, in (0, 1).
    parts: how many physical parts the pictures show; None where each shows another.

    Follows split conformal prediction: Vovk, Gammerman and Shafer (2005); Bates et al., "Testing for outliers
    with conformal p-values" (2023), section 2.
    """

    scores: NDArray[np.float64]
    alarm_rate: float = 0.05
    parts: int | None = None

    @property
    def independent(self) -> int:
        """How many scores do not depend on one another: as many as there are parts."""
        return self.parts or len(self.scores)

    @property
    def attainable_rate(self) -> float:
        """The smallest false-alarm rate that n independent scores can promise: 1 / (n + 1)."""
        return 1 / (self.independent + 1)

    @property
    def provisional(self) -> bool:
        """Too few normal pictures for any promise: the threshold is an estimate."""
        return self.independent < PROVISIONAL_BELOW

    @cached_property
    def threshold(self) -> float:
        """Raw scores above it are abnormal."""
        return supported_threshold(self.scores, self.alarm_rate, self.independent)

    def verdict(self, raw_score: float) -> Verdict:
        return Verdict.ABNORMAL if raw_score > self.threshold else Verdict.NORMAL

    def p_value(self, raw_score: float) -> float:
        """Share of normal pictures at least this strange, counting the picture itself, in (0, 1]."""
        at_least = len(self.scores) - np.searchsorted(self.scores, raw_score, side="left")
        return float((at_least + 1) / (len(self.scores) + 1))

    @cached_property
    def scale(self) -> float:
        """From the typical normal picture to the threshold, in units of the raw score, at least a robust spread.

        Where many alarms are allowed the threshold is a typical picture itself.
        """
        return max(self.threshold - float(np.median(self.scores)), _robust_spread(self.scores))

    def score(self, raw_score: float) -> float:
        """What people see, in (0, 1): 0.5 is the threshold, 0.25 one `scale` below it, the typical normal picture.

        Strictly increasing and never clamped, so that no two pictures lose their order.
        """
        x = (raw_score - self.threshold) / self.scale
        return 0.5 + 0.5 * x / (1 + abs(x))


def conformal_threshold(scores: NDArray[np.float64], alarm_rate: float, independent: int | None = None) -> float:
    """The ceil((1 - rate)(n + 1))-th smallest of n scores: a new normal picture exceeds it at most `rate` often.

    With fewer than 1 / rate - 1 scores only their maximum is left, which promises 1 / (n + 1).
    independent: n, where there are more scores, which depend on one another; the same share of all is then below.
    """
    n = independent or len(scores)
    rank = min(math.ceil((1 - alarm_rate) * (n + 1)), n)
    return float(np.sort(scores)[math.ceil(rank * len(scores) / n) - 1])


def tail_threshold(scores: NDArray[np.float64], alarm_rate: float, independent: int | None = None) -> float:
    """The conformal threshold; beyond what n scores can promise, continued along an exponential tail.

    The maximum of n scores is exceeded 1 / (n + 1) often. To be exceeded `rate` often, it is raised by
    log(1 / ((n + 1) rate)) times the mean excess of the upper half over the median. An estimate, not a promise.
    """
    beyond = math.log(1 / (((independent or len(scores)) + 1) * alarm_rate))
    if beyond <= 0:
        return conformal_threshold(scores, alarm_rate, independent)
    middle = float(np.median(scores))
    mean_excess = float(np.mean(scores[scores >= middle] - middle))
    return float(scores.max()) + beyond * mean_excess


def lognormal_threshold(scores: NDArray[np.float64], alarm_rate: float, independent: int | None = None) -> float:
    """What a new score exceeds `rate` often if the logarithms of scores are normal: the end of a prediction interval.

    Scores below a tenth of the median count as that much: a few that are nearly nothing would stretch it.
    """
    n = independent or len(scores)
    logs = np.log(np.maximum(scores, max(LEAST_SHARE * float(np.median(scores)), 1e-9)))
    reach = -special.stdtrit(n - 1, alarm_rate) * logs.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(max(np.median(scores), np.exp(min(logs.mean() + reach, LARGEST_LOG))))


def supported_threshold(scores: NDArray[np.float64], alarm_rate: float, independent: int | None = None) -> float:
    """The threshold in use: from ENOUGH scores on the conformal one, with its tail; with fewer partly an estimate.

    The conformal threshold of few scores is their maximum, so that one odd picture among them sets it alone, and many
    anomalies stay below. It counts n / ENOUGH; the rest is that of log-normal scores, to which all of them contribute.
    """
    n, promised = independent or len(scores), tail_threshold(scores, alarm_rate, independent)
    if n >= ENOUGH:
        return promised
    return promised + (1 - n / ENOUGH) * (lognormal_threshold(scores, alarm_rate, independent) - promised)


def suspects(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the normal pictures look so unlike the rest that a person should check them again -> bool (n,).

    Robust z-scores (median and MAD) above SUSPECT_Z, at most SUSPECT_SHARE of all and none among fewer than
    SUSPECTS_FROM: one abnormal picture tagged normal by mistake must not raise the threshold for all.
    """
    n = len(scores)
    if n < SUSPECTS_FROM:
        return np.zeros(n, dtype=bool)
    z = (scores - np.median(scores)) / _robust_spread(scores)
    most = math.floor(SUSPECT_SHARE * n)
    strangest = np.argsort(-z)[:most]
    marked = np.zeros(n, dtype=bool)
    marked[strangest] = z[strangest] > SUSPECT_Z
    return marked


def _robust_spread(scores: NDArray[np.float64]) -> float:
    """A standard deviation that a few outliers do not move: 1.4826 MAD, at least LEAST_SPREAD of the median."""
    middle = float(np.median(scores))
    mad = 1.4826 * float(np.median(np.abs(scores - middle)))
    return max(mad, LEAST_SPREAD * abs(middle), 1e-9)
