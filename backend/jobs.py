"""What is done in the background, and when: debounce, one at a time for a project, retry, reconcile.

A webhook is only a hint. However many arrive, a project gets one job once they have calmed down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from huey import Huey, crontab
from huey.exceptions import TaskLockedException

from backend.board import FAULTS, Board, waiting_key
from backend.errors import BackendError, QueueUnreachable, StudioRefused, StudioUnreachable
from backend.logs import about
from backend.queue import open_queue
from backend.registry import Registry
from backend.settings import Settings
from backend.training import Trainer
from model.errors import AnomalyError

log = logging.getLogger(__name__)

SYNC_PRIORITY = 10
BACKFILL_PRIORITY = 1
LOCK_SECONDS = 1800
RETRY_SECONDS = 15
BUSY_SECONDS = 1
MOST_RETRIES = 8
LOST_AFTER = 300.0


class Jobs:
    """The queue as the server and the workers use it.

    make_trainer: called once, when the first job runs; servers never pay for it.
    """

    def __init__(self, settings: Settings, registry: Registry, make_trainer: Callable[[Board], Trainer]) -> None:
        self._settings = settings
        self._registry = registry
        self._make_trainer = make_trainer
        self._trainer: Trainer | None = None
        self.queue: Huey = open_queue(settings)
        self.board = Board(self.queue)
        self._sync_task = self.queue.task(name="sync", priority=SYNC_PRIORITY)(self._sync)
        self._backfill_task = self.queue.task(name="backfill", priority=BACKFILL_PRIORITY)(self._backfill)
        every = crontab(minute=f"*/{settings.reconcile_minutes}")
        self.queue.periodic_task(every, name="reconcile")(self.reconcile)

    # Asking for work

    def request_sync(self, project_id: int, *, force: bool = False) -> None:
        """Asks for the project to be brought up to date. Raises QueueUnreachable.

        force: train whatever is new, be it little. Cheap enough to be called for every webhook.
        """
        asked_at = time.time()
        try:
            if force:
                self.queue.put(_forced_key(project_id), True)
            self.queue.put(f"touched:{project_id}", asked_at)
            if self._is_first(project_id, asked_at):
                self._sync_task.schedule(args=(project_id,), delay=0 if force else self._settings.debounce_seconds)
        except FAULTS as error:
            raise QueueUnreachable(f"the job queue cannot be reached: {error}") from error

    def _is_first(self, project_id: int, asked_at: float) -> bool:
        """Whether no other request waits for its job; one that waits for too long counts as lost."""
        key = waiting_key(project_id)
        if self.queue.put_if_empty(key, asked_at):
            return True
        lost = asked_at - (self.queue.get(key, peek=True) or asked_at) > LOST_AFTER
        if lost:
            self.queue.put(key, asked_at)
        return lost

    def ping(self) -> None:
        """Raises QueueUnreachable when the queue does not answer."""
        try:
            self.queue.get("ping", peek=True)
        except FAULTS as error:
            raise QueueUnreachable(f"the job queue cannot be reached: {error}") from error

    def waiting(self) -> int | None:
        """How many jobs wait, those for later included; None when the queue does not answer."""
        try:
            return int(self.queue.pending_count() + self.queue.scheduled_count())
        except FAULTS:
            return None

    # Doing it

    def run_worker(self) -> None:
        """Works until told to stop (SIGTERM and SIGINT finish the job at hand first)."""
        if self._settings.embedded:
            self.queue.flush_locks(*(f"project:{project}" for project in self._registry.projects()))
        consumer = self.queue.create_consumer(
            workers=1, worker_type="thread", initial_delay=0.05, max_delay=0.25, graceful_signal="TERM"
        )
        for project_id in self._registry.projects():
            self._try_request(project_id)
        consumer.run()

    def reconcile(self) -> None:
        """Brings every known project up to date: finds what no webhook told."""
        for project_id in self._registry.projects():
            self._try_request(project_id)

    def _sync(self, project_id: int) -> None:
        if self.queue.get(waiting_key(project_id), peek=True) is None:
            return  # another job has done what this one was asked for
        wait = self._calm_in(project_id)
        if wait > 0:
            self._sync_task.schedule(args=(project_id,), delay=wait)
            return

        forced = False

        def work(trainer: Trainer) -> None:
            nonlocal forced
            self.board.post(project_id, syncing=True)
            self.queue.delete(waiting_key(project_id))
            forced = bool(self.queue.get(_forced_key(project_id), peek=True))
            self.queue.delete(_forced_key(project_id))
            self._start_backfill(project_id, trainer.sync(project_id, force=forced))

        def again(delay: float) -> None:
            self.queue.put_if_empty(waiting_key(project_id), time.time())
            if forced:
                self.queue.put(_forced_key(project_id), True)
            self._sync_task.schedule(args=(project_id,), delay=delay)

        self._alone(project_id, work, again)

    def _calm_in(self, project_id: int) -> float:
        """Seconds until the project's webhooks have calmed down, or have kept us waiting long enough."""
        now = time.time()
        touched = self.queue.get(f"touched:{project_id}", peek=True) or 0.0
        waiting_since = self.queue.get(waiting_key(project_id), peek=True) or 0.0
        if self.queue.get(_forced_key(project_id), peek=True):
            return 0.0
        calm = touched + self._settings.debounce_seconds - now
        patience = waiting_since + self._settings.debounce_max_seconds - now
        return float(min(calm, patience))

    def _start_backfill(self, project_id: int, task_ids: list[int]) -> None:
        version = self._registry.current(project_id)
        size = self._settings.backfill_chunk
        news = {"version": version, "done": 0, "total": len(task_ids)} if task_ids else None
        self.board.post(project_id, backfill=news)
        for start in range(0, len(task_ids), size):
            self._backfill_task(project_id, version, task_ids[start : start + size])

    def _backfill(self, project_id: int, version: str, task_ids: list[int]) -> None:
        def work(trainer: Trainer) -> None:
            trainer.backfill(project_id, version, task_ids)
            self._count_backfill(project_id, version, len(task_ids))

        def again(delay: float) -> None:
            self._backfill_task.schedule(args=(project_id, version, task_ids), delay=delay)

        self._alone(project_id, work, again)

    def _count_backfill(self, project_id: int, version: str, count: int) -> None:
        news = self.board.news(project_id).get("backfill")
        if news and news["version"] == version:
            done = news["done"] + count
            self.board.post(project_id, backfill=news | {"done": done} if done < news["total"] else None)

    def _alone(self, project_id: int, work: Callable[[Trainer], None], again: Callable[[float], None]) -> None:
        """Does `work` while no other worker works on the project; tries later what fails for a passing reason.

        again: asks for the same job once more, in so many seconds.
        """
        lock = self.queue.lock_task(f"project:{project_id}", None if self._settings.embedded else LOCK_SECONDS)
        try:
            lock.acquire()
        except TaskLockedException:
            again(BUSY_SECONDS)
            return
        with about(project=project_id, version=self._registry.current(project_id)):
            try:
                work(self._work())
                self.queue.delete(f"failures:{project_id}")
            except Exception as error:
                self._failed(project_id, error, again)
            finally:
                self.board.post(project_id, progress=None, syncing=False)
                lock.clear()

    def _failed(self, project_id: int, error: Exception, again: Callable[[float], None]) -> None:
        """Tells what went wrong and plans another try where one can help; the reconcile is the last resort."""
        if not isinstance(error, AnomalyError):
            log.exception("project %s: the job failed", project_id)
            error = BackendError(f"an unexpected fault ({type(error).__name__}): see the worker's log")
        failures = (self.queue.get(f"failures:{project_id}", peek=True) or 0) + 1
        self.queue.put(f"failures:{project_id}", failures)
        self.board.post(project_id, error=str(error))
        if _passing(error) and failures <= MOST_RETRIES:
            log.warning("project %s: %s; trying again in %s s", project_id, error, RETRY_SECONDS)
            again(RETRY_SECONDS)
        else:
            log.error("project %s: %s", project_id, error)

    def _work(self) -> Trainer:
        if self._trainer is None:
            self._trainer = self._make_trainer(self.board)
        return self._trainer

    def _try_request(self, project_id: int) -> None:
        try:
            self.request_sync(project_id)
        except QueueUnreachable as error:
            log.warning("project %s: %s", project_id, error)


def _forced_key(project_id: int) -> str:
    """Where it is kept that someone pressed Start Training."""
    return f"forced:{project_id}"


def _passing(error: Exception) -> bool:
    """Whether the same job may well succeed later."""
    if isinstance(error, StudioRefused):
        return error.status >= 500 or error.status == 429
    return isinstance(error, StudioUnreachable | QueueUnreachable)
