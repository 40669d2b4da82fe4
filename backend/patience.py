"""Hosts that keep us waiting: not every one of their pictures is waited for, or one host would hold up all work."""

from __future__ import annotations

import threading
import time

from backend.errors import MediaUnavailable

MOST_MISSES = 4
REST_SECONDS = 60.0


class Patience:
    """Counts, for each host, the pictures in a row that did not come in time. Thread-safe."""

    def __init__(self) -> None:
        self._misses: dict[str, int] = {}
        self._last_miss: dict[str, float] = {}
        self._lock = threading.Lock()

    def check(self, host: str) -> None:
        """Raises MediaUnavailable for a host that has kept us waiting too often, until it has had a rest."""
        with self._lock:
            slow = self._misses.get(host, 0) >= MOST_MISSES
            if slow and time.monotonic() < self._last_miss[host] + REST_SECONDS:
                raise MediaUnavailable(
                    f"{host} has kept us waiting for several pictures (MEDIA_TIMEOUT) and is left alone for a minute:"
                    " see why it is slow"
                )

    def kept_waiting(self, host: str) -> None:
        with self._lock:
            self._misses[host] = self._misses.get(host, 0) + 1
            self._last_miss[host] = time.monotonic()

    def answered(self, host: str) -> None:
        with self._lock:
            self._misses.pop(host, None)
