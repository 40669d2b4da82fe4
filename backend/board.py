"""The notice board: what every process knows of a project's state, kept in the queue's storage.

Only news that may be lost: whatever matters is in Label Studio or in the registry.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import redis
from huey import Huey

from backend.broken import Broken
from backend.errors import QueueUnreachable
from backend.logs import about
from backend.media import shown
from backend.registry import now

log = logging.getLogger(__name__)

Json = dict[str, Any]

QUEUE_FAULTS = (redis.RedisError, sqlite3.Error)
FAULTS = (*QUEUE_FAULTS, OSError)
MOST_PROBLEMS = 200
PROGRESS_SECONDS = 0.25
"""Between two notes of how far a training is: each is a write, which servers that take an event wait for."""
WORKER = "worker"
WORKER_SECONDS = 60.0
"""Workers tell every few seconds that they are there."""
ENTRIES = (
    "abnormals advice area_task disputed error held_out last_training normals normals_needed pictures progress"
    " suggested syncing tasks title training_normals unusable updated_at without_image"
).split()


class Board:
    """Reads and writes news of projects. Writing never fails a job: an unreachable queue costs the news only."""

    def __init__(self, queue: Huey) -> None:
        self._queue = queue
        self._told: dict[int, tuple[str, float]] = {}
        self._broken = Broken()
        self._worker: float | None = None  # the last sign of one, by its own clock
        self._changed_at: float | None = None  # when another was found than before, by our monotonic clock

    def news(self, project_id: int) -> Json:
        """Everything known of a project. Raises QueueUnreachable."""
        keys = {_news_key(project_id, name): name for name in ENTRIES}
        found = self._guard(lambda: self._queue.storage.peek_many(list(keys)))
        values = {keys[key]: self._queue.serializer.deserialize(value) for key, value in found.items()}
        news = {name: value for name, value in values.items() if value is not None}
        return news | {"backfill": self._backfill(project_id)}

    def is_pending(self, project_id: int) -> bool:
        """Whether work on the project is asked for or going on. Raises QueueUnreachable."""
        asked = self._read(waiting_key(project_id)) is not None
        news = self.news(project_id)  # read last: a job says that it works before it takes the request away
        return asked or bool(news.get("syncing") or news.get("progress") or news.get("backfill"))

    def note_worker(self) -> None:
        """Tells that a worker is there."""
        self._queue.put(WORKER, time.time())

    def lacks_worker(self, project_id: int) -> bool:
        """Whether work waits or was left, and no worker has been seen for long. Raises QueueUnreachable."""
        asked, syncing = self._read(waiting_key(project_id)), self._read(_news_key(project_id, "syncing"))
        waits = asked is not None and abs(time.time() - asked) > WORKER_SECONDS
        return self._no_worker() and bool(waits or syncing)

    def _no_worker(self) -> bool:
        """Whether a worker's last sign is old, and the same for long: its clock may differ from ours."""
        before, self._worker = self._worker, self._read(WORKER) or 0.0
        if before not in (None, self._worker):
            self._changed_at = time.monotonic()
        is_new = self._changed_at is not None and time.monotonic() - self._changed_at <= WORKER_SECONDS
        return abs(time.time() - self._worker) > WORKER_SECONDS and not is_new

    def post(self, project_id: int, **news: Any) -> None:
        """Adds or replaces entries. Each has a place of its own, so that workers do not undo each other's news."""
        try:
            for name, value in (news | {"updated_at": now()}).items():
                self._queue.put(_news_key(project_id, name), value)
        except FAULTS as error:
            log.warning("project %s: the status cannot be saved: %s", project_id, error)

    def forget(self, project_id: int) -> None:
        """Takes away all that is kept of a project."""
        self._broken.keep(project_id, ())
        self._queue.storage.delete_counter(_backfill_key(project_id))
        for key in (_backfill_key(project_id), _problems_key(project_id)):
            self._queue.delete(key)
        for name in ENTRIES:
            self._queue.delete(_news_key(project_id, name))

    def post_progress(self, project_id: int, phase: str, done: int, total: int) -> None:
        """Tells how far a training is: each new phase, and a few times a second within one."""
        last_phase, last_at = self._told.get(project_id, ("", 0.0))
        at = time.monotonic()
        if phase != last_phase or at - last_at >= PROGRESS_SECONDS:
            self._told[project_id] = (phase, at)
            self.post(project_id, progress={"phase": phase, "done": done, "total": total})

    def start_backfill(self, project_id: int, version: str, total: int) -> str:
        """Begins to count the predictions that are pushed, and names the run; the one before is over."""
        key, run = _backfill_key(project_id), f"{version} {time.time_ns()}"
        if total:
            self._queue.put(key, {"version": version, "run": run, "total": total})
        else:
            self._queue.delete(key)
        self._queue.storage.delete_counter(key)
        return run

    def is_running(self, project_id: int, run: str) -> bool:
        """Whether no other backfill has begun since, and this one is not over."""
        return bool((self._queue.get(_backfill_key(project_id), peek=True) or {}).get("run") == run)

    def count_backfill(self, project_id: int, run: str, count: int) -> bool:
        """Tells that so many more are done; whether these were the last. Any number of workers may count at once."""
        key = _backfill_key(project_id)
        started = self._queue.get(key, peek=True) or {}
        if started.get("run") != run or self._queue.storage.incr(key, count) < started["total"]:
            return False
        self._queue.delete(key)
        self._queue.storage.delete_counter(key)
        return True

    def _backfill(self, project_id: int) -> Json | None:
        key = _backfill_key(project_id)
        started = self._read(key)
        if not started:
            return None
        done = int(self._guard(lambda: self._queue.storage.incr(key, 0)))
        return {"version": started["version"], "done": done, "total": started["total"]}

    def suggested(self, project_id: int) -> list[Json]:
        """The pictures to tag next, the best first: {task_id, uri as it is saved}. Raises QueueUnreachable."""
        return list(self._read(_news_key(project_id, "suggested")) or ())

    def problems(self, project_id: int) -> list[Json]:
        """Pictures that could not be used: {task_id, uri, reason, at}, by task. Raises QueueUnreachable."""
        known: Json = self._read(_problems_key(project_id)) or {}
        return [known[key] for key in sorted(known, key=int)]

    def note_pictures(
        self, project_id: int, failed: dict[int, tuple[str, str]], solved: list[int] | None = None
    ) -> None:
        """Notes which tasks' pictures failed, {task id: (uri, reason)}, and which work (again)."""
        for task_id, (uri, reason) in failed.items():
            if self._broken.is_news(project_id, task_id, f"{shown(uri)}: {reason}"):
                with about(project=project_id, task=task_id):
                    log.warning("project %s, task %s: %s: %s", project_id, task_id, shown(uri), reason)
        self._broken.works(project_id, solved or ())
        news = {
            str(task_id): {"task_id": task_id, "uri": shown(uri), "reason": reason, "at": now()}
            for task_id, (uri, reason) in failed.items()
        }
        works = {str(task_id) for task_id in solved or ()}
        self._change_problems(
            project_id, lambda known: {key: row for key, row in known.items() if key not in works} | news
        )

    def keep_problems(self, project_id: int, uris: dict[int, str]) -> None:
        """Forgets the problems of tasks that are gone or have another picture now. uris: of all tasks, by id."""
        self._broken.keep(project_id, uris)

        def is_there(row: Json) -> bool:
            uri = uris.get(row["task_id"])
            return uri is not None and shown(uri) == row["uri"]

        self._change_problems(project_id, lambda known: {key: row for key, row in known.items() if is_there(row)})

    def _change_problems(self, project_id: int, change: Callable[[Json], Json]) -> None:
        key, serializer = _problems_key(project_id), self._queue.serializer

        def changed(content: bytes | None) -> bytes:
            rows = change(serializer.deserialize(content) if content else {}).items()
            newest = sorted(rows, key=lambda item: item[1]["at"])[-MOST_PROBLEMS:]
            return bytes(serializer.serialize(dict(newest)))

        try:
            known: Json = self._queue.get(key, peek=True) or {}
            if change(known) != known:
                self._queue.storage.change(key, changed)
        except FAULTS as error:
            log.warning("project %s: the status cannot be saved: %s", project_id, error)

    def _read(self, key: str) -> Any:
        return self._guard(lambda: self._queue.get(key, peek=True))

    def _guard(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except FAULTS as error:
            raise QueueUnreachable(f"the job queue cannot be reached: {error}") from error


def waiting_key(project_id: int) -> str:
    """Where the time is kept at which a job was asked for that has not begun."""
    return f"waiting:{project_id}"


def _news_key(project_id: int, name: str) -> str:
    return f"news:{project_id}:{name}"


def _backfill_key(project_id: int) -> str:
    return f"backfill:{project_id}"


def _problems_key(project_id: int) -> str:
    return f"problems:{project_id}"
