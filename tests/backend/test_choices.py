from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.choices import cheapest, choices
from backend.settings import Settings
from model.calibration import Calibration

Json = dict[str, Any]

CALIBRATION = Calibration(np.arange(1.0, 100.0))


def case(raw_score: float, confirmed: str, split: str = "dev") -> Json:
    return {"raw_score": raw_score, "confirmed": confirmed, "split": split}


def costs(settings: Settings, miss: float | None, alarm: float | None) -> Settings:
    return settings.model_copy(update={"cost_miss": miss, "cost_false_alarm": alarm})


def test_each_choice_tells_its_consequences() -> None:
    cases = [case(50, "normal"), case(96, "normal"), case(96, "abnormal"), case(200, "abnormal")]
    offered = {choice["alarm_rate"]: choice for choice in choices(CALIBRATION, cases)}
    assert (offered[0.05]["raw_score"], offered[0.05]["false_alarms"], offered[0.05]["found"]) == (95.0, 1, 2)
    assert (offered[0.02]["false_alarms"], offered[0.02]["found"]) == (0, 1)
    assert (offered[0.5]["false_alarms"], offered[0.5]["found"]) == (1, 2)


def test_the_rate_in_force_is_among_them() -> None:
    offered = choices(Calibration(np.arange(1.0, 100.0), 0.04), [])
    assert [choice["alarm_rate"] for choice in offered].count(0.04) == 1
    thresholds = [choice["raw_score"] for choice in offered]
    assert thresholds == sorted(thresholds, reverse=True)


def test_where_misses_are_dear_the_asked_rate_stays(settings: Settings) -> None:
    cases = [case(96.5 + step / 10, "abnormal") for step in range(20)]
    found = cheapest(CALIBRATION, cases, costs(settings, 1000, 1))
    assert found is not None
    assert found["alarm_rate"] > 0.02


def test_where_all_abnormal_pictures_are_far_away_false_alarms_are_spared(settings: Settings) -> None:
    cases = [case(500 + step, "abnormal") for step in range(12)]
    cases += [case(97, "normal", "test") for _ in range(5)] + [case(400, "abnormal", "test")]
    found = cheapest(CALIBRATION, cases, costs(settings, 10, 1))
    assert found is not None
    assert found["alarm_rate"] <= 0.01
    assert (found["cost_on_test"], found["cost_on_test_before"], found["test_cases"]) == (0, 5, 6)


@pytest.mark.parametrize(("miss", "alarm", "abnormals"), [(None, 1, 20), (1, None, 20), (1, 1, 9)])
def test_without_costs_or_enough_abnormal_pictures_nothing_is_chosen(
    settings: Settings, miss: float | None, alarm: float | None, abnormals: int
) -> None:
    cases = [case(500, "abnormal") for _ in range(abnormals)] + [case(500, "abnormal", "test") for _ in range(30)]
    assert cheapest(CALIBRATION, cases, costs(settings, miss, alarm)) is None
