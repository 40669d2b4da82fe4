"""What the service stands on goes away and comes back: Redis, Label Studio, the disk, a model's file."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from backend.deciding import OPEN_TIME
from backend.naming import UNTRAINED
from backend.services import build_services
from backend.settings import load_settings
from tests.faults.conftest import PROJECT, Fleet, Redis, eventually
from tests.faults.label_studio import FakeLabelStudio


@pytest.mark.parametrize("forgets", [False, True], ids=["restarted", "come back empty"])
def test_redis_goes_away_and_comes_back(
    forgets: bool, fleet: Fleet, studio: FakeLabelStudio, shared_redis: Redis, tmp_path: Path
) -> None:
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server, lambda version: server.version() != UNTRAINED)
    with studio.holding("GET /api/tasks") as looking:
        for task_id in (7, 8):
            studio.label(task_id, "normal")
        server.hook("START_TRAINING")
        looking.wait()
        shared_redis.stop()
        assert server.hook() == 503
        assert server.is_up()
        assert server.version() == first
        assert server.predict(9)["result"]
        assert "queue" in server.status()["message"]
        if forgets:
            shutil.rmtree(tmp_path / "appendonlydir")
        eventually(lambda: "start Redis or change QUEUE_URL" in fleet.log("worker"), "that it is told")
    shared_redis.start()
    fleet.settle(server, lambda version: version != first)
    eventually(lambda: "the job queue answers again" in fleet.log("worker"), "that the end is told")
    told = fleet.log("worker")
    assert told.count("start Redis") <= 2
    assert "Traceback" not in told


@pytest.mark.parametrize("status", [500, 502, 429])
def test_label_studio_fails_in_the_middle(status: int, fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    studio.fail("GET /api/tasks", status, times=2)
    studio.fail("POST /api/projects/4/import", status, times=2)
    fleet.worker()
    assert server.version() == UNTRAINED
    fleet.settle(server)


def test_label_studio_refuses_the_token_for_a_while(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    studio.fail("POST /api/projects/4/import", 401, times=3)
    fleet.worker()
    assert server.version() == UNTRAINED
    told = eventually(lambda: (server.status()["error"] or "").partition(":")[0], "that it is told")
    assert "refuses POST /api/projects/4/import/predictions (401)" in told
    server.hook()
    fleet.settle(server)


def test_label_studio_is_restarted_in_the_middle(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker()
    with studio.holding("GET /data/upload") as training:
        assert server.version() == UNTRAINED
        training.wait()
        studio.stop()
    # Of its pictures or, where they had all come already, of Label Studio itself.
    told = re.compile("cannot be read|does not answer")
    eventually(lambda: told.search(str(server.status()["error"])), "that it is told")
    assert server.is_up()
    studio.start()
    fleet.settle(server)


def test_label_studio_is_slow(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    studio.delay = 0.5
    fleet.worker(BACKFILL_CHUNK="100")
    assert server.version() == UNTRAINED
    eventually(lambda: studio.asked, "a first question")
    assert server.is_up()
    assert server.hook() == 200
    version = fleet.settle(server)
    assert server.promotions() == [version]


def test_label_studio_hangs_until_the_worker_gives_up(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker(ANSWER_SECONDS="1", MEDIA_TIMEOUT="1")
    requests = ("GET /api/tasks", "GET /data/upload", "PATCH /api/ml")
    with ExitStack() as held:
        hanging = [held.enter_context(studio.holding(request)) for request in requests]
        assert server.version() == UNTRAINED
        for request in hanging:
            request.wait()
            assert server.is_up()
            assert server.hook() == 200
        version = fleet.settle(server)
    assert server.promotions()[-1] == version  # the picture that hung is learned by the look that follows
    assert version.startswith("normal-6-")


def test_predictions_that_label_studio_stores_too_late_do_not_stay_twice(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker(ANSWER_SECONDS="1")
    with studio.holding("POST /api/projects/4/import") as late:
        assert server.version() == UNTRAINED
        late.wait()
        version = fleet.settle(server)
    eventually(lambda: [version, version] in studio.versions(), "that they are stored after all")
    studio.behind -= OPEN_TIME + timedelta(seconds=1)  # clocks tell whole seconds
    assert server.hook() == 200
    assert fleet.settle(server) == version
    assert all(made == [version] for made in studio.versions())


def test_the_disk_is_full_and_then_is_not(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    worker = fleet.worker(LARGEST_FILE="20000")
    assert server.version() == UNTRAINED
    eventually(lambda: "cannot be written" in str(server.status()["error"]), "that it is told")
    assert server.version() == UNTRAINED
    models = Path(fleet.settings["MODEL_DIR"])
    eventually(lambda: not list(models.rglob("*.partial")), "that what a try has begun is gone")
    assert list(models.rglob("manifest.json")) == []
    worker.kill()
    fleet.worker()
    fleet.settle(server)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_model_is_trained_again(damage: str, fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker()
    version = fleet.settle(server)
    path = Path(fleet.settings["MODEL_DIR"]) / str(PROJECT) / "versions" / version / "model.safetensors"
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\0" * len(whole))
    other = fleet.server()
    assert not other.predict(9)["result"]
    eventually(lambda: other.predict(9)["result"], "a prediction by the model that was trained again")
    assert other.version() == version


def test_an_event_that_never_came_is_made_up_for(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server)
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    settings = load_settings(queue_url=fleet.settings["QUEUE_URL"], model_dir=fleet.settings["MODEL_DIR"])
    build_services(settings).jobs.reconcile()
    fleet.settle(server, lambda version: version != first)


def test_an_event_that_comes_twice_and_late_changes_nothing(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server)
    imports = [request for request in studio.asked if "/import/" in request]
    for _ in range(2):
        assert server.hook("ANNOTATIONS_DELETED") == 200
        fleet.settle(server)
    assert fleet.settle(server) == first
    assert [request for request in studio.asked if "/import/" in request] == imports
