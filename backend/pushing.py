"""Predictions on their way to Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backend.dataset import Task, is_judged
from backend.deciding import is_our_prediction, outlived, superseded
from backend.errors import BackendError, StudioRefused
from backend.labels import LabelConfig
from backend.results import prediction_result
from backend.studio import Studio
from model.detector import AnomalyDetector
from model.embedding import Embedding

Json = dict[str, Any]


def task_prediction(
    task_id: int, detector: AnomalyDetector, embedding: Embedding, config: LabelConfig, version: str
) -> Json:
    """One prediction as Label Studio imports it."""
    prediction = detector.judge(embedding)
    return {
        "task": task_id,
        "result": prediction_result(prediction, config),
        "score": prediction.score,
        "model_version": version,
    }


def push(studio: Studio, project_id: int, predictions: Sequence[Json]) -> None:
    """Stores predictions beside those that are there: people may have a task open, and submit what began from one."""
    if not predictions:
        return
    try:
        created = studio.import_predictions(project_id, predictions)
    except StudioRefused as error:
        if error.status != 400:
            raise
        left = _of_tasks_that_are_there(studio, project_id, predictions)
        if len(left) == len(predictions):
            raise
        push(studio, project_id, left)
        return
    if created != len(predictions):
        raise BackendError(
            f"Label Studio stored {created} of {len(predictions)} predictions for project {project_id}: does the"
            " labelling config still fit?"
        )


def _of_tasks_that_are_there(studio: Studio, project_id: int, predictions: Sequence[Json]) -> list[Json]:
    """Because of one task that was deleted meanwhile Label Studio refuses the predictions of all."""
    there = {task["id"] for task in studio.tasks(project_id, [row["task"] for row in predictions])}
    return [row for row in predictions if row["task"] in there]


def tidy(
    studio: Studio,
    project_id: int,
    tasks: Sequence[Task],
    config: LabelConfig,
    version: str,
    *,
    now: datetime,
    since: datetime,
) -> dict[int, list[Json]]:
    """Deletes superseded predictions; by task, those that are left. since: when `version` was put in charge.

    Those of many tasks at once, of which the one that counts is stored anew; one by one beside other models', where
    people may have one of those open that are left, and where an annotation may have begun from one.
    """
    outdated = {task["id"]: outlived(task, config, version, now) for task in tasks}
    old = {task["id"]: outdated[task["id"]] or superseded(task, config, version, now, since) for task in tasks}
    left = {
        task["id"]: [row for row in task["predictions"] if row not in old[task["id"]]]
        for task in tasks
        if old[task["id"]]
    }
    in_use = {task["id"] for task in tasks if outdated[task["id"]] or is_judged(task)}
    alone = {key: rows for key, rows in left.items() if key not in in_use and all(map(is_our_prediction, rows))}
    if alone:
        studio.delete_predictions(project_id, list(alone))
        push(studio, project_id, [_again(task_id, row) for task_id, rows in alone.items() for row in rows])
    for task_id in left.keys() - alone.keys():
        for prediction in old[task_id]:
            studio.delete_prediction(prediction["id"])
    return left


def _again(task_id: int, prediction: Json) -> Json:
    return {"task": task_id} | {name: prediction[name] for name in ("result", "score", "model_version")}
