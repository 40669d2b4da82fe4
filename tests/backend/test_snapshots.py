"""What is kept of a project's tasks between two looks; tests/live has the looks at a real Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backend.cutting import Cut
from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.snapshots import Snapshots
from backend.store import Store
from backend.studio import Studio
from tests.faults.label_studio import FakeLabelStudio

PROJECT = 4
TASKS = range(1, 13)
CUT = Cut(parse_config(EXAMPLE_CONFIG))


@pytest.fixture
def label_studio() -> Iterator[FakeLabelStudio]:
    """Twelve tasks that were not changed of late."""
    fake = FakeLabelStudio()
    for task_id in TASKS:
        fake.add(task_id, b"")
        fake.tasks[task_id]["updated_at"] -= timedelta(hours=1)
    fake.start()
    yield fake
    fake.stop()


def test_of_all_that_was_pushed_the_newest_counts(label_studio: FakeLabelStudio, tmp_path: Path) -> None:
    studio = Studio(label_studio.url, "f" * 40)
    looker = Snapshots(studio, Store(str(tmp_path)), reconcile_seconds=600)
    studio.project(PROJECT)
    looker.look(PROJECT, CUT)
    for task_id in TASKS:
        for version in ("v1", "v2"):
            row = {"task": task_id, "result": [], "score": 0.5, "model_version": version}
            label_studio.tasks[task_id]["predictions"] = [row]
            looker.note_predictions(PROJECT, CUT, {task_id: [row]})
    found = looker.look(PROJECT, CUT)
    assert {prediction["model_version"] for task in found for prediction in task["predictions"]} == {"v2"}
