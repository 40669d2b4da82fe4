"""Two servers and three workers on one queue: who does what, and what becomes of it when one of them is killed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from backend.naming import UNTRAINED
from backend.registry import Registry
from tests.faults.conftest import PROJECT, Fleet, eventually
from tests.faults.label_studio import PATIENCE, FakeLabelStudio


def test_two_servers_and_three_workers_share_a_project(fleet: Fleet, studio: FakeLabelStudio) -> None:
    servers = [fleet.server(), fleet.server()]
    for number in range(3):
        fleet.worker(f"worker{number}")
    with studio.holding("GET /data/upload") as training:
        assert servers[0].version() == UNTRAINED
        training.wait()
        asked = len(studio.asked)
        assert [server.hook("START_TRAINING") for server in servers] == [200, 200]
        time.sleep(2)
        assert not [request for request in studio.asked[asked:] if request.startswith("GET /api/tasks")]
    with studio.holding("POST /api/projects/4/import") as pushing:
        pushing.wait()
        version = servers[0].version()
        assert version == servers[1].version() != UNTRAINED
        eventually(lambda: studio.versions().count([version]) == 8, "what the other workers push")
    assert fleet.settle(servers[1]) == version
    registry = Registry(fleet.settings["MODEL_DIR"])
    assert len(registry.versions(PROJECT)) == 1


def test_a_fleet_keeps_its_models_in_a_bucket(fleet: Fleet, studio: FakeLabelStudio, bucket: str) -> None:
    access = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    fleet.settings |= access | {"MODEL_DIR": f"{bucket}/fleet"}
    servers = [fleet.server(), fleet.server()]
    worker = fleet.worker()
    with studio.holding("GET /data/upload") as training:
        assert servers[0].version() == UNTRAINED
        training.wait()
        worker.kill()
        for number in range(2):
            fleet.worker(f"worker{number}")
        first = fleet.settle(servers[1])
    assert [server.predict(9)["model_version"] for server in servers] == [first, first]
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    assert servers[0].hook() == 200
    second = fleet.settle(servers[1], lambda version: version != first)
    assert [server.predict(9)["model_version"] for server in servers] == [second, second]
    assert Registry(fleet.settings["MODEL_DIR"]).current(PROJECT) == second
    assert servers[0].promotions() == [first, second]


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        pytest.param("GET /api/tasks", False, id="while it looks at the tasks"),
        pytest.param("GET /data/upload", False, id="while it learns"),
        pytest.param("PATCH /api/ml", False, id="when a version is promoted and not told"),
        pytest.param("PATCH /api/ml", True, id="when it is told"),
        pytest.param("POST /api/projects/4/import", False, id="before predictions are pushed"),
        pytest.param("POST /api/projects/4/import", True, id="after they are pushed"),
    ],
)
def test_a_worker_is_killed(request_: str, after: bool, fleet: Fleet, studio: FakeLabelStudio) -> None:
    server, worker = fleet.server(), fleet.worker()
    with studio.holding(request_, after=after) as held:
        assert server.version() == UNTRAINED
        held.wait()
        worker.kill()
        fleet.worker()
        version = fleet.settle(server)
    registry = Registry(fleet.settings["MODEL_DIR"])
    assert [known.name for known in registry.versions(PROJECT)] == [version]
    assert [promotion["version"] for promotion in registry.promotions(PROJECT)] == [version]


def test_workers_die_one_after_the_other_before_a_file_is_in_place(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    registry = Registry(fleet.settings["MODEL_DIR"])
    for file, complete in (("model.safetensors", 0), ("manifest.json", 0), ("current.json", 1), ("pushed-", 1)):
        assert server.version() == UNTRAINED
        worker = fleet.worker(DIES_BEFORE=file)
        worker.join(PATIENCE)
        assert worker.exitcode == -signal.SIGKILL
        assert len(registry.versions(PROJECT)) == complete
    version = server.version()
    assert version != UNTRAINED
    fleet.worker()
    assert fleet.settle(server) == version
    assert [known.name for known in registry.versions(PROJECT)] == [version]
    assert server.promotions() == [version]


def test_workers_die_while_a_version_replaces_another(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server, worker = fleet.server(), fleet.worker()
    first = fleet.settle(server)
    worker.kill()
    worker = fleet.worker(DIES_BEFORE="current.json")
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    server.hook("START_TRAINING")
    worker.join(PATIENCE)
    registry = Registry(fleet.settings["MODEL_DIR"])
    assert len(registry.versions(PROJECT)) == 2
    assert server.version() == first
    assert server.predict(9)["model_version"] == first
    with studio.holding("POST /api/projects/4/import") as pushing:
        worker = fleet.worker()
        pushing.wait()
        assert [first] in studio.versions()  # people may have these tasks open
        worker.kill()
        fleet.worker()
        second = fleet.settle(server, lambda version: version != first)
    assert [known.name for known in registry.versions(PROJECT)] == [first, second]
    assert server.promotions() == [first, second]


def test_people_roll_back_while_the_new_versions_predictions_are_pushed(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server)
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    with studio.holding("POST /api/projects/4/import") as pushing:
        server.hook()
        pushing.wait()
        second = server.version()
        assert second != first
        server.roll_back(first)
        assert server.version() == first
        studio.add(19, studio.pictures["/data/upload/18.jpg"])
        server.hook("TASKS_CREATED")
    assert fleet.settle(server) == first
    assert studio.versions()[-1] == [first]
    assert [first, second] in studio.versions()  # people may have these tasks open
    assert studio.versions().count([first, second]) <= 4  # no more than the block that was on its way
    assert server.promotions() == [first, second, first]
    assert studio.backends[0]["title"] == first


def test_a_server_is_killed_after_it_has_taken_an_event(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server, other = fleet.server(), fleet.server()
    assert server.version() == UNTRAINED
    assert server.hook() == 200
    server.process.kill()
    fleet.worker()
    assert fleet.settle(other) != UNTRAINED
