"""Predictions on their way to Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backend.dataset import Task, is_judged
from backend.deciding import is_our_prediction, ours_of
from backend.errors import BackendError
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


def push(studio: Studio, project_id: int, tasks: Sequence[Task], predictions: Sequence[Json]) -> None:
    """Replaces our old predictions of tasks that nobody has judged; those of judged ones stay as evidence."""
    ready = {row["task"] for row in predictions}
    _delete_outdated(studio, project_id, [task for task in tasks if task["id"] in ready and not is_judged(task)])
    if not predictions:
        return
    created = studio.import_predictions(project_id, predictions)
    if created != len(predictions):
        raise BackendError(
            f"Label Studio stored {created} of {len(predictions)} predictions for project {project_id}: does the"
            " labelling config still fit?"
        )


def _delete_outdated(studio: Studio, project_id: int, tasks: Sequence[Task]) -> None:
    """Deletes our predictions: those of many tasks at once, but one by one beside predictions of other models."""
    alone = [
        task["id"] for task in tasks if task.get("predictions") and all(map(is_our_prediction, task["predictions"]))
    ]
    if alone:
        studio.delete_predictions(project_id, alone)
    for task in tasks:
        for prediction in ours_of(task) if task["id"] not in alone else ():
            studio.delete_prediction(prediction["id"])
