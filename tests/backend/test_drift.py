from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.drift import NEWEST, drift, newest_predictions
from backend.labels import EXAMPLE_CONFIG, parse_config
from model.calibration import Calibration

CONFIG = parse_config(EXAMPLE_CONFIG)
CALIBRATION = Calibration(np.sort(np.random.default_rng(0).gamma(20, size=100)))


def pictures(raw_scores: np.ndarray) -> list[dict[str, Any]]:
    return [{"score": CALIBRATION.score(score), "predicted": CALIBRATION.verdict(score).value} for score in raw_scores]


def test_pictures_like_those_learned_are_no_drift() -> None:
    generator = np.random.default_rng(1)
    values = [drift(CALIBRATION, pictures(generator.gamma(20, size=100))) for _ in range(200)]
    assert np.mean([value is not None and value["alarming"] for value in values]) <= 0.02


def test_a_shift_of_all_pictures_is_drift() -> None:
    found = drift(CALIBRATION, pictures(np.random.default_rng(2).gamma(20, size=100) + 4))
    assert found is not None
    assert found["alarming"]
    assert found["median"] > found["median_at_training"]


def test_a_bad_day_in_production_is_no_drift() -> None:
    usual = np.random.default_rng(3).gamma(20, size=70)
    found = drift(CALIBRATION, pictures(np.append(usual, np.full(30, 200.0))))
    assert found is not None
    assert not found["alarming"]
    assert found["called_abnormal"] >= 30


@pytest.mark.parametrize("count", [0, 19])
def test_too_few_pictures_say_nothing(count: int) -> None:
    assert drift(CALIBRATION, pictures(np.full(count, 15.0))) is None
    assert drift(Calibration(np.arange(10.0)), pictures(np.full(50, 15.0))) is None


def task(task_id: int, version: str = "v1", *, score: float | None = 0.2, choice: str = "normal") -> dict[str, Any]:
    result = [{"from_name": "verdict", "type": "choices", "value": {"choices": [choice]}}]
    prediction = {"model_version": version, "score": score, "result": result}
    return {"id": task_id, "data": {"image": f"/{task_id}.jpg"}, "predictions": [prediction]}


def test_the_newest_predicted_pictures_are_found() -> None:
    tasks = [task(3), task(9, "v0"), task(7, choice="abnormal", score=0.8), task(8, score=None), task(5), {"id": 6}]
    found = newest_predictions(tasks, CONFIG, "v1")
    assert [(item["task_id"], item["predicted"]) for item in found] == [(7, "abnormal"), (5, "normal"), (3, "normal")]
    assert found[0]["uri"] == "/7.jpg"
    assert len(newest_predictions([task(number) for number in range(300)], CONFIG, "v1")) == NEWEST
