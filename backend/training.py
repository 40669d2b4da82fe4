"""One project from labels to a promoted model: dataset, training, evaluation, promotion, backfill."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backend.advice import advice
from backend.areas import DrawnArea, drawn_area
from backend.board import Board
from backend.choices import cheapest
from backend.comparing import changes
from backend.connection import Connection, our_backends
from backend.cutting import Cut
from backend.dataset import Dataset, Task, build_dataset, image_uri
from backend.deciding import is_calm, needs_prediction, ours_of, outlived, superseded, trusted_of, why_train
from backend.drift import newest_predictions
from backend.errors import UnknownVersion
from backend.labels import LabelConfig
from backend.learning import Learner
from backend.leaving import find_project, is_connected
from backend.logs import about
from backend.pictures import Pictures, Place
from backend.pushing import push, task_prediction, tidy
from backend.recipes import detector_config, learning_recipe, model_name, recipe, version_name
from backend.registry import ModelVersion, Registry, now
from backend.review import held_out_cases, report, worse_on_test
from backend.reviewer import Reviewer
from backend.settings import Settings
from backend.snapshots import Snapshots
from backend.studio import Studio
from backend.suggesting import SHOWN, doubtful, open_places, representative, still_open
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.errors import ArtifactInvalid

log = logging.getLogger(__name__)

Json = dict[str, Any]


def _always() -> None:
    """Nobody else can take over."""


class Trainer:
    """Does one project's work. Safe to repeat: what is done already is not done again."""

    def __init__(
        self, settings: Settings, studio: Studio, registry: Registry, pictures: Pictures, board: Board
    ) -> None:
        self._settings = settings
        self._studio = studio
        self._registry = registry
        self._pictures = pictures
        self._board = board
        self._learner = Learner(settings, pictures, board)
        self._reviewer = Reviewer(registry, pictures, board)
        self._connection = Connection(settings, studio, registry)
        self._snapshots = Snapshots(studio, registry.store, reconcile_seconds=60 * settings.reconcile_minutes)

    def sync(self, project_id: int, *, force: bool = False, check: Callable[[], None] = _always) -> list[int] | None:
        """Brings the project up to date with its labels; returns the tasks whose predictions are due, in that order.

        None where Label Studio has no such project and nothing is kept of it.

        force: train even where there is too little new to be worth it (Start Training). check: raises where another
        worker has taken over.
        """
        known, days = self._registry.remember(project_id), self._settings.forget_days
        project = find_project(self._studio, self._registry, project_id, known, forget_days=days)
        if project is None:
            self._pictures.cache.forget(project_id)
            return None
        backends = our_backends(self._studio.backends(project_id))  # asked once: Label Studio then calls each of them
        if not is_connected(self._studio, self._registry, project_id, known, backends):
            return []
        self._connection.sign_webhooks(project_id, backends)
        self._board.post(project_id, title=project.get("title"))
        config = self._settings.label_config(project["label_config"])
        tasks = self._snapshots.look(project_id, self._cut(config), whole=force)
        dataset = build_dataset(tasks, config, self._settings.group_key)
        drawn = drawn_area(tasks, config)
        self._post_counts(project_id, dataset, len(tasks), drawn)
        self._board.keep_problems(project_id, {task["id"]: image_uri(task, config) or "" for task in tasks})
        current = self._current(project_id)
        unusable = None if current else self._registry.current(project_id)
        self._board.post(project_id, unusable=unusable)
        wanted = detector_config(self._settings, self._registry.alarm_rate(project_id), drawn)
        wanted_recipe = recipe(wanted, self._pictures)
        dataset = replace(dataset, unread=self._still_unread(project_id, dataset, current, wanted))
        chosen = next(reversed(self._registry.rules(project_id)), None)
        if current is None:
            self._board.post(project_id, suggested=still_open(self._board.suggested(project_id), tasks, config))
        why = why_train(dataset, current, self._settings, wanted_recipe, force=force, chosen=chosen, unusable=unusable)
        settled = current and self._registry.is_passed_over(project_id, version_name(dataset, wanted_recipe))
        if why and (force or not settled):
            log.info("project %s: training, because %s", project_id, why)
            current = self._train(project_id, dataset, open_places(tasks, config), wanted, current, why, check)
        elif current:
            self._reviewer.review(current, dataset, newest_predictions(tasks, config, current.name))
        self._suggest(project_id, tasks, dataset, config, wanted, current)
        detector = self._registry.detector(project_id, current.name) if current else None
        self._board.post(project_id, advice=advice(dataset, detector))
        if current is None:
            return []
        check()
        self._connection.announce(project, backends, current.name)
        return self._due(tasks, config, current)

    def backfill(
        self, project_id: int, version: str, task_ids: Sequence[int], *, check: Callable[[], None] = _always
    ) -> None:
        """Pushes predictions of `version` to those of the tasks that still lack them, and deletes superseded ones."""
        if self._registry.current(project_id) != version:
            return  # superseded; the newer version has its own backfill
        config = self._settings.label_config(self._studio.project(project_id)["label_config"])
        detector = self._registry.detector(project_id, version)
        found = list(self._studio.tasks(project_id, task_ids))
        tasks = [task for task in found if needs_prediction(task, config, version)]
        places = [(str(image_uri(task, config)), task["id"]) for task in tasks]
        predictions: list[Json] = []
        failed: dict[int, tuple[str, str]] = {}
        for (uri, task_id), item in zip(places, self._pictures.embed_each(places, detector.config), strict=True):
            if isinstance(item, Embedding):
                predictions.append(task_prediction(task_id, detector, item, config, version))
            else:
                failed[task_id] = (uri, str(item))
        self._board.note_pictures(project_id, failed, solved=[row["task"] for row in predictions])
        check()
        if self._registry.current(project_id) == version:
            push(self._studio, project_id, predictions)
            before = {task["id"]: task.get("predictions") or [] for task in tasks}
            pushed = {row["task"]: [*before[row["task"]], row | {"created_at": now()}] for row in predictions}
            since = self._registry.in_charge_since(project_id)
            left = tidy(self._studio, project_id, found, config, version, now=self._now(), since=since)
            self._snapshots.note_predictions(project_id, self._cut(config), pushed | left)

    def look_again(self, project_id: int) -> None:
        """Takes in the predictions that were pushed: the newest pictures, drift, and which to judge next."""
        current = self._current(project_id)
        if current is None:
            return
        config = self._settings.label_config(self._studio.project(project_id)["label_config"])
        tasks = self._snapshots.look(project_id, self._cut(config))
        dataset = build_dataset(tasks, config, self._settings.group_key)
        self._reviewer.review(current, dataset, newest_predictions(tasks, config, current.name))
        self._board.post(project_id, suggested=doubtful(tasks, config, current.name))

    # Steps

    def _still_unread(
        self, project_id: int, dataset: Dataset, current: ModelVersion | None, config: DetectorConfig
    ) -> frozenset[int]:
        """Of the normal pictures that could not be read for the version in charge, those that cannot be read now."""
        missed = [image for image in dataset.training if current and image.task_id in current.unread_tasks]
        return frozenset(self._learner.embed(project_id, missed, config)[1])

    def _suggest(
        self,
        project_id: int,
        tasks: Sequence[Task],
        dataset: Dataset,
        config: LabelConfig,
        wanted: DetectorConfig,
        current: ModelVersion | None,
    ) -> None:
        """Tells which pictures to tag next. Those of the time before a model are only chosen anew once they run out."""
        if current:
            suggested = doubtful(tasks, config, current.name)
        else:
            places = open_places(tasks, config)
            suggested = self._board.suggested(project_id)  # of which `sync` has left those that are open
            if len(suggested) < min(SHOWN, len(places)):
                suggested = representative(places, dataset, self._pictures, wanted)
        self._board.post(project_id, suggested=suggested)

    def _due(self, tasks: Sequence[Task], config: LabelConfig, current: ModelVersion) -> list[int]:
        """The tasks that lack a prediction, first those that have none yet, and those whose older ones can go."""
        version, at = current.name, self._now()
        lacking = [task for task in tasks if needs_prediction(task, config, version)]
        since = self._registry.in_charge_since(current.project_id)
        can_go = partial(superseded, since=since) if is_calm(tasks, at) else outlived
        can_wait = [task for task in tasks if can_go(task, config, version, at)]
        return [task["id"] for task in sorted(lacking, key=lambda task: bool(ours_of(task))) + can_wait]

    def _now(self) -> datetime:
        """Label Studio's time, by which predictions and annotations are dated; ours where it tells none."""
        return self._studio.clock or datetime.now(UTC)

    def _cut(self, config: LabelConfig) -> Cut:
        return Cut(config, self._settings.group_key)

    def _current(self, project_id: int) -> ModelVersion | None:
        name = self._registry.current(project_id)
        if name is None:
            return None
        try:
            self._registry.detector(project_id, name, anew=True)
            return self._registry.version(project_id, name)
        except (ArtifactInvalid, UnknownVersion) as error:
            log.error("project %s: %s; it is trained again from the labels", project_id, error)
            return None

    def _post_counts(self, project_id: int, dataset: Dataset, tasks: int, drawn: DrawnArea | None) -> None:
        self._board.post(
            project_id,
            tasks=tasks,
            pictures=tasks - len(dataset.without_image),
            normals=len(dataset.normals),
            abnormals=len(dataset.abnormals),
            training_normals=len(dataset.training),
            held_out=len(dataset.labelled) - len(dataset.training),
            normals_needed=max(0, self._settings.min_normals - len(dataset.training)),
            disputed=[dispute.task_id for dispute in dataset.disputed],
            without_image=list(dataset.without_image)[:200],
            area_task=drawn.task_id if drawn else None,
            error=None,
        )

    def _train(
        self,
        project_id: int,
        dataset: Dataset,
        others: Sequence[Place],
        config: DetectorConfig,
        current: ModelVersion | None,
        why: str,
        check: Callable[[], None],
    ) -> ModelVersion | None:
        """Trains, evaluates and, unless it is worse, promotes; returns the version in charge afterwards.

        others: the pictures that nobody has judged yet.
        """
        started = time.monotonic()
        wanted_recipe = recipe(config, self._pictures)
        detector, unread = self._learn(project_id, dataset, config, current)
        dataset = replace(dataset, unread=dataset.unread | unread)
        name = model_name(self._registry, project_id, dataset, wanted_recipe, detector)
        self._board.post_progress(project_id, "evaluating", 0, 1)
        cases = held_out_cases(project_id, detector, dataset, self._pictures, self._board)
        saving = cheapest(detector.calibration, [case.to_json() for case in cases], self._settings)
        if saving:
            detector = detector.with_alarm_rate(saving["alarm_rate"])
            cases = held_out_cases(project_id, detector, dataset, self._pictures, self._board)
        before = self._reviewer.cases(current, dataset) if current and current.name != name else []
        version = ModelVersion(
            name=name,
            project_id=project_id,
            created_at=now(),
            fingerprint=dataset.fingerprint,
            normals=len(detector.calibration.scores),
            training_tasks=tuple(image.task_id for image in dataset.training),
            trusted_tasks=tuple(sorted(trusted_of(dataset))),
            unread_tasks=tuple(sorted(dataset.unread)),
            recipe=wanted_recipe,
            learning_recipe=learning_recipe(config, self._pictures),
            seconds=round(time.monotonic() - started, 2),
            provisional=detector.calibration.provisional,
            threshold=detector.calibration.threshold,
            alarm_rate=detector.calibration.alarm_rate,
            attainable_rate=detector.calibration.attainable_rate,
        )
        evaluation = report(project_id, name, detector, dataset, cases) | {"saving": saving}
        check()
        if current and current.name == name:
            evaluation = (self._registry.evaluation(project_id, name) or {}) | evaluation
        else:
            evaluation |= self._reviewer.first_look(detector, others)
        if current and before:
            evaluation["changes"] = changes(self._reviewer.measure(current, dataset, before), evaluation)
        self._registry.save(version, detector, evaluation)
        with about(version=name):
            log.info("project %s: trained %s in %.1f s", project_id, name, version.seconds)
        if current and worse_on_test(cases, before):
            refusal = f"{name} orders the test pictures worse than {current.name} and was not promoted"
            log.warning("project %s: %s", project_id, refusal)
            self._registry.pass_over(project_id, name)
            self._board.post(project_id, last_training=_outcome(version, why, refusal))
            return current
        check()
        self._registry.promote(project_id, name, why)
        self._registry.store.sweep(project_id)
        if self._settings.keep_versions:
            self._registry.prune(project_id, self._settings.keep_versions)
        self._board.post(project_id, last_training=_outcome(version, why, "promoted"))
        return version

    def _learn(
        self, project_id: int, dataset: Dataset, config: DetectorConfig, current: ModelVersion | None
    ) -> tuple[AnomalyDetector, frozenset[int]]:
        """A detector, and the tasks that could not be read; where only the rate is another, nothing is learned anew."""
        if current and self._differs_in_rate_alone(current, dataset, config):
            return self._registry.detector(project_id, current.name).with_alarm_rate(config.alarm_rate), frozenset()
        return self._learner.fit(project_id, dataset, config)

    def _differs_in_rate_alone(self, current: ModelVersion, dataset: Dataset, config: DetectorConfig) -> bool:
        return (
            current.recipe != recipe(config, self._pictures)
            and current.learning_recipe == learning_recipe(config, self._pictures)
            and current.fingerprint == dataset.fingerprint
        )


def _outcome(version: ModelVersion, why: str, result: str) -> Json:
    return {
        "version": version.name,
        "why": why,
        "result": result,
        "seconds": version.seconds,
        "finished_at": now(),
    }
