"""What saved versions are worth by what people have confirmed since."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from backend.addresses import saved
from backend.board import Board
from backend.comparing import changes
from backend.dataset import Dataset
from backend.drift import NEWEST, drift
from backend.pictures import Pictures, Place
from backend.registry import ModelVersion, Registry
from backend.review import Case, held_out_cases, report
from model.detector import AnomalyDetector
from model.embedding import Embedding

Json = dict[str, Any]

MOST_SECONDS = 2.0
"""For a first look at the newest pictures: a version waits for it."""


class Reviewer:
    """Measures versions and saves what it finds with them."""

    def __init__(self, registry: Registry, pictures: Pictures, board: Board) -> None:
        self._registry = registry
        self._pictures = pictures
        self._board = board

    def cases(self, version: ModelVersion, dataset: Dataset) -> list[Case]:
        """How a version judges what people confirmed; only what it has not judged before costs time."""
        project_id = version.project_id
        detector = self._registry.detector(project_id, version.name)
        known = self._registry.evaluation(project_id, version.name) or {"cases": []}
        judged = {row["task_id"]: row for row in known["cases"]}
        return held_out_cases(project_id, detector, dataset, self._pictures, self._board, judged)

    def first_look(self, detector: AnomalyDetector, places: Sequence[Place]) -> Json:
        """The newest pictures and drift, as `review` finds them later, once the predictions are in Label Studio.

        places: of the tasks that a new version is going to predict. What cannot be had soon is left out.
        """
        newest = sorted(places, key=lambda place: -place[1])[:NEWEST]
        found = self._pictures.embed_each(newest, detector.config, time.monotonic() + MOST_SECONDS)
        rows = [
            {"task_id": task_id, "uri": saved(uri)} | _judged(detector, item)
            for (uri, task_id), item in zip(newest, found, strict=True)
            if isinstance(item, Embedding)
        ]
        return _seen(detector, rows)

    def review(self, version: ModelVersion, dataset: Dataset, newest: list[Json]) -> None:
        """Compares a version with whatever people have confirmed since, and with the newest pictures."""
        detector = self._registry.detector(version.project_id, version.name)
        self.measure(version, dataset, self.cases(version, dataset), **_seen(detector, newest))

    def measure(self, version: ModelVersion, dataset: Dataset, cases: Sequence[Case], **seen: Any) -> Json:
        """Saves what a version is worth by what is confirmed now; whatever else was known of it stays."""
        project_id = version.project_id
        detector = self._registry.detector(project_id, version.name)
        known = self._registry.evaluation(project_id, version.name) or {}
        evaluation = known | report(project_id, version.name, detector, dataset, cases) | seen
        # Those that people took back the label of are still shown as the nearest learned ones.
        learned = {image.name for image in detector.training} & known.get("pictures", {}).keys()
        evaluation["pictures"] = {name: known["pictures"][name] for name in learned} | evaluation["pictures"]
        before = self._registry.evaluation(project_id, known["changes"]["since"]) if "changes" in known else None
        if before:
            evaluation["changes"] = changes(before, evaluation)
        self._registry.save_evaluation(project_id, version.name, evaluation)
        return evaluation


def _judged(detector: AnomalyDetector, embedding: Embedding) -> Json:
    raw_score, calibration = detector.raw_score(embedding), detector.calibration
    return {"score": calibration.score(raw_score), "predicted": calibration.verdict(raw_score).value}


def _seen(detector: AnomalyDetector, newest: list[Json]) -> Json:
    return {"newest": newest, "drift": drift(detector.calibration, newest)}
