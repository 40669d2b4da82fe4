"""What other false-alarm rates would do: the choices that the report offers, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.settings import Settings
from model.calibration import Calibration, supported_threshold

Json = dict[str, Any]

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5)
ENOUGH_ABNORMALS = 10


def choices(calibration: Calibration, cases: Sequence[Json]) -> list[Json]:
    """For each rate the threshold that keeps it, and how many of the confirmed cases it calls abnormal.

    The rate in force is among them. Each choice: alarm_rate, raw_score, false_alarms, found.
    """
    rates = sorted({*RATES, calibration.alarm_rate})
    return [
        _choice(rate, supported_threshold(calibration.scores, rate, calibration.independent), cases) for rate in rates
    ]


def _choice(rate: float, threshold: float, cases: Sequence[Json]) -> Json:
    called = [case["confirmed"] for case in cases if case["raw_score"] > threshold]
    found = called.count("abnormal")
    return {"alarm_rate": rate, "raw_score": threshold, "false_alarms": len(called) - found, "found": found}


def cheapest(calibration: Calibration, cases: Sequence[Json], settings: Settings) -> Json | None:
    """The false-alarm rate, no higher than the one asked for, at which confirmed pictures would cost least.

    Chosen on dev, where at least ENOUGH_ABNORMALS abnormal pictures must be confirmed; what it costs is measured on
    test. None where COST_MISS and COST_FALSE_ALARM are not set, or dev is too small.

    False alarms are counted on dev and on the out-of-sample scores of the learned pictures, misses on dev alone.
    """
    miss, alarm = settings.cost_miss, settings.cost_false_alarm
    dev = [case for case in cases if case["split"] == "dev"]
    abnormal = [case for case in dev if case["confirmed"] == "abnormal"]
    if miss is None or alarm is None or len(abnormal) < ENOUGH_ABNORMALS:
        return None
    learned = [{"confirmed": "normal", "raw_score": float(score)} for score in calibration.scores]
    offered = [
        choice for choice in choices(calibration, [*dev, *learned]) if choice["alarm_rate"] <= calibration.alarm_rate
    ]

    def expected(choice: Json) -> float:
        return float(miss * (len(abnormal) - choice["found"]) + alarm * choice["false_alarms"])

    best = min(reversed(offered), key=expected)
    test = [case for case in cases if case["split"] == "test"]
    return {
        "alarm_rate": best["alarm_rate"],
        "instead_of": calibration.alarm_rate,
        "cost_on_test": _cost(test, best["raw_score"], miss, alarm),
        "cost_on_test_before": _cost(test, calibration.threshold, miss, alarm),
        "test_cases": len(test),
    }


def _cost(cases: Sequence[Json], threshold: float, miss: float, alarm: float) -> float:
    misses = sum(case["confirmed"] == "abnormal" and case["raw_score"] <= threshold for case in cases)
    alarms = sum(case["confirmed"] == "normal" and case["raw_score"] > threshold for case in cases)
    return float(miss * misses + alarm * alarms)
