"""Fetches the pictures of tasks: bounded in bytes and time, and only from where it may.

A token is sent to the Label Studio host and nowhere else, and there only for pictures: a task must not make us read
what its author may not. Other hosts must be named in MEDIA_HOSTS, and addresses inside private networks are refused
unless MEDIA_ALLOW_PRIVATE says otherwise.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from backend.addresses import is_signed
from backend.errors import MediaUnavailable, OutOfTime, StudioRefused
from backend.network import guarded_client, within
from backend.patience import Patience
from backend.settings import Settings
from backend.studio_auth import StudioAuth

CLOUD_SCHEMES = frozenset(("s3", "gs", "azure-blob"))
MOST_REDIRECTS = 5
PARALLEL = 4
RESOLVED = r"/(tasks|projects)/\d+/(presign|resolve)/"
LOCAL_FILES = "/data/local-files/"
NO_LOCAL_FILES = (
    "Label Studio gives out no local files (403): start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true, and with"
    " LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder above them"
)
NOT_IN_A_STORAGE = (
    "Label Studio has no storage that holds it (404): connect its folder or bucket under Settings, Cloud Storage, and"
    " see that the file is there"
)
NOT_GIVEN = (
    "the storage does not give the picture to Label Studio: see that the file is there, and that the keys under"
    " Settings, Cloud Storage, may read it"
)
EXPIRED = (
    "the signed link is refused, most often because it has expired: give the task a fresh one, or connect its bucket"
    " under Settings, Cloud Storage, for which Label Studio signs anew each time"
)
FAILED_DEPENDENCY = 424
"""Label Studio's answer where it cannot read from a storage."""
REFUSING = (400, 401, 403)
"""Storages' answers to links that they do not take: Google's is 400. S3 also answers 403 where a file is gone."""
PICTURE_PATHS = re.compile(rf"/(data|storage-data)/|{RESOLVED}")
BELOW_A_PATH = re.compile(r"(/.+)/data/upload/")
STORED_PATHS = re.compile(rf"{LOCAL_FILES}$|{RESOLVED}$")
"""Where pictures come from that are in a storage."""


class Media:
    """Fetches task pictures. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._studio = httpx.URL(settings.label_studio_url)
        self._public = httpx.URL(settings.public_studio_url)
        self._auth = StudioAuth(settings.label_studio_url, settings.label_studio_api_key.get_secret_value())
        self._patience = Patience()
        timeout = httpx.Timeout(settings.media_timeout, connect=5.0)
        self._direct = guarded_client(self._may_be_private, timeout)
        self._by_proxy = httpx.Client(timeout=timeout) if getproxies() else None

    def fetch(self, uri: str, task_id: int, deadline: float = math.inf) -> bytes:
        """The picture's bytes. Raises MediaUnavailable, which says why and what to do.

        deadline: in the seconds of time.monotonic(); after it OutOfTime is raised.
        """
        if uri.startswith("data:"):
            return _inline(uri, self._settings.media_max_mb)
        left = deadline - time.monotonic()
        late = OutOfTime(f"the time for all pictures was over before {shown(uri)} came")
        if left <= 0:
            raise late
        try:
            with within(min(left, self._settings.media_timeout)):
                return self._download(self._address(uri, task_id))
        except StudioRefused as error:
            raise MediaUnavailable(str(error)) from error
        except httpx.TimeoutException as error:
            if left < self._settings.media_timeout:
                raise late from error
            self._patience.kept_waiting(error.request.url.host)
            raise MediaUnavailable(
                f"{shown(uri)} did not come within {self._settings.media_timeout:g} s (MEDIA_TIMEOUT)"
            ) from error
        except httpx.HTTPError as error:
            raise MediaUnavailable(f"{shown(uri)} cannot be reached: {error}") from error
        except (httpx.InvalidURL, ValueError) as error:
            raise MediaUnavailable(f"{shown(uri)} is not an address that can be fetched") from error

    def fetch_each(
        self, items: Iterable[tuple[str, int]], deadline: float = math.inf
    ) -> Iterator[bytes | MediaUnavailable]:
        """The bytes, or the reason why there are none, for each (uri, task id) in turn; some in parallel."""

        def attempt(item: tuple[str, int]) -> bytes | MediaUnavailable:
            try:
                return self.fetch(*item, deadline)
            except MediaUnavailable as error:
                return error

        with ThreadPoolExecutor(PARALLEL) as pool:
            yield from pool.map(attempt, items)

    def _address(self, uri: str, task_id: int) -> httpx.URL:
        """Where to ask for it: Label Studio resolves its own paths and those of connected cloud storages."""
        if urlsplit(uri).scheme in CLOUD_SCHEMES:
            encoded = base64.urlsafe_b64encode(uri.encode()).decode()
            return httpx.URL(f"{self._studio}/tasks/{task_id}/presign/?fileuri={quote(encoded)}")
        address = self._as_reached(httpx.URL(urljoin(f"{self._studio}/", uri)))
        if self._is_studio(address) and _climbs(uri):
            raise MediaUnavailable(f"{shown(uri)} leads out of the folder that it begins in")
        return address

    def _as_reached(self, address: httpx.URL) -> httpx.URL:
        """Label Studio writes the address of people's browsers into tasks; we may reach it at another."""
        folder = self._public.raw_path.rstrip(b"/")
        known = _origin(address) == _origin(self._public) or (folder and self._is_studio(address))
        if not known or not address.raw_path.startswith(folder + b"/"):
            return address
        return httpx.URL(f"{self._studio}{address.raw_path.removeprefix(folder).decode()}")

    def _download(self, address: httpx.URL) -> bytes:
        trusted = False
        for _ in range(MOST_REDIRECTS):
            self._check(address, trusted=trusted)
            self._patience.check(address.host)
            answer = self._request(address, trusted=trusted)
            self._patience.answered(address.host)
            if isinstance(answer, bytes):
                return answer
            trusted = self._takes_token(address)  # Label Studio itself sends us to the storage's host
            address = address.join(answer)
        raise MediaUnavailable(f"{shown(address)} redirects too often")

    def _request(self, address: httpx.URL, *, trusted: bool) -> bytes | str:
        """The body, or the address that it redirects to. trusted: Label Studio has sent us there."""
        auth = self._auth if self._takes_token(address) else None
        with self._client(address).stream("GET", address, auth=auth) as response:
            if response.is_redirect:
                return str(response.headers.get("location", ""))
            if response.is_error:
                self._patience.answered(address.host)
                raise MediaUnavailable(self._refusal(address, response.status_code, trusted=trusted))
            return self._body(response, address)

    def _refusal(self, address: httpx.URL, status: int, *, trusted: bool) -> str:
        """What to tell people of an answer that is an error."""
        is_studio = self._is_studio(address)
        if is_studio and status == 403 and address.path.endswith(LOCAL_FILES):
            return NO_LOCAL_FILES
        if is_studio and status == 404 and STORED_PATHS.search(address.path):
            return NOT_IN_A_STORAGE
        if (is_studio and status == FAILED_DEPENDENCY) or (trusted and status in REFUSING):
            return f"{NOT_GIVEN} ({status})"
        if status in (401, 403) and is_studio:
            return (
                f"Label Studio refuses {shown(address)} ({status}): set LABEL_STUDIO_API_KEY to a token of a user who"
                " can see the project"
            )
        if status in REFUSING and is_signed(str(address)):
            return f"{EXPIRED} ({status})"
        if status != 404:
            return f"{shown(address)} answered {status}"
        below = BELOW_A_PATH.match(address.path)
        if is_studio and below and not self._takes_token(address):
            return (
                f"{shown(address)} does not exist (404): where people reach Label Studio at an address that ends in"
                f" {below[1]}, set LABEL_STUDIO_PUBLIC_URL to it"
            )
        return f"{shown(address)} does not exist (404)"

    def _client(self, address: httpx.URL) -> httpx.Client:
        """Where a proxy is set, it makes the connection, by rules of its own."""
        proxies = getproxies()
        if self._by_proxy and ({address.scheme, "all"} & proxies.keys()) and not proxy_bypass(address.host):
            return self._by_proxy
        return self._direct

    def _body(self, response: httpx.Response, address: httpx.URL) -> bytes:
        limit = int(self._settings.media_max_mb * 1_000_000)
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > limit:
                raise MediaUnavailable(
                    f"{shown(address)} is larger than {self._settings.media_max_mb:g} MB (MEDIA_MAX_MB)"
                )
        return bytes(content)

    def _is_studio(self, address: httpx.URL) -> bool:
        return _origin(address) == _origin(self._studio)

    def _takes_token(self, address: httpx.URL) -> bool:
        """Whether Label Studio keeps pictures there; its other pages are read as strangers read them."""
        path = address.path.removeprefix(self._studio.path.rstrip("/"))
        return self._is_studio(address) and PICTURE_PATHS.match(path) is not None

    def _may_be_private(self, host: str, port: int) -> bool:
        return self._settings.media_allow_private or (host, port) == _origin(self._studio)[1:]

    def _check(self, address: httpx.URL, *, trusted: bool) -> None:
        """Refuses addresses that a task may not make us fetch."""
        if address.scheme not in ("http", "https") or not address.host:
            raise MediaUnavailable(f"{shown(address)}: only http and https addresses are fetched")
        allowed = self._settings.media_hosts
        if not (trusted or self._is_studio(address) or "*" in allowed or address.host in allowed):
            raise MediaUnavailable(
                f"pictures from {address.host} are not allowed: set LABEL_STUDIO_PUBLIC_URL to Label Studio's address"
                " there if that is where people reach it, or add the host to MEDIA_HOSTS if you trust it"
            )


def _inline(uri: str, most_mb: float) -> bytes:
    header, _, payload = uri.partition(",")
    if not header.endswith(";base64"):
        raise MediaUnavailable("the task's data: address is not base64")
    try:
        content = base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaUnavailable("the task's data: address is not valid base64") from error
    if len(content) > most_mb * 1_000_000:
        raise MediaUnavailable(f"the picture in the task's data is larger than {most_mb:g} MB (MEDIA_MAX_MB)")
    return content


def _climbs(uri: str) -> bool:
    """Whether a part of the path or query leads upwards, however it is written."""
    return ".." in re.split(r"[/\\?&=#]", unquote(unquote(uri)))


def _origin(address: httpx.URL) -> tuple[str, str, int]:
    return address.scheme, address.host, address.port or (443 if address.scheme == "https" else 80)


def shown(address: httpx.URL | str) -> str:
    """An address as it may be told and logged: without a password, and without the query, which may be a signature."""
    text = str(address)
    if text.startswith("data:"):
        return "data:..."
    plain = re.split(r"[?#]", text, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", plain)[:200]
