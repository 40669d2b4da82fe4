"""Fetches the pictures of tasks: bounded in bytes and time, and only from where it may.

A token is sent to the Label Studio host and nowhere else. Other hosts must be named in MEDIA_HOSTS, and
addresses inside private networks are refused unless MEDIA_ALLOW_PRIVATE says otherwise.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urljoin, urlsplit

import httpx

from backend.errors import MediaUnavailable
from backend.settings import Settings
from backend.studio import StudioAuth

CLOUD_SCHEMES = frozenset(("s3", "gs", "azure-blob"))
MOST_REDIRECTS = 5
PARALLEL = 4


class Media:
    """Fetches task pictures. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._studio = settings.label_studio_url
        token = settings.label_studio_api_key.get_secret_value()
        self._auth = StudioAuth(self._studio, token)
        self._client = httpx.Client(timeout=httpx.Timeout(settings.media_timeout, connect=5.0))

    def fetch(self, uri: str, task_id: int) -> bytes:
        """The picture's bytes. Raises MediaUnavailable, which says why and what to do."""
        if uri.startswith("data:"):
            return _inline(uri)
        return self._download(self._address(uri, task_id))

    def fetch_each(self, items: Iterable[tuple[str, int]]) -> Iterator[bytes | MediaUnavailable]:
        """The bytes, or the reason why there are none, for each (uri, task id) in turn; some in parallel."""

        def attempt(item: tuple[str, int]) -> bytes | MediaUnavailable:
            try:
                return self.fetch(*item)
            except MediaUnavailable as error:
                return error

        with ThreadPoolExecutor(PARALLEL) as pool:
            yield from pool.map(attempt, items)

    def _address(self, uri: str, task_id: int) -> str:
        """Where to ask for it: Label Studio resolves its own paths and those of connected cloud storages."""
        if urlsplit(uri).scheme in CLOUD_SCHEMES:
            encoded = base64.urlsafe_b64encode(uri.encode()).decode()
            return f"{self._studio}/tasks/{task_id}/presign/?fileuri={quote(encoded)}"
        return urljoin(f"{self._studio}/", uri)

    def _download(self, address: str) -> bytes:
        trusted = False
        for _ in range(MOST_REDIRECTS):
            self._check(address, trusted=trusted)
            try:
                answer = self._request(address)
            except httpx.TimeoutException as error:
                raise MediaUnavailable(
                    f"{_shown(address)} did not come within {self._settings.media_timeout:g} s (MEDIA_TIMEOUT)"
                ) from error
            except httpx.HTTPError as error:
                raise MediaUnavailable(f"{_shown(address)} cannot be reached: {error}") from error
            if isinstance(answer, bytes):
                return answer
            trusted = self._is_studio(address)  # Label Studio itself sends us to the storage's host
            address = urljoin(address, answer)
        raise MediaUnavailable(f"{_shown(address)} redirects too often")

    def _request(self, address: str) -> bytes | str:
        """The body, or the address that it redirects to."""
        auth = self._auth if self._is_studio(address) else None
        with self._client.stream("GET", address, auth=auth) as response:
            if response.is_redirect:
                return str(response.headers.get("location", ""))
            if response.is_error:
                raise MediaUnavailable(_refusal(address, response.status_code, auth is not None))
            return self._body(response, address)

    def _body(self, response: httpx.Response, address: str) -> bytes:
        limit = int(self._settings.media_max_mb * 1_000_000)
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > limit:
                raise MediaUnavailable(
                    f"{_shown(address)} is larger than {self._settings.media_max_mb:g} MB (MEDIA_MAX_MB)"
                )
        return bytes(content)

    def _is_studio(self, address: str) -> bool:
        return _origin(address) == _origin(self._studio)

    def _check(self, address: str, *, trusted: bool) -> None:
        """Refuses addresses that a task may not make us fetch."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MediaUnavailable(f"{_shown(address)}: only http and https addresses are fetched")
        if self._is_studio(address):
            return
        allowed = self._settings.media_hosts
        if not trusted and "*" not in allowed and parts.hostname not in allowed:
            raise MediaUnavailable(
                f"pictures from {parts.hostname} are not allowed: add it to MEDIA_HOSTS if you trust it"
            )
        if not self._settings.media_allow_private and _is_private(parts.hostname):
            raise MediaUnavailable(
                f"{parts.hostname} is an address inside a private network: set MEDIA_ALLOW_PRIVATE=true to allow it"
            )


def _inline(uri: str) -> bytes:
    header, _, payload = uri.partition(",")
    if not header.endswith(";base64"):
        raise MediaUnavailable("the task's data: address is not base64")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise MediaUnavailable("the task's data: address is not valid base64") from error


def _is_private(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
    except OSError as error:
        raise MediaUnavailable(f"the host {host} is unknown") from error
    return any(not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)


def _origin(address: str) -> tuple[str, str | None, int]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _shown(address: str) -> str:
    """An address without its query, which may hold a signature."""
    return urlsplit(address)._replace(query="", fragment="").geturl()


def _refusal(address: str, status: int, is_studio: bool) -> str:
    if status in (401, 403) and is_studio:
        return (
            f"Label Studio refuses {_shown(address)} ({status}): set LABEL_STUDIO_API_KEY to a token of a user who"
            " can see the project"
        )
    if status == 404:
        return f"{_shown(address)} does not exist (404)"
    return f"{_shown(address)} answered {status}"
