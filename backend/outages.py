"""An outage is told in one line, at once and then ever more seldom, instead of with every try."""

from __future__ import annotations

import logging
import time

from backend.board import FAULTS

log = logging.getLogger(__name__)

FIRST_SECONDS = 15.0
LONGEST_SECONDS = 600.0


class Outage:
    """Tells of a thing that is away, and once when it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._wait = 0.0
        self._next = 0.0

    def tell(self, reason: str) -> None:
        """A try has failed."""
        if time.monotonic() >= self._next:
            self._wait = min(max(2 * self._wait, FIRST_SECONDS), LONGEST_SECONDS)
            self._next = time.monotonic() + self._wait
            log.warning("%s; it is tried again until it answers", reason)

    def over(self) -> None:
        """A try has succeeded."""
        if self._wait:
            log.warning("%s answers again", self._what)
        self._wait = self._next = 0.0


def hush_consumer() -> None:
    """Drops what Huey's consumer writes of an outage with every try, a traceback each: the watch tells of it."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (record.name.startswith("huey.consumer") and isinstance(error, FAULTS))
