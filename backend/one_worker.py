"""A file queue has one worker process: two would do the same jobs at the same time, since each keeps its own leases."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from backend.errors import SecondWorker
from backend.settings import Settings

log = logging.getLogger(__name__)

FILE = "worker.lock"


@contextmanager
def only_worker(settings: Settings, *, wait: bool) -> Iterator[None]:
    """Keeps other workers off DATA_DIR until the block is left or this process dies; over Redis any number may work.

    wait: for another one to end, instead of raising SecondWorker at once.
    """
    if not settings.embedded:
        yield
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.data_dir / FILE)
    told = (
        f"another worker serves the queue in DATA_DIR={settings.data_dir}: `serve` keeps one of its own. For more"
        " workers set QUEUE_URL=redis://host:6379/0 for all of them"
    )
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise SecondWorker(told) from error
        log.warning("%s; waiting until it ends", told)
        lock.acquire(poll_interval=1)
    try:
        yield
    finally:
        lock.release()
