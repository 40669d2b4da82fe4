"""Two servers and three workers on one queue: who does what, and what becomes of it when one of them is killed."""

from __future__ import annotations

import time

import pytest

from backend.predicting import UNTRAINED
from backend.registry import Registry
from tests.faults.conftest import PROJECT, Fleet, eventually
from tests.faults.label_studio import FakeLabelStudio


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


def test_a_server_is_killed_after_it_has_taken_an_event(fleet: Fleet, studio: FakeLabelStudio) -> None:
    server, other = fleet.server(), fleet.server()
    assert server.version() == UNTRAINED
    assert server.hook() == 200
    server.process.kill()
    fleet.worker()
    assert fleet.settle(other) != UNTRAINED
