"""What is done in the background, and when: debounce, one at a time for a project, retry, reconcile.

A webhook is only a hint. However many arrive, a project gets one job once they have calmed down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby

from huey import Huey, crontab

from backend.board import FAULTS, QUEUE_FAULTS, Board, waiting_key
from backend.errors import QueueUnreachable, StoreUnreachable
from backend.failures import Failures
from backend.leases import Lease, Leases
from backend.logs import about
from backend.outages import Outage
from backend.queue import open_queue, remedy
from backend.registry import Registry
from backend.settings import Settings
from backend.training import Trainer

log = logging.getLogger(__name__)

SYNC_PRIORITY = 10
BACKFILL_PRIORITY = 1
WATCH_SECONDS = 3
RETRY_SECONDS = 15
BUSY_SECONDS = 1
LOST_AFTER = 300.0
BACKWARDS = 5.0  # seconds from the future that mean that the clock was set back
AGES = timedelta(days=3650)


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
        self.leases = Leases(None if settings.embedded else self.queue.storage.conn)
        self._failures = Failures(self.queue, self.board)
        self._missed = True
        self._refused = False
        self._outage = Outage("the job queue")
        self._sync_task = self.queue.task(name="sync", priority=SYNC_PRIORITY)(self._sync)
        self._backfill_task = self.queue.task(name="backfill", priority=BACKFILL_PRIORITY)(self._backfill)
        self._look_again_task = self.queue.task(name="look again", priority=BACKFILL_PRIORITY)(self._look_again)
        every = crontab(minute=f"*/{settings.reconcile_minutes}")
        self.queue.periodic_task(every, name="reconcile")(self.reconcile)

    # Asking for work

    def request_sync(self, project_id: int, *, force: bool = False, more_follows: bool = True) -> None:
        """Asks for the project to be brought up to date. Raises QueueUnreachable.

        force: train whatever is new, be it little. more_follows: wait until no more such requests come. Cheap enough
        to be called for every webhook.
        """
        asked_at = time.time()
        try:
            if force:
                self.queue.put(_forced_key(project_id), asked_at)
            if more_follows:
                self.queue.put(_touched_key(project_id), asked_at)
            if self._is_first(project_id, asked_at):
                self._sync_task.schedule(args=(project_id,), delay=0 if force else self._settings.debounce_seconds)
            self._refused = False
        except FAULTS as error:
            self._refused = True
            raise QueueUnreachable(f"the job queue cannot be reached: {error}") from error

    def hint_sync(self, project_id: int, *, more_follows: bool = True) -> None:
        """Asks likewise where the asking may fail: the next reconcile finds what is lost with the queue."""
        try:
            self.request_sync(project_id, more_follows=more_follows)
        except QueueUnreachable as error:
            log.warning("project %s: %s; the next reconcile finds it", project_id, error)

    def _is_first(self, project_id: int, asked_at: float) -> bool:
        """Whether no other request waits for its job; one that waits for too long counts as lost."""
        key = waiting_key(project_id)
        if self.queue.put_if_empty(key, asked_at):
            return True
        waited = asked_at - (self.queue.get(key, peek=True) or asked_at)
        lost = not -BACKWARDS <= waited <= LOST_AFTER
        if lost:
            self.queue.put(key, asked_at)
        return lost

    def check(self) -> None:
        """Raises QueueUnreachable while the queue takes nothing, this process having been refused last."""
        self._refused = self._refused and self.waiting() is None
        if self._refused:
            raise QueueUnreachable(f"the job queue takes nothing: {remedy(self._settings)}")

    def waiting(self) -> int | None:
        """How many jobs wait, those for later included; None when the queue does not answer, or takes nothing."""
        try:
            self.queue.put("probe", True)  # one whose disk is full still answers
            return int(self.queue.pending_count() + self.queue.scheduled_count())
        except FAULTS:
            return None

    # Doing it

    def run_worker(self) -> None:
        """Works until told to stop (SIGTERM and SIGINT finish the job at hand first)."""
        consumer = self.queue.create_consumer(
            workers=1, worker_type="thread", initial_delay=0.05, max_delay=0.25, graceful_signal="TERM"
        )
        threading.Thread(target=self._watch, daemon=True, name="watch").start()
        consumer.run()

    def reconcile(self) -> None:
        """Brings every known project up to date: finds what no webhook told."""
        for project_id in self._registry.projects():
            self.hint_sync(project_id)

    def look_after(self) -> None:
        """Finds work that was lost: with a worker that died, or with a queue that was away or has forgotten."""
        try:
            self.board.note_worker()
            lost = self.leases.abandoned()
            if self.queue.put_if_empty("alive", True) or self._missed:
                lost |= set(self._registry.projects())
                self._missed = False
            for project_id in lost:
                self.queue.delete(waiting_key(project_id))
                self.request_sync(project_id)
            self._hurry()
            self._outage.over()
        except StoreUnreachable as error:
            self._missed = True
            log.warning("the queue cannot be looked after: %s", error)
        except (*FAULTS, QueueUnreachable) as error:
            self._missed = True
            self._outage.tell(f"the job queue cannot be reached ({error}): {remedy(self._settings)}")

    def _hurry(self) -> None:
        """Lets jobs begin that wait though it is time, or whose time is too far off to be meant.

        Then a clock was set back, or that of the machine that planned them is ahead or in another time zone.
        """
        now = datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)
        longest = max(self._settings.debounce_max_seconds, RETRY_SECONDS)
        first, last = now - timedelta(seconds=BACKWARDS), now + timedelta(seconds=longest + BACKWARDS)
        if not all(first <= task.eta <= last for task in self.queue.scheduled()):
            for task in self.queue.read_schedule(now + AGES):
                task.eta = None
                self.queue.enqueue(task)

    def _watch(self) -> None:
        while True:
            try:
                self.look_after()
            except Exception:
                log.exception("looking after the queue failed")
            time.sleep(WATCH_SECONDS)

    def _sync(self, project_id: int) -> None:
        with self._noticing():
            if self.queue.get(waiting_key(project_id), peek=True) is None:
                return  # another job has done what this one was asked for
            wait = self._calm_in(project_id)
            if wait > 0:
                self._sync_task.schedule(args=(project_id,), delay=wait)
            else:
                self._sync_alone(project_id)

    def _sync_alone(self, project_id: int) -> None:
        def work(trainer: Trainer, lease: Lease) -> None:
            self.board.post(project_id, syncing=True)
            try:
                self.queue.delete(waiting_key(project_id))
                wish = self.queue.get(_forced_key(project_id), peek=True)
                to_fill = trainer.sync(project_id, force=bool(wish), check=lease.check)
                if wish == self.queue.get(_forced_key(project_id), peek=True):
                    self.queue.delete(_forced_key(project_id))
                self._start_backfill(project_id, to_fill or [])
            finally:
                self.board.post(project_id, progress=None, syncing=False)
            if to_fill is None:
                self._forget(project_id)

        def again(delay: float) -> None:
            self.queue.put_if_empty(waiting_key(project_id), time.time())
            self._sync_task.schedule(args=(project_id,), delay=delay)

        self._alone(f"project:{project_id}", project_id, work, again)

    def _forget(self, project_id: int) -> None:
        """Leaves nothing in the queue's storage of a project that is gone, or that a stranger has made up."""
        self.board.forget(project_id)
        self.queue.delete(_touched_key(project_id))
        self.queue.delete(_forced_key(project_id))

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """A queue that goes away in the midst of a job takes the job along: all projects are looked at again."""
        try:
            yield
        except FAULTS as error:
            self._missed = True
            log.warning("the queue went away during a job: %s", error)

    def _calm_in(self, project_id: int) -> float:
        """Seconds until the project's webhooks have calmed down, or have kept us waiting long enough."""
        now = time.time()
        touched = self.queue.get(_touched_key(project_id), peek=True) or 0.0
        waiting_since = self.queue.get(waiting_key(project_id), peek=True) or 0.0
        if self.queue.get(_forced_key(project_id), peek=True):
            return 0.0
        calm = touched + self._settings.debounce_seconds - now
        patience = waiting_since + self._settings.debounce_max_seconds - now
        if max(touched, waiting_since) > now + BACKWARDS:
            return 0.0
        return float(min(calm, patience))

    def _start_backfill(self, project_id: int, task_ids: list[int]) -> None:
        """Makes jobs of the blocks of task ids, one at a time for a block: no two workers ever work on the same task.

        task_ids: the most urgent first; those alike by id.
        """
        version = self._registry.current(project_id) or ""
        run = self.board.start_backfill(project_id, version, len(task_ids))
        for block, ids in groupby(task_ids, key=lambda task_id: task_id // self._settings.backfill_chunk):
            self._backfill_task(project_id, version, block, list(ids), run)

    def _backfill(self, project_id: int, version: str, block: int, task_ids: list[int], run: str) -> None:
        def work(trainer: Trainer, lease: Lease) -> None:
            trainer.backfill(project_id, version, task_ids, check=lease.check)
            count()

        def count() -> None:
            if self.board.count_backfill(project_id, run, len(task_ids)):
                self._look_again_task(project_id)

        def again(delay: float) -> None:
            self._backfill_task.schedule(args=(project_id, version, block, task_ids, run), delay=delay)

        with self._noticing():
            if self.board.is_running(project_id, run):  # otherwise a newer one holds all that is still missing
                self._alone(f"project:{project_id}:block:{block}", project_id, work, again, give_up=count)

    def _look_again(self, project_id: int) -> None:
        """Takes in what a backfill has pushed. It asks for no backfill, so that none can follow another for ever."""

        def work(trainer: Trainer, lease: Lease) -> None:
            if self.queue.get(waiting_key(project_id), peek=True) is None:  # otherwise the next sync does it
                trainer.look_again(project_id)

        def again(delay: float) -> None:
            self._look_again_task.schedule(args=(project_id,), delay=delay)

        with self._noticing():
            self._alone(f"project:{project_id}", project_id, work, again)

    def _alone(
        self,
        name: str,
        project_id: int,
        work: Callable[[Trainer, Lease], None],
        again: Callable[[float], None],
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Does `work` while no other worker holds the lease `name`; tries later what fails for a passing reason.

        again: asks for the same job once more, in so many seconds. give_up: called when it failed for good.
        """
        with self.leases.hold(name, project_id) as lease:
            if lease is None:
                again(BUSY_SECONDS)
                return
            with about(project=project_id):
                try:
                    with about(version=self._registry.current(project_id)):
                        work(self._work(), lease)
                    self._failures.forget(name, project_id)
                except QUEUE_FAULTS:
                    raise
                except Exception as error:
                    if self._failures.may_be_repeated(name, project_id, error):
                        again(RETRY_SECONDS)
                    else:
                        give_up()

    def _work(self) -> Trainer:
        if self._trainer is None:
            self._trainer = self._make_trainer(self.board)
        return self._trainer


def _touched_key(project_id: int) -> str:
    """Where the time of the latest request is kept that others may follow."""
    return f"touched:{project_id}"


def _forced_key(project_id: int) -> str:
    """Where it is kept that someone pressed Start Training."""
    return f"forced:{project_id}"
