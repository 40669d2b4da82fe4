"""Servers, workers and Redis on machines of their own, one of which drops off the network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.naming import UNTRAINED
from backend.registry import Registry
from tests.conftest import LABEL_STUDIO_WAITS
from tests.faults.conftest import PROJECT, Fleet, Redis, eventually, fill
from tests.faults.hosts import HERE, Host, lacking, network
from tests.faults.label_studio import FakeLabelStudio


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    if reason := lacking():
        pytest.skip(reason)
    with network(3) as found:
        yield found


@pytest.fixture
def studio(hosts: list[Host], normal_pictures: list[Path], abnormal_pictures: list[Path]) -> Iterator[FakeLabelStudio]:
    fake = FakeLabelStudio(HERE)
    fill(fake, normal_pictures, abnormal_pictures)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def fleet(_nursery: None, hosts: list[Host], studio: FakeLabelStudio, tmp_path: Path) -> Iterator[Fleet]:
    """Redis has the last host to itself."""
    with ExitStack() as undo:
        redis = Redis(tmp_path, hosts[-1].address, hosts[-1].prefix)
        redis.start()
        undo.callback(redis.stop)
        found = Fleet(studio, tmp_path, QUEUE_URL=redis.url)
        undo.callback(found.stop)
        yield found


def test_a_machine_drops_off_the_network_while_it_trains(
    fleet: Fleet, hosts: list[Host], studio: FakeLabelStudio
) -> None:
    stays, drops, _ = hosts
    servers = [fleet.server(**stays.settings), fleet.server(**drops.settings)]
    fleet.worker("dropped", **drops.settings)
    with studio.holding("GET /data/upload") as training:
        assert servers[0].version() == UNTRAINED
        training.wait()
        drops.unplug()
        fleet.worker("other", **stays.settings)
        first = fleet.settle(servers[0])
    drops.plug()
    assert eventually(servers[1].version) == first
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    assert eventually(lambda: servers[1].hook() == 200)
    second = fleet.settle(servers[0], lambda version: version != first)
    assert [known.name for known in Registry(fleet.settings["MODEL_DIR"]).versions(PROJECT)] == [first, second]
    assert servers[0].promotions() == [first, second]


def test_the_queue_drops_off_the_network(fleet: Fleet, hosts: list[Host], studio: FakeLabelStudio) -> None:
    stays, other, queue = hosts
    server = fleet.server(**stays.settings)
    fleet.worker(**other.settings)
    assert server.version() == UNTRAINED
    first = fleet.settle(server)
    queue.unplug()
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    asked_at = time.monotonic()
    assert server.hook() == 503
    assert time.monotonic() - asked_at < LABEL_STUDIO_WAITS
    assert server.is_up()
    assert server.version() == first
    queue.plug()
    fleet.settle(server, lambda version: version != first)
