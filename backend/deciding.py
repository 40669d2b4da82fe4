"""What is due in a project: a training, and which predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from backend.dataset import Dataset, Task, changed_at, image_uri, is_finished, is_judged, judgements
from backend.labels import LabelConfig
from backend.naming import is_ours
from backend.registry import ModelVersion
from backend.settings import Settings

Json = dict[str, Any]

OPEN_TIME = timedelta(minutes=15)
"""How long a task may be open in a browser. Label Studio refuses what people submit there once the prediction that
they were shown is gone."""
SHIFT = timedelta(hours=8)
"""However busy people are, nobody has a task open for so long."""


def why_train(
    dataset: Dataset,
    current: ModelVersion | None,
    settings: Settings,
    wanted_recipe: str,
    *,
    force: bool = False,
    chosen: Json | None = None,
    unusable: str | None = None,
) -> str | None:
    """Why a training is due, in words, or None.

    chosen: the last choice of a false-alarm rate, if there was one. unusable: the version in charge, where it
    cannot be read.
    """
    training = {image.task_id for image in dataset.training}
    if len(training) < settings.min_normals:
        return None
    if current and chosen and current.recipe != wanted_recipe and chosen["set_at"] >= current.created_at:
        return f"the false-alarm rate was set to {100 * (chosen['alarm_rate'] or settings.alarm_rate):g} %"
    if force:
        return "someone asked for it"
    if current is None:
        first = f"there are {len(training)} normal pictures and no model yet"
        return f"{unusable} was lost or is of another release" if unusable else first
    if current.recipe != wanted_recipe:
        return "the settings of the model or the area to look at changed"
    if training & set(current.unread_tasks):
        return "pictures that could not be read can be read now"
    if dataset.fingerprint == current.fingerprint:
        return None
    known = set(current.training_tasks)
    fresh = len(training - known)
    lost = known - training
    kept = lost & {image.task_id for image in dataset.normals} - dataset.unread
    if lost - kept:
        return f"labels that it had learned were changed or deleted: {len(lost - kept)}"
    if kept:
        are = "is" if len(kept) == 1 else "are"
        return f"{fresh} new normal pictures; {len(kept)} of the old ones {are} kept for testing now"
    trusted = trusted_of(dataset)
    if trusted - set(current.trusted_tasks):
        return "pictures that look unusual were marked as ground truth"
    if not fresh and trusted == set(current.trusted_tasks):
        return "the task data names other pictures, or their parts"
    if fresh >= max(1, math.ceil(settings.retrain_growth * len(known))):
        return f"{fresh} new normal pictures"
    return None


def trusted_of(dataset: Dataset) -> set[int]:
    """The training tasks that people marked as ground truth: normal beyond doubt."""
    return {image.task_id for image in dataset.training if image.ground_truth}


def needs_prediction(task: Task, config: LabelConfig, version: str) -> bool:
    """Whether an unfinished task with a picture lacks a prediction of `version`.

    One that somebody has judged keeps what had been predicted before; other models' predictions do not matter.
    """
    if is_finished(task) or image_uri(task, config) is None:
        return False
    return not (ours_of(task) if is_judged(task) else _valid(task, config, version))


def superseded(task: Task, config: LabelConfig, version: str, now: datetime, since: datetime) -> list[Json]:
    """Our predictions that one of `version` has replaced for so long that nobody is shown them any more.

    What had been predicted before somebody judged the task is evidence and stays. since: when `version` was put in
    charge; after a rollback its predictions are older than that.
    """
    newest, others = _newest_and_others(task, config, version)
    return others if newest and others and min(_age(newest, now), now - since) >= OPEN_TIME else []


def outlived(task: Task, config: LabelConfig, version: str, now: datetime) -> list[Json]:
    """Those of them that any other has replaced for a whole shift: they can go though people are always at work."""
    _, others = _newest_and_others(task, config, version)
    early = [prediction for prediction in ours_of(task) if others and _age(prediction, now) >= SHIFT]
    last = max(map(changed_at, early), default="")
    return [prediction for prediction in others if changed_at(prediction) < last]


def _newest_and_others(task: Task, config: LabelConfig, version: str) -> tuple[Json | None, list[Json]]:
    """The prediction that counts, and the rest of ours since the last judgement; neither where they all stay.

    A judged task that wants another gets a prediction of each new version from Label Studio, with every look at it.
    """
    valid = _valid(task, config, version)
    if not valid or is_finished(task):
        return None, []
    newest = max(valid, key=changed_at)
    judged_at = max((str(annotation.get("created_at") or "") for annotation in judgements(task)), default="")
    others = [row for row in ours_of(task) if row is not newest and changed_at(row) > judged_at]
    return newest, others


def _age(prediction: Json, now: datetime) -> timedelta:
    return now - datetime.fromisoformat(changed_at(prediction))


def is_calm(tasks: Iterable[Task], now: datetime) -> bool:
    """Whether people have annotated nothing for so long that no task is likely to be open."""
    last = max((changed_at(item) for task in tasks for item in task.get("annotations") or ()), default="")
    return not last or now - datetime.fromisoformat(last) >= OPEN_TIME


def _valid(task: Task, config: LabelConfig, version: str) -> list[Json]:
    """The task's predictions of `version` that fill what the labelling config has now."""
    known = [item for item in task.get("predictions") or () if item.get("model_version") == version]
    return [item for item in known if any(row.get("id") == config.verdict_id for row in item.get("result") or ())]


def ours_of(task: Task) -> list[Json]:
    """The task's predictions that are ours."""
    return [prediction for prediction in task.get("predictions") or () if is_our_prediction(prediction)]


def is_our_prediction(prediction: Json) -> bool:
    """Whether it is ours rather than another model's."""
    return is_ours(prediction.get("model_version"))
