"""Who works on what: a right that ends by itself when its holder dies.

Over Redis a lease lives for some seconds and its holder renews it. A file queue has one worker process (see
one_worker), so there the right lives in that process and dies with it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from backend.errors import LeaseLost

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
PREFIX = "label-studio-anomaly:lease:"
IN_HAND = "label-studio-anomaly:in-hand"
# Kept when it is ours; taken again when Redis, started anew, has forgotten it and nobody else has it.
RENEW = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('hdel', KEYS[2], ARGV[2])
return redis.call('del', KEYS[1])
"""


class Lease:
    """A right that is held now. `check` before every act that must not be done twice."""

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self) -> None:
        """Raises LeaseLost when another may have taken over."""


class Leases:
    """Hands out leases by name. client: the Redis that all workers share; None within one process."""

    def __init__(self, client: redis.Redis | None) -> None:
        self._client = client
        self._local: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, name: str, project_id: int) -> Iterator[Lease | None]:
        """The lease, until the block is left, or None while someone else holds it."""
        holder = self._hold_locally(name) if self._client is None else self._hold_shared(self._client, name, project_id)
        with holder as lease:
            yield lease

    def abandoned(self) -> set[int]:
        """The projects whose worker died at work, each told once."""
        found: set[int] = set()
        if self._client is None:
            return found
        in_hand: dict[bytes, bytes] = self._client.hgetall(IN_HAND)  # type: ignore[assignment]
        for name, project_id in in_hand.items():
            if not self._client.exists(PREFIX + name.decode()) and self._client.hdel(IN_HAND, name.decode()):
                found.add(int(project_id))
        return found

    @contextmanager
    def _hold_locally(self, name: str) -> Iterator[Lease | None]:
        with self._lock:
            free = name not in self._local
            self._local.add(name)
        try:
            yield Lease(name) if free else None
        finally:
            if free:
                with self._lock:
                    self._local.discard(name)

    @contextmanager
    def _hold_shared(self, client: redis.Redis, name: str, project_id: int) -> Iterator[Lease | None]:
        lease = _SharedLease(client, name)
        if not lease.take(project_id):
            yield None
            return
        try:
            yield lease
        finally:
            lease.release()


class _SharedLease(Lease):
    def __init__(self, client: redis.Redis, name: str) -> None:
        super().__init__(name)
        self._client = client
        self._token = uuid.uuid4().hex
        self._sure_until = 0.0
        self._done = threading.Event()

    def take(self, project_id: int) -> bool:
        asked_at = time.monotonic()
        if not self._client.set(PREFIX + self.name, self._token, nx=True, px=int(1000 * LEASE_SECONDS)):
            return False
        self._sure_until = asked_at + LEASE_SECONDS
        self._client.hset(IN_HAND, self.name, str(project_id))
        threading.Thread(target=self._keep, daemon=True, name=f"lease {self.name}").start()
        return True

    def check(self) -> None:
        if time.monotonic() >= self._sure_until:
            raise LeaseLost(f"the right to work on {self.name} was lost: another worker goes on")

    def release(self) -> None:
        self._done.set()
        try:
            self._client.eval(RELEASE, 2, PREFIX + self.name, IN_HAND, self._token, self.name)
        except redis.RedisError as error:
            log.warning("the lease %s ends by itself: %s", self.name, error)

    def _keep(self) -> None:
        while not self._done.wait(LEASE_SECONDS / 5):
            asked_at = time.monotonic()
            if asked_at >= self._sure_until:
                return  # another may have had it since, and be done: it is never taken again
            try:
                if not self._client.eval(RENEW, 1, PREFIX + self.name, self._token, int(1000 * LEASE_SECONDS)):
                    self._sure_until = 0.0
                    return
                self._sure_until = asked_at + LEASE_SECONDS
            except redis.RedisError as error:
                log.warning("the lease %s cannot be renewed: %s", self.name, error)
