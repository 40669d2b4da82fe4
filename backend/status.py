"""A project's state in one look: for people who wait, and for machines that watch."""

from __future__ import annotations

from typing import Any

from backend.errors import QueueUnreachable
from backend.media import shown
from backend.registry import ModelVersion
from backend.services import Services
from backend.suggesting import SHOWN

Json = dict[str, Any]

NO_WORKER = {
    False: "No worker has been seen for a minute, and work waits: start one, label-studio-anomaly worker.",
    True: "The server's worker has not been seen for a minute, and work waits: start the server again.",
}


def project_status(project_id: int, parts: Services) -> Json:
    """State, numbers, progress and problems of a project, and one sentence on what to do next."""
    registry, board, settings = parts.registry, parts.jobs.board, parts.settings
    name, version = registry.current(project_id), registry.in_charge(project_id)
    try:
        news, problems, pending = board.news(project_id), board.problems(project_id), board.is_pending(project_id)
        fault = NO_WORKER[settings.embedded] if board.lacks_worker(project_id) else None
        parts.jobs.check()
    except QueueUnreachable as error:
        news, problems, pending, fault = {}, [], False, str(error)
    if fault:
        news = news | {"progress": None}  # nobody goes on with it
    if news.get("unusable") == name:
        version = None
    without_image = news.get("without_image", [])
    needed = news.get("normals_needed", 0 if name else settings.min_normals)
    told = fault or news.get("error")
    state = _state(version, news, told)
    return {
        "project_id": project_id,
        "title": news.get("title"),
        "state": state,
        "message": _message(state, name, version, news, needed, told),
        "advice": news.get("advice"),
        "error": told,
        "model_version": name,
        "provisional": version.provisional if version else None,
        "model_normals": version.normals if version else 0,
        "model_given": len(version.training_tasks) if version else 0,
        "alarm_rate": version.alarm_rate if version else settings.alarm_rate,
        "attainable_alarm_rate": version.attainable_rate if version else None,
        "tasks": news.get("tasks"),
        "normals": news.get("normals", 0),
        "abnormals": news.get("abnormals", 0),
        "training_normals": news.get("training_normals", 0),
        "held_out": news.get("held_out", 0),
        "normals_needed": needed,
        "pending": pending,
        "progress": news.get("progress"),
        "backfill": news.get("backfill"),
        "last_training": news.get("last_training") if name else None,  # otherwise it was another project's
        "area_task": news.get("area_task"),
        "disputed": news.get("disputed", []),
        "without_image": without_image,
        "suggested": [row | {"uri": shown(row["uri"])} for row in news.get("suggested", [])[:SHOWN]],
        "problems": [row for row in problems if row["task_id"] not in without_image],  # /predict noted those too
        "updated_at": news.get("updated_at"),
    }


def _state(version: ModelVersion | None, news: Json, error: str | None) -> str:
    if news.get("progress"):
        return "training"
    if error:
        return "error"
    return "ready" if version else "waiting"


def _message(
    state: str, name: str | None, version: ModelVersion | None, news: Json, needed: int, error: str | None
) -> str:
    if state == "training":
        progress = news["progress"]
        return f"Training: {progress['phase']}, {progress['done']} of {progress['total']}."
    if state == "error":
        return str(error)
    if version is None:
        if name and needed == 0:
            return f"{name} was lost or is of another release; it is about to be trained again from the labels."
        if name:
            return f"{name} was lost or is of another release. {_to_tag(needed, news, 'a new model')}"
        if needed == 0:
            return "Enough pictures are tagged normal; the training is about to start."
        return _to_tag(needed, news, "the first model")
    given = len(version.training_tasks)
    share = f"{version.normals} of {given}" if given > version.normals else str(version.normals)
    learned = f"{version.name} is in charge; it learned from {share} normal pictures."
    if needed:
        return f"{learned} It stays, as {_left(news)} left to learn from. {_to_tag(needed, news, 'a new model')}"
    if version.provisional:
        return f"{learned} It is provisional: tag at least 10 pictures normal for a false-alarm rate to count on."
    if version.attainable_rate > version.alarm_rate:
        return (
            f"{learned} It aims at {100 * version.alarm_rate:g} % false alarms; with so few pictures no less than"
            f" {100 * version.attainable_rate:.2g} % can be promised."
        )
    return learned


def _left(news: Json) -> str:
    """How many normal pictures there still are, labels having been changed or deleted."""
    left = news.get("training_normals", 0)
    pictures = {0: "no normal picture is", 1: "only 1 normal picture is"}
    return pictures.get(left, f"only {left} normal pictures are")


def _to_tag(needed: int, news: Json, aim: str) -> str:
    """What brings a model: tagging pictures, or first importing some where too few are here."""
    tagged, tasks = news.get("training_normals", 0), news.get("tasks")
    if tasks is not None:
        here = news.get("pictures", tasks)
        may_be_normal = here - news.get("abnormals", 0) - len(news.get("disputed", ()))
        missing = tagged + needed - may_be_normal
        if missing > 0 and here < tasks:
            return (
                f"{tasks - here} of {tasks} tasks have no picture where the labelling config looks: correct the value"
                f" of its Image tag, or import at least {missing} more pictures, to be tagged as normal."
            )
        if missing > 0:
            pictures = "picture is" if here == 1 else "pictures are"
            return f"Only {here} {pictures} here: import at least {missing} more, to be tagged as normal."
    pictures = "picture" if needed == 1 else "pictures"
    return f"Tag {needed}{' more' if tagged else ''} {pictures} as normal to get {aim}."
