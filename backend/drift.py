"""Whether the newest pictures still look like those that the model learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from backend.addresses import saved
from backend.dataset import Task, image_uri
from backend.labels import LabelConfig
from model.calibration import Calibration

Json = dict[str, Any]

NEWEST = 100
FEWEST = 20
ALARMING = 0.001


def newest_predictions(tasks: Iterable[Task], config: LabelConfig, version: str) -> list[Json]:
    """The newest tasks that `version` has predicted, the newest first: task_id, uri, score, predicted."""
    found: list[Json] = []
    for task in sorted(tasks, key=lambda task: -int(task["id"])):
        uri = image_uri(task, config)
        prediction = prediction_of(task, version)
        verdict = config.verdict_of(prediction["result"]) if prediction else None
        if uri is None or prediction is None or verdict is None:
            continue
        found.append(
            {"task_id": task["id"], "uri": saved(uri), "score": float(prediction["score"]), "predicted": verdict.value}
        )
        if len(found) == NEWEST:
            break
    return found


def drift(calibration: Calibration, newest: Sequence[Json]) -> Json | None:
    """Compares the newest pictures called normal with the normal pictures at training; None with too few.

    p_value: of the one-sided Mann-Whitney test that both come from the same distribution, small when the newest score
    higher. Pictures called abnormal are left out on both sides, so that a bad day in production is no drift.
    """
    known = np.array([calibration.score(score) for score in calibration.scores])
    known = known[known <= 0.5]
    fresh = np.array([item["score"] for item in newest if item["predicted"] == "normal"])
    if min(len(known), len(fresh)) < FEWEST:
        return None
    p_value = float(stats.mannwhitneyu(fresh, known, alternative="greater").pvalue)
    return {
        "p_value": p_value,
        "alarming": p_value < ALARMING,
        "pictures": len(newest),
        "called_abnormal": len(newest) - len(fresh),
        "median": float(np.median(fresh)),
        "median_at_training": float(np.median(known)),
        "scores": [round(float(score), 4) for score in fresh],
        "scores_at_training": [round(float(score), 4) for score in known],
    }


def prediction_of(task: Task, version: str) -> Json | None:
    """What `version` says of a task, if it has scored it."""
    for prediction in task.get("predictions") or ():
        if isinstance(prediction, dict) and prediction.get("model_version") == version and prediction.get("result"):
            return prediction if prediction.get("score") is not None else None
    return None
