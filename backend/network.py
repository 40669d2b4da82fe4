"""Connections that a task may cause: only to addresses that were checked, and never for longer than allowed.

The address is checked where the connection is made, after the name was looked up, so that no other notation, no
redirect and no second answer of the name's owner leads elsewhere.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from backend.errors import MediaUnavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")
CLOUD_HOSTS = frozenset((ipaddress.ip_address("168.63.129.16"),))
"""Public by number, yet inside: Azure's machines reach their own keepers there."""

_deadline: ContextVar[float] = ContextVar("deadline")


def is_public(text: str) -> bool:
    """Whether an address lies outside every private network, and so does the one that it may be a wrapping of."""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address.sixtofour:
            return is_public(str(address.sixtofour))
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in CLOUD_HOSTS


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Lets everything that is read and connected inside take so long altogether, however slowly it drips."""
    known = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(known)


def guarded_client(may_be_private: Callable[[str, int], bool], timeout: httpx.Timeout) -> httpx.Client:
    """A client that connects to public addresses, and to private ones where `may_be_private(host, port)`."""
    context = httpx.create_ssl_context()
    transport = httpx.HTTPTransport(verify=context)
    # httpx has no public way to choose how connections are made; a test tells when this one is gone.
    transport._pool = httpcore.ConnectionPool(
        ssl_context=context, max_connections=100, network_backend=_Guard(may_be_private)
    )
    return httpx.Client(timeout=timeout, transport=transport)


class _Guard(httpcore.NetworkBackend):
    def __init__(self, may_be_private: Callable[[str, int], bool]) -> None:
        self._may_be_private = may_be_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        last: Exception = httpcore.ConnectError(f"the host {host} has no address")
        for address in self._checked(host, port):
            try:
                stream = self._plain.connect_tcp(address, port, _left(timeout), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
            else:
                return _Bounded(stream)
        raise last

    def _checked(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise MediaUnavailable(f"the host {host} is unknown") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not self._may_be_private(host, port) and not all(is_public(address) for address in addresses):
            raise MediaUnavailable(
                f"{host} is an address inside a private network: set MEDIA_ALLOW_PRIVATE=true to allow it"
            )
        return addresses


class _Bounded(httpcore.NetworkStream):
    """A stream whose every step ends at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None) -> float | None:
    """Seconds until the deadline or the timeout, whichever comes first."""
    deadline = _deadline.get(None)
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for it is over")
    return left if timeout is None else min(left, timeout)
