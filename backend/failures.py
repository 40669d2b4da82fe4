"""What becomes of a job that failed: what is told of it, and whether another try can help."""

from __future__ import annotations

import logging

from huey import Huey

from backend.board import Board
from backend.errors import (
    BackendError,
    LeaseLost,
    PicturesUnreadable,
    QueueUnreachable,
    StoreUnreachable,
    StoreUnwritable,
    StudioRefused,
    StudioUnreachable,
)
from model.errors import AnomalyError

log = logging.getLogger(__name__)

MOST_RETRIES = 8
PASSING = (StudioUnreachable, QueueUnreachable, LeaseLost, StoreUnreachable, StoreUnwritable, PicturesUnreadable)


class Failures:
    """How often each job has failed since it last went well, by the name of the lease that it needs."""

    def __init__(self, queue: Huey, board: Board) -> None:
        self._queue = queue
        self._board = board

    def forget(self, name: str, project_id: int) -> None:
        """What had failed before and now went well is told no longer."""
        if self._queue.get(_key(name), peek=True) is not None:
            self._queue.delete(_key(name))
            self._board.post(project_id, error=None)

    def may_be_repeated(self, name: str, project_id: int, error: Exception) -> bool:
        """Tells what went wrong, and whether another try soon can help; the reconcile is the last resort."""
        if not isinstance(error, AnomalyError):
            log.exception("project %s: the job failed", project_id)
            error = BackendError(f"an unexpected fault ({type(error).__name__}): see the worker's log")
        failures = (self._queue.get(_key(name), peek=True) or 0) + 1
        self._queue.put(_key(name), failures)
        self._board.post(project_id, error=str(error))
        if _passing(error) and failures <= MOST_RETRIES:
            log.warning("project %s: %s; it is tried again soon", project_id, error)
            return True
        log.error("project %s: %s", project_id, error)
        return False


def _key(name: str) -> str:
    return f"failures:{name}"


def _passing(error: Exception) -> bool:
    """Whether the same job may well succeed later."""
    if isinstance(error, StudioRefused):
        return error.status >= 500 or error.status == 429
    return isinstance(error, PASSING)
