"""Answers /predict: one result for each task, in order, whatever happens to single pictures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.dataset import image_uri
from backend.errors import LabelConfigUnusable, OutOfTime, Overloaded, UnknownVersion
from backend.jobs import Jobs
from backend.labels import LabelConfig
from backend.leaving import is_another
from backend.naming import UNTRAINED
from backend.pictures import Pictures
from backend.registry import Registry
from backend.results import prediction_result
from backend.settings import Settings
from model.embedding import Embedding
from model.errors import ArtifactInvalid

log = logging.getLogger(__name__)

Json = dict[str, Any]

MOST_WAITING = 8


@dataclass(slots=True)
class Answer:
    """The results of one request, and what became of its pictures.

    judged: verdict and score of each picture that has them. failed, solved: by task, of those that have an id.
    in_time: False when time ran out; the tasks left then have empty results, and a background job sends what is
    missing. usable: False when the model cannot be used; a background job trains it again.
    """

    results: list[Json] = field(default_factory=list)
    judged: list[tuple[str, float]] = field(default_factory=list)
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    solved: list[int] = field(default_factory=list)
    in_time: bool = True
    usable: bool = True


class Predictor:
    """Predicts with the promoted version. Thread-safe; one request at a time uses the network."""

    def __init__(self, settings: Settings, registry: Registry, pictures: Pictures, jobs: Jobs) -> None:
        self._settings = settings
        self._registry = registry
        self._pictures = pictures
        self._jobs = jobs
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)

    def version(self, project_id: int, created: int | None = None) -> str:
        """The promoted version's name, or UNTRAINED.

        created: when the project was, in seconds since 1970. The model of another that had the id before says nothing
        of this one's pictures.
        """
        return self._in_charge(project_id, created) or UNTRAINED

    def connect(self, project_id: int, created: int | None = None) -> str:
        """Likewise, and a project that is new, or has this backend again, is looked at soon."""
        known = self._registry.project(project_id)
        if not known or known.get("removed") or is_another(known, created):
            self._registry.remember(project_id)
            self._jobs.hint_sync(project_id)
        return self.version(project_id, created)

    def predict(self, project_id: int, tasks: Sequence[Any], label_config: str, created: int | None = None) -> Answer:
        """Exactly one result for each task. Raises Overloaded.

        A task without a model, a readable picture, a labelling config that fits or time left gets an empty result
        with the reason.
        """
        try:
            config = self._settings.label_config(label_config)
        except LabelConfigUnusable as error:
            log.warning("project %s: %s", project_id, error)
            version = self.version(project_id, created)
            return Answer([empty_result(version, str(error)) for _ in tasks])
        try:
            answer = self._queued(project_id, self._in_charge(project_id, created), tasks, config)
        except Overloaded:
            self._jobs.hint_sync(project_id)
            raise
        if not (answer.in_time and answer.usable):
            # Every request meets the unusable model: waiting for the last of them would put its repair off.
            self._jobs.hint_sync(project_id, more_follows=answer.usable)
        return answer

    def _in_charge(self, project_id: int, created: int | None) -> str | None:
        known = self._registry.project(project_id)
        return None if is_another(known, created) else self._registry.current(project_id)

    def _queued(self, project_id: int, version: str | None, tasks: Sequence[Any], config: LabelConfig) -> Answer:
        if version is None:
            return Answer([empty_result(UNTRAINED, "there is no model yet") for _ in tasks])
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{MOST_WAITING} requests wait already; a background job sends what is missing")
        try:
            answer = self._in_turn(project_id, version, tasks, config)
        finally:
            self._places.release()
        self._jobs.board.note_pictures(project_id, answer.failed, answer.solved)
        return answer

    def _in_turn(self, project_id: int, version: str, tasks: Sequence[Any], config: LabelConfig) -> Answer:
        seconds = self._settings.predict_seconds
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=seconds):
            raise Overloaded("the requests before this one took too long; a background job sends what is missing")
        try:
            return self._answer(project_id, version, tasks, config, deadline)
        except (ArtifactInvalid, UnknownVersion) as error:
            return Answer([empty_result(version, str(error)) for _ in tasks], usable=False)
        finally:
            self._lock.release()

    def _answer(
        self, project_id: int, version: str, tasks: Sequence[Any], config: LabelConfig, deadline: float
    ) -> Answer:
        detector = self._registry.detector(project_id, version)
        places = [(image_uri(task, config), _task_id(task)) for task in tasks]
        named = ((uri, task_id or 0) for uri, task_id in places if uri is not None)
        embeddings = self._pictures.embed_each(named, detector.config, deadline)
        answer = Answer()
        for uri, task_id in places:
            item = next(embeddings) if uri is not None else _no_picture(config)
            if isinstance(item, Embedding):
                prediction = detector.judge(item)
                result = prediction_result(prediction, config)
                answer.results.append({"result": result, "score": prediction.score, "model_version": version})
                answer.judged.append((prediction.verdict.value, prediction.score))
                if task_id is not None:
                    answer.solved.append(task_id)
            elif isinstance(item, OutOfTime):
                answer.in_time = False
                answer.results.append(empty_result(version, "out of time; a background job sends it"))
            else:
                if task_id is not None:
                    answer.failed[task_id] = (uri or "", str(item))
                answer.results.append(empty_result(version, str(item)))
        return answer


def empty_result(version: str, reason: str) -> Json:
    """A place-holder that keeps the order of the others; Label Studio ignores the reason, people need it."""
    return {"result": [], "score": None, "model_version": version, "error": reason}


def _no_picture(config: LabelConfig) -> str:
    return f"the task's data has no picture under {config.image_value!r}"


def _task_id(task: Any) -> int | None:
    task_id = task.get("id") if isinstance(task, dict) else None
    return task_id if isinstance(task_id, int) else None
