"""Cuts tasks down to what the dataset and the backfill read of them; places and masks are most of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backend.dataset import Task, annotator
from backend.labels import LabelConfig
from backend.task_data import keys

Json = dict[str, Any]

FORM = 2
"""Counts up when other things are kept."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps the shape of tasks. config, group_key: what the dataset will be built with."""

    config: LabelConfig
    group_key: str = ""

    @property
    def name(self) -> str:
        """Changes with whatever decides what is kept."""
        config = self.config
        parts = repr((FORM, config.image_value, config.choices, config.roi, config.ignore, self.group_key))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def task(self, task: Task) -> Task:
        data = task.get("data")
        wanted = {*keys(self.config.image_value), self.group_key}
        return {
            "id": task["id"],
            "is_labeled": bool(task.get("is_labeled")),
            "data": {key: data[key] for key in wanted if key in data} if isinstance(data, dict) else {},
            "annotations": [self._annotation(item) for item in task.get("annotations") or ()],
            "predictions": [self.prediction(item) for item in task.get("predictions") or () if isinstance(item, dict)],
        }

    def prediction(self, prediction: Json) -> Json:
        kept = {key: prediction.get(key) for key in ("created_at", "model_version", "score")}
        return kept | {"result": self._result(prediction.get("result"))}

    def _annotation(self, annotation: Json) -> Json:
        known = ("created_at", "updated_at", "was_cancelled", "ground_truth", "parent_prediction")
        kept = {key: annotation[key] for key in known if annotation.get(key) is not None}
        areas = [item for item in annotation.get("result") or () if self.config.is_area(item)]
        result = self._result(annotation.get("result")) + areas
        return kept | {"completed_by": annotator(annotation), "result": result}

    def _result(self, result: Iterable[Json] | None) -> list[Json]:
        """The choices; of a result without them, that it is none: an empty item."""
        items = list(result or ())
        name = self.config.choices
        chosen = [item for item in items if item.get("from_name") == name]
        if not chosen:
            return [{}] if items else []
        return [
            {"id": item.get("id"), "from_name": name, "value": {"choices": (item.get("value") or {}).get("choices")}}
            for item in chosen
        ]
