"""Whatever happens to a project, the part of it that is read again gives the same dataset as all of it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend import snapshots
from backend.cutting import Cut
from backend.dataset import build_dataset
from backend.deciding import needs_prediction
from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.snapshots import Snapshots
from backend.store import Store
from backend.studio import Studio
from tests.live.conftest import TOKEN, LiveStudio

CUT = Cut(parse_config(EXAMPLE_CONFIG), "part")
VERSION = "normal-5-00000001"
TASKS = 120
PART = 25
NORMAL = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}}
PREDICTED = NORMAL | {"id": CUT.config.verdict_id}
ABNORMAL = NORMAL | {"value": {"choices": ["abnormal"]}}

Json = dict[str, Any]


class CountingStudio(Studio):
    """Counts the tasks that it is asked for."""

    read = 0

    def tasks(self, *args: Any, **known: Any) -> Iterator[Json]:
        for task in super().tasks(*args, **known):
            self.read += 1
            yield task


def lacking(tasks: list[Json]) -> list[int]:
    return [task["id"] for task in tasks if needs_prediction(task, CUT.config, VERSION)]


@dataclass
class Project:
    """A project of many tasks, and how to look at it."""

    live: LiveStudio
    id: int
    studio: CountingStudio
    looker: Snapshots
    ids: list[int]

    def look(self) -> tuple[list[Json], int]:
        """All tasks, found by looking again, and how many were read for that.

        Fails where a look at everything gives another dataset or other tasks that need a prediction.
        """
        self.studio.project(self.id)  # tells the time, as at the beginning of every job
        self.studio.read = 0
        found = self.looker.look(self.id, CUT)
        read = self.studio.read
        whole = list(self.studio.tasks(self.id))
        assert build_dataset(found, CUT.config, "part") == build_dataset(whole, CUT.config, "part")
        assert lacking(found) == lacking(whole)
        return found, read

    def task(self, place: int) -> Json:
        found: Json = self.live.call("GET", f"/api/tasks/{self.ids[place]}/")
        return found

    def act(self, action: str, ids: list[int]) -> None:
        params = {"id": action, "project": self.id}
        body = {"selectedItems": {"all": False, "included": ids}}
        self.live.call("POST", "/api/dm/actions", params=params, json=body)

    def predict(self, ids: list[int]) -> list[Json]:
        """Stores predictions as our own backfill does."""
        rows = [{"task": task_id, "result": [PREDICTED], "score": 0.3, "model_version": VERSION} for task_id in ids]
        assert self.studio.import_predictions(self.id, rows) == len(ids)
        return rows


@pytest.fixture(scope="module")
def project(studio: LiveStudio, tmp_path_factory: pytest.TempPathFactory) -> Project:
    number = studio.create_project("Looked at again", EXAMPLE_CONFIG)
    body = [{"data": {"image": f"/data/upload/{place}.jpg", "part": place // 2}} for place in range(TASKS)]
    studio.call("POST", f"/api/projects/{number}/import", json=body)
    client = CountingStudio(studio.url, TOKEN)
    store = Store(str(tmp_path_factory.mktemp("snapshots")))
    ids = [task["id"] for task in client.tasks(number)]
    return Project(studio, number, client, Snapshots(client, store, reconcile_seconds=3600), ids)


@pytest.fixture(autouse=True)
def _sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed before the last look is not read again, so that each change must be found for itself."""
    monkeypatch.setattr(snapshots, "OVERLAP", timedelta(seconds=0))
    monkeypatch.setattr(snapshots, "PAGE_SIZE", PART)
    monkeypatch.setattr("backend.studio.PAGE_SIZE", 2 * PART)
    monkeypatch.setattr(snapshots, "RARELY", 1e9)


def test_the_first_look_reads_everything(project: Project) -> None:
    found, read = project.look()
    assert len(lacking(found)) == read == TASKS


def annotate(project: Project) -> None:
    project.live.annotate(project.task(3), "normal")
    project.live.annotate(project.task(100), "abnormal")


def change(project: Project) -> None:
    annotation = project.task(3)["annotations"][0]["id"]
    project.live.call("PATCH", f"/api/annotations/{annotation}/", json={"result": [ABNORMAL]})


def vouch(project: Project) -> None:
    annotation = project.task(3)["annotations"][0]["id"]
    project.live.call("PATCH", f"/api/annotations/{annotation}/", json={"ground_truth": True})


def skip(project: Project) -> None:
    project.live.annotate(project.task(5), "normal", was_cancelled=True)


def remove_annotation(project: Project) -> None:
    project.live.call("DELETE", f"/api/annotations/{project.task(100)['annotations'][0]['id']}/")


def remove_task(project: Project) -> None:
    project.live.call("DELETE", f"/api/tasks/{project.ids[75]}/")


def edit_data(project: Project) -> None:
    data = {"image": "/data/upload/other.jpg", "part": "another"}
    project.live.call("PATCH", f"/api/tasks/{project.ids[3]}/", json={"data": data})


def add_tasks(project: Project) -> None:
    body = [{"data": {"image": "/data/upload/new.jpg"}, "annotations": [{"result": [NORMAL]}]}]
    project.live.call("POST", f"/api/projects/{project.id}/import", json=body)


def predict_by_someone_else(project: Project) -> None:
    project.predict([project.ids[10], project.ids[110]])


def remove_predictions(project: Project) -> None:
    project.act("delete_tasks_predictions", [project.ids[10]])


def predictions_to_annotations(project: Project) -> None:
    project.act("predictions_to_annotations", [project.ids[110]])


@pytest.mark.parametrize(
    ("happens", "most"),
    [
        (annotate, 2),
        (change, 1),
        (vouch, 1),
        (skip, 1),
        (remove_annotation, 1),
        (remove_task, 2 * PART),
        (edit_data, 1),
        (add_tasks, 1),
        (predict_by_someone_else, 4 * PART),
        (remove_predictions, 2 * PART),
        (predictions_to_annotations, 1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_changed_is_found_by_reading_a_part(
    project: Project, happens: Callable[[Project], None], most: int
) -> None:
    time.sleep(1)  # Label Studio tells its time in whole seconds
    before, _ = project.look()
    assert project.look() == (before, 0)
    happens(project)
    after, read = project.look()
    assert after != before
    assert 0 < read <= most


def test_a_correction_is_dated(project: Project) -> None:
    change(project)
    found, _ = project.look()
    annotation = next(task for task in found if task["id"] == project.ids[3])["annotations"][0]
    assert annotation["updated_at"] > annotation["created_at"]


def test_what_the_backfill_pushed_is_known_without_asking(project: Project) -> None:
    time.sleep(1)
    found, _ = project.look()
    for part in (slice(0, 50), slice(50, None)):
        rows = project.predict(lacking(found)[part])
        project.looker.note_predictions(project.id, CUT, {row["task"]: [row] for row in rows})
    found, read = project.look()
    assert read == 0
    assert lacking(found) == []
    assert project.looker._store.names(project.id, snapshots.FOLDER) == [snapshots.FILE]


def test_a_damaged_or_foreign_snapshot_is_read_anew(project: Project) -> None:
    store = project.looker._store
    whole = store.read(project.id, snapshots.FOLDER, snapshots.FILE)
    assert whole
    of_another_release = json.dumps(json.loads(gzip.decompress(whole)) | {"format": snapshots.FORMAT + 1})
    for content in (whole[:100], b"", b"\x1f\x8b nonsense", gzip.compress(of_another_release.encode())):
        store.write(content, project.id, snapshots.FOLDER, snapshots.FILE)
        assert project.look()[1] == TASKS
    assert project.look()[1] == 0
    assert Path(store._path(project.id, snapshots.FOLDER, snapshots.FILE)).stat().st_size < 100 * TASKS


def test_a_clock_that_was_set_back_makes_everything_be_read(project: Project) -> None:
    project.studio.project(project.id)
    assert project.studio.clock
    kept = project.looker._read(project.id, CUT)
    assert kept
    assert not project.looker._is_due(kept)
    project.studio.clock -= timedelta(hours=1)
    assert project.looker._is_due(kept)


def test_one_prediction_is_deleted_and_the_others_stay(project: Project) -> None:
    others = [{"task": project.ids[0], "result": [NORMAL], "score": 0.9, "model_version": "customers-own-yolo"}]
    before = {found["id"] for found in project.task(0)["predictions"]}
    project.studio.import_predictions(project.id, others)
    project.predict([project.ids[0]])
    [ours] = [
        found["id"]
        for found in next(project.studio.tasks(project.id, [project.ids[0]]))["predictions"]
        if found["id"] not in before and found["model_version"] == VERSION
    ]
    project.studio.delete_prediction(ours)
    left = project.task(0)["predictions"]
    assert ours not in {found["id"] for found in left}
    assert "customers-own-yolo" in {found["model_version"] for found in left}
