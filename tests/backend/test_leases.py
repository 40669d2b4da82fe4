"""A worker killed at work, over a real Redis: its project is free again, and is looked at again, within seconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from backend import leases
from backend.errors import LeaseLost
from backend.jobs import Jobs
from backend.leases import LEASE_SECONDS, Leases
from backend.one_worker import only_worker
from backend.registry import Registry
from backend.settings import Settings
from tests.backend.test_jobs import FakeTrainer, eventually, redis_url

__all__ = ["redis_url"]

HOLD = """
import sys, time, redis
from backend.leases import Leases
with Leases(redis.Redis.from_url(sys.argv[1])).hold("project:4", 4) as lease:
    print(bool(lease), flush=True)
    time.sleep(600)
"""


SERVE_THE_FILE = """
import sys, time
from pathlib import Path
from backend.one_worker import only_worker
from backend.settings import load_settings
with only_worker(load_settings(data_dir=Path(sys.argv[1])), wait=True):
    print("at work", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def shared(redis_url: str, settings: Settings) -> Settings:
    url = f"{redis_url}/15"
    redis.Redis.from_url(url).flushdb()
    return settings.model_copy(update={"queue_url": url})


@pytest.fixture
def holder(shared: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, shared.queue_url], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"True\n"
    yield process
    process.kill()
    process.wait()


def test_the_work_of_a_killed_worker_is_found_and_asked_for_again(
    shared: Settings, holder: subprocess.Popen[bytes]
) -> None:
    jobs = Jobs(shared, Registry(shared.model_dir), lambda board: FakeTrainer())  # type: ignore[arg-type, return-value]
    jobs.look_after()
    assert jobs.waiting() == 0
    with jobs.leases.hold("project:4", 4) as lease:
        assert lease is None
    holder.kill()
    killed = time.monotonic()

    def asked_again() -> bool:
        jobs.look_after()
        return jobs.waiting() == 1

    eventually(asked_again, LEASE_SECONDS + 10)
    assert time.monotonic() - killed < LEASE_SECONDS + 5
    with jobs.leases.hold("project:4", 4) as lease:
        assert lease is not None


def test_a_holder_keeps_its_lease_and_knows_when_it_is_lost(shared: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    client = redis.Redis.from_url(shared.queue_url)
    held = Leases(client)
    with held.hold("project:5", 5) as lease:
        assert lease
        time.sleep(2)
        lease.check()
        client.flushdb()  # Redis came back with nothing
        time.sleep(1.5)
        lease.check()
        assert held.abandoned() == set()
        client.set(f"{leases.PREFIX}project:5", "someone else")
        time.sleep(1.5)
        with pytest.raises(LeaseLost):
            lease.check()
    assert client.get(f"{leases.PREFIX}project:5") == b"someone else"


def test_who_was_cut_off_while_another_took_over_and_finished_does_not_go_on(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.0)
    cut_off, other = redis.Redis.from_url(shared.queue_url), Leases(redis.Redis.from_url(shared.queue_url))

    def unreachable(*arguments: object) -> object:
        raise redis.ConnectionError("the network is away")

    with Leases(cut_off).hold("project:6", 6) as lease:
        assert lease
        with monkeypatch.context() as away:
            away.setattr(cut_off, "eval", unreachable)
            time.sleep(1.5)
            with other.hold("project:6", 6) as taken_over:
                assert taken_over
        time.sleep(1)
        with pytest.raises(LeaseLost):
            lease.check()
        with other.hold("project:6", 6) as free:
            assert free


@pytest.fixture
def first_worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = serve_the_file(settings.data_dir)
    assert process.stdout
    assert process.stdout.readline() == b"at work\n"
    yield process
    process.kill()
    process.wait()


def serve_the_file(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SERVE_THE_FILE, folder], stdout=subprocess.PIPE)


def test_a_second_worker_on_a_queue_file_is_refused_and_told_what_to_set(
    settings: Settings, first_worker: subprocess.Popen[bytes]
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "QUEUE_URL"}
    command = [sys.executable, "-m", "backend", "worker"]
    second = subprocess.run(
        command, env=environment | {"DATA_DIR": str(settings.data_dir)}, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 2
    assert "set QUEUE_URL=redis://" in second.stderr
    assert "Traceback" not in second.stderr
    first_worker.kill()
    first_worker.wait()
    with only_worker(settings, wait=False):
        pass


def test_a_servers_own_worker_waits_for_the_one_before_to_end(
    settings: Settings, first_worker: subprocess.Popen[bytes]
) -> None:
    next_one = serve_the_file(settings.data_dir)
    assert next_one.stdout
    time.sleep(1)
    assert next_one.poll() is None
    first_worker.kill()
    assert next_one.stdout.readline() == b"at work\n"
    next_one.kill()
    next_one.wait()


def test_any_number_of_workers_serve_redis(shared: Settings) -> None:
    with only_worker(shared, wait=False), only_worker(shared, wait=False):
        pass
