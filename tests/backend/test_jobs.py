"""The queue, over a file and over a real Redis: debounce, one at a time, retries."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from huey.consumer import Consumer

from backend.app import create_app
from backend.board import Board, waiting_key
from backend.errors import QueueUnreachable, StoreUnreachable, StudioRefused, StudioUnreachable
from backend.failures import MOST_RETRIES, Failures
from backend.jobs import Jobs
from backend.labels import EXAMPLE_CONFIG
from backend.queue import JsonSerializer, open_queue
from backend.registry import Registry
from backend.services import Services, build_services
from backend.settings import Settings, load_settings
from tests.conftest import PROJECT, free_port

PATIENCE = 20.0


class FakeTrainer:
    """Notes what it is asked for; fails where told to."""

    def __init__(self) -> None:
        self.syncs: list[tuple[int, bool]] = []
        self.backfills: list[tuple[int, str, list[int]]] = []
        self.looked_again: list[int] = []
        self.to_fill: list[int] = []
        self.faults: list[Exception] = []
        self.backfill_faults: list[Exception] = []
        self.running = 0
        self.most_running = 0
        self.pause = 0.0

    def sync(self, project_id: int, *, force: bool = False, check: Any = None) -> list[int]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        time.sleep(self.pause)
        self.running -= 1
        self.syncs.append((project_id, force))
        if self.faults:
            raise self.faults.pop(0)
        return self.to_fill

    def backfill(self, project_id: int, version: str, task_ids: list[int], *, check: Any = None) -> None:
        if self.backfill_faults:
            raise self.backfill_faults.pop(0)
        self.backfills.append((project_id, version, task_ids))

    def look_again(self, project_id: int) -> None:
        self.looked_again.append(len(self.backfills))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    command = shutil.which("redis-server")
    if command is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    server = subprocess.Popen(
        [command, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    yield f"redis://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture(params=["file", "redis"])
def queued(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    if request.param == "file":
        return settings
    url: str = request.getfixturevalue("redis_url")
    database = sum(map(ord, tmp_path.name)) % 16
    import redis

    redis.Redis.from_url(f"{url}/{database}").flushdb()
    return settings.model_copy(update={"queue_url": f"{url}/{database}"})


class HastyConsumer(Consumer):
    """Looks for jobs whose time has come ten times a second instead of once."""

    def _create_scheduler(self) -> Any:
        scheduler = super()._create_scheduler()
        scheduler.interval = 0.1
        return scheduler


@pytest.fixture
def start(queued: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[FakeTrainer], Jobs]]:
    """Starts a worker, in a thread, around a trainer; returns the queue as a server sees it."""
    monkeypatch.setattr("backend.jobs.RETRY_SECONDS", 0.3)
    hasty = queued.model_copy(update={"debounce_seconds": 0.3})
    consumers: list[Any] = []

    def do(trainer: FakeTrainer) -> Jobs:
        jobs = Jobs(hasty, Registry(queued.model_dir), lambda board: trainer)  # type: ignore[arg-type, return-value]
        consumer = HastyConsumer(jobs.queue, workers=2, periodic=False, initial_delay=0.02, max_delay=0.05)
        consumer.start()
        consumers.append(consumer)
        return jobs

    yield do
    for consumer in consumers:
        consumer.stop(graceful=True)


def eventually(happened: Callable[[], Any], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_processes_that_note_pictures_at_once_do_not_undo_each_others_notes(queued: Settings) -> None:
    boards = [Board(open_queue(queued)) for _ in range(4)]  # as many processes have
    boards[0].note_pictures(PROJECT, {1000: ("/1000.jpg", "damaged")})

    def note(number: int) -> None:
        for task_id in range(number, 100, len(boards)):
            boards[number].note_pictures(PROJECT, {task_id: (f"/{task_id}.jpg", "damaged")}, solved=[1000])

    threads = [threading.Thread(target=note, args=(number,)) for number in range(len(boards))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [problem["task_id"] for problem in boards[0].problems(PROJECT)] == list(range(100))


def test_200_webhooks_make_one_training(start: Callable[[FakeTrainer], Jobs], queued: Settings) -> None:
    trainer = FakeTrainer()
    jobs = start(trainer)
    jobs._settings = queued
    client = TestClient(create_app(build_services(queued)))
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 4}}
    threads = [
        threading.Thread(target=lambda: [client.post("/webhook", json=event) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: trainer.syncs and not jobs.board.is_pending(4))
    time.sleep(2 * queued.debounce_seconds)
    assert trainer.syncs == [(4, False)]


def test_a_steady_stream_does_not_wait_for_ever(
    start: Callable[[FakeTrainer], Jobs], queued: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = FakeTrainer()
    jobs = start(trainer)
    jobs._settings = queued.model_copy(update={"debounce_seconds": 1.0, "debounce_max_seconds": 1.5})
    stop = time.monotonic() + PATIENCE
    while not trainer.syncs:
        assert time.monotonic() < stop
        jobs.request_sync(4)
        time.sleep(0.05)


def test_what_changes_during_a_job_gets_another(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.pause = 0.5
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: trainer.running)
    jobs.request_sync(4)
    eventually(lambda: len(trainer.syncs) == 2)
    assert trainer.most_running == 1


def test_start_training_forces_one(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    jobs = start(trainer)
    jobs.request_sync(4)
    jobs.request_sync(4, force=True)
    eventually(lambda: (4, True) in trainer.syncs)
    jobs.request_sync(4)
    eventually(lambda: not jobs.board.is_pending(4))
    assert trainer.syncs[-1] == (4, False)


def test_a_backfill_comes_in_chunks(start: Callable[[FakeTrainer], Jobs], queued: Settings) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = list(range(450))
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: len(trainer.backfills) == 3 and not jobs.board.is_pending(4))
    assert sorted(len(ids) for _, _, ids in trainer.backfills) == [50, 200, 200]
    eventually(lambda: trainer.looked_again == [3])


def sync_at_once(jobs: Jobs, project_id: int) -> None:
    jobs.queue.put(waiting_key(project_id), time.time())
    jobs._sync(project_id)


def work_off(jobs: Jobs) -> None:
    while (task := jobs.queue.dequeue()) is not None:
        jobs.queue.execute(task)


def test_the_most_urgent_tasks_are_filled_first(queued: Settings) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = [900, 901, 1, 2, 250, 3]
    at_once = queued.model_copy(update={"debounce_seconds": 0.0})
    jobs = Jobs(at_once, Registry(queued.model_dir), lambda board: trainer)  # type: ignore[arg-type, return-value]
    sync_at_once(jobs, 4)
    work_off(jobs)
    assert [ids for _, _, ids in trainer.backfills] == [[900, 901], [1, 2], [250], [3]]


def test_each_sync_begins_a_backfill_that_replaces_the_one_before(queued: Settings) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = list(range(450))
    at_once = queued.model_copy(update={"debounce_seconds": 0.0})
    jobs = Jobs(at_once, Registry(queued.model_dir), lambda board: trainer)  # type: ignore[arg-type, return-value]
    for _ in range(5):
        sync_at_once(jobs, 4)
    work_off(jobs)
    assert sorted(len(ids) for _, _, ids in trainer.backfills) == [50, 200, 200]
    assert trainer.looked_again == [3]
    trainer.to_fill = list(range(300))
    sync_at_once(jobs, 4)
    trainer.to_fill = []
    sync_at_once(jobs, 4)
    assert not jobs.board.is_pending(4)
    work_off(jobs)
    assert len(trainer.backfills) == 3


def test_a_backfill_leaves_no_counters_behind(settings: Settings) -> None:
    trainer = FakeTrainer()
    at_once = settings.model_copy(update={"debounce_seconds": 0.0})
    jobs = Jobs(at_once, Registry(settings.model_dir), lambda board: trainer)  # type: ignore[arg-type, return-value]
    for total in (5, 0, 7):
        trainer.to_fill = list(range(total))
        sync_at_once(jobs, 4)
        assert jobs.board.is_pending(4) == bool(total)
        work_off(jobs)
        assert not jobs.board.is_pending(4)
    with closing(sqlite3.connect(settings.data_dir / "queue.db")) as database:
        [(rows,)] = database.execute("select count(*) from counter")
    assert rows <= 1


def test_every_block_of_a_backfill_is_tried_again_on_its_own(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = list(range(20 * 200))
    trainer.backfill_faults = [StudioRefused("restarting", 503) for _ in range(20)]
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: not trainer.backfill_faults and not jobs.board.is_pending(4))
    assert sorted(task_id for _, _, ids in trainer.backfills for task_id in ids) == trainer.to_fill
    eventually(lambda: trainer.looked_again == [20])


@pytest.mark.parametrize("fault", [StudioRefused("the token is wrong", 401), RuntimeError("a bug")])
def test_a_backfill_ends_though_a_block_of_it_is_given_up(
    fault: Exception, start: Callable[[FakeTrainer], Jobs]
) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = list(range(450))
    trainer.backfill_faults = [fault]
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: len(trainer.backfills) == 2 and not jobs.board.is_pending(4))
    eventually(lambda: trainer.looked_again == [2])
    assert jobs.board.news(4)["error"]


@pytest.mark.parametrize("fault", [StudioUnreachable("down"), StudioRefused("busy", 502)])
def test_passing_faults_are_tried_again(fault: Exception, start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.faults = [fault, fault]
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: len(trainer.syncs) == 1)
    eventually(lambda: str(fault) in str(jobs.board.news(4).get("error")))
    eventually(lambda: len(trainer.syncs) == 3)


def test_a_wish_survives_a_passing_fault(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.faults = [StudioUnreachable("down")]
    jobs = start(trainer)
    jobs.request_sync(4, force=True)
    eventually(lambda: trainer.syncs == [(4, True), (4, True)])


def test_requests_at_the_same_instant_make_one_job(queued: Settings) -> None:
    jobs = Jobs(queued, Registry(queued.model_dir), lambda board: FakeTrainer())  # type: ignore[arg-type, return-value]
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        jobs.request_sync(4)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert jobs.queue.pending_count() == 1


def test_faults_before_the_last_success_are_not_counted(queued: Settings) -> None:
    queue = open_queue(queued)
    failures, away = Failures(queue, Board(queue)), StudioUnreachable("down")
    for _ in range(MOST_RETRIES):
        assert failures.may_be_repeated("project:4", 4, away)
        failures.forget("project:4", 4)
    assert failures.may_be_repeated("project:4", 4, away)


def test_lasting_faults_are_told_and_not_repeated(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.faults = [StudioRefused("the token is wrong", 401), RuntimeError("a bug")]
    jobs = start(trainer)
    jobs.request_sync(4)
    eventually(lambda: jobs.board.news(4).get("error") == "the token is wrong")
    jobs.request_sync(4)
    eventually(lambda: "unexpected fault (RuntimeError)" in str(jobs.board.news(4).get("error")))
    time.sleep(1)
    assert len(trainer.syncs) == 2


def test_a_store_that_is_away_for_a_moment_costs_no_job(
    start: Callable[[FakeTrainer], Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def current(project_id: int) -> None:
        if faults:
            raise faults.pop()

    trainer = FakeTrainer()
    jobs = start(trainer)
    faults = [StoreUnreachable("the bucket is away"), StoreUnreachable("it still is")]
    monkeypatch.setattr(jobs._registry, "current", current)
    jobs.request_sync(4)
    eventually(lambda: trainer.syncs)


def test_projects_are_looked_at_once_the_store_is_back(queued: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[int]:
        raise StoreUnreachable("the bucket is away")

    jobs = Jobs(queued, Registry(queued.model_dir), lambda board: FakeTrainer())  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(jobs._registry, "projects", away)
    jobs.look_after()
    assert jobs.waiting() == 0
    monkeypatch.setattr(jobs._registry, "projects", lambda: [4])
    jobs.look_after()
    assert jobs.waiting() == 1


def test_an_unreachable_queue_is_named() -> None:
    lonely = load_settings(queue_url="redis://127.0.0.1:1/0")
    jobs = Jobs(lonely, Registry("memory://lonely"), lambda board: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(QueueUnreachable, match="job queue cannot be reached"):
        jobs.request_sync(1)
    Board(jobs.queue).post(1, phase="news that may be lost")


def test_messages_are_json(services: Services) -> None:
    services.jobs._sync_task.schedule(args=(4,), delay=9)
    stored = services.jobs.queue.storage.enqueued_items()
    assert stored
    assert all(item.startswith(b'{"message"') for item in stored)
    assert JsonSerializer()._deserialize(stored[0]).args == [4]


def test_a_clock_that_is_set_back_delays_nothing(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    jobs = start(trainer)
    future = time.time() + 3600
    jobs.queue.put("waiting:4", future)
    jobs.queue.put("touched:4", future)
    jobs.request_sync(4)
    eventually(lambda: trainer.syncs)


def test_a_job_that_a_machine_with_a_clock_ahead_planned_begins_soon(
    start: Callable[[FakeTrainer], Jobs],
) -> None:
    trainer = FakeTrainer()
    jobs = start(trainer)
    jobs.queue.put("waiting:4", time.time() + 3600)
    jobs._sync_task.schedule(args=(4,), delay=3600)
    eventually(lambda: jobs.look_after() or trainer.syncs)


def test_a_job_that_a_machine_in_another_time_zone_planned_begins_soon(
    start: Callable[[FakeTrainer], Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.jobs.BACKWARDS", 0.5)
    trainer = FakeTrainer()
    jobs = start(trainer)
    with monkeypatch.context() as server:
        server.setenv("TZ", "EST5")
        time.tzset()
        jobs.request_sync(4)
    time.tzset()
    eventually(lambda: jobs.look_after() or trainer.syncs)


def test_steady_predictions_do_not_put_the_repair_of_a_model_off(
    start: Callable[[FakeTrainer], Jobs], queued: Settings, promote: Callable[..., str]
) -> None:
    (Path(queued.model_dir) / str(PROJECT) / "versions" / promote() / "model.safetensors").write_bytes(b"damaged")
    trainer = FakeTrainer()
    start(trainer)
    predictor = build_services(queued).predictor

    def repaired() -> bool:
        answer = predictor.predict(PROJECT, [{"id": 1, "data": {"image": "/1.jpg"}}], EXAMPLE_CONFIG)
        assert "train it again" in answer.results[0]["error"]
        return bool(trainer.syncs)

    eventually(repaired)


def test_workers_share_the_chunks_of_a_backfill_but_never_one_of_them(queued: Settings) -> None:
    jobs = Jobs(queued, Registry(queued.model_dir), lambda board: FakeTrainer())  # type: ignore[arg-type, return-value]
    with jobs.leases.hold("block:1", 4) as first, jobs.leases.hold("block:2", 4) as second:
        assert first
        assert second
        with jobs.leases.hold("block:1", 4) as third:
            assert third is None
    with jobs.leases.hold("block:1", 4) as again:
        assert again
        again.check()


def test_news_of_two_workers_do_not_undo_each_other(queued: Settings) -> None:
    jobs = Jobs(queued, Registry(queued.model_dir), lambda board: FakeTrainer())  # type: ignore[arg-type, return-value]
    run = jobs.board.start_backfill(4, "v1", 80)
    threads = [
        threading.Thread(target=lambda name=name: [count(jobs, run, name, number) for number in range(10)])  # type: ignore[misc]
        for name in ("tasks", "normals", "abnormals", "held_out")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    news = jobs.board.news(4)
    assert [news[name] for name in ("tasks", "normals", "abnormals", "held_out")] == [9, 9, 9, 9]
    assert news["backfill"]["done"] == 40


def count(jobs: Jobs, run: str, name: str, number: int) -> None:
    jobs.board.post(4, **{name: number})
    jobs.board.count_backfill(4, run, 1)


def test_a_fault_that_has_passed_is_told_no_longer(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.to_fill = [1]
    trainer.backfill_faults = [StudioUnreachable("Label Studio does not answer")]
    jobs = start(trainer)
    jobs.request_sync(PROJECT)
    eventually(lambda: trainer.looked_again)
    eventually(lambda: not jobs.board.is_pending(PROJECT))
    assert jobs.board.news(PROJECT).get("error") is None


def test_a_fault_of_the_disk_is_not_taken_for_one_of_the_queue(start: Callable[[FakeTrainer], Jobs]) -> None:
    trainer = FakeTrainer()
    trainer.faults = [OSError("too many open files")]
    jobs = start(trainer)
    jobs.request_sync(PROJECT)
    eventually(lambda: "unexpected fault (OSError)" in str(jobs.board.news(PROJECT).get("error")))
