"""What tests of more than one folder need: real pictures, a place that serves them, a service around them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import httpx
import pytest

from backend.dataset import Dataset
from backend.demo.project import PICTURES
from backend.registry import ModelVersion, now
from backend.review import report
from backend.services import Services, build_services
from backend.settings import Settings, load_settings
from model.detector import AnomalyDetector
from model.images import find_images

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROJECT = 2
PERSONAL_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.signature"
LIVE = "tests/live/"
BROWSER_FLAGS = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update"
LABEL_STUDIO_WAITS = 1.0
"""Seconds for a webhook to be answered."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run side by side, one process runs those of a file, and one all those of the live Label Studio."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return LIVE if nodeid.startswith(LIVE) else nodeid.partition("::")[0]

    return ByFile(config, log)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=executable, args=BROWSER_FLAGS.split())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class PictureServer:
    """Serves pictures over real HTTP, as Label Studio does, and misbehaves where asked to."""

    url: str
    contents: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def picture_server() -> Iterator[PictureServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shared.asked.append((self.path, self.headers.get("Authorization")))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(shared.delays.get(self.path, 0))
            content = shared.contents.get(self.path)
            redirect = shared.redirects.get(self.path)
            status = 302 if redirect else shared.statuses.get(self.path, 404 if content is None else 200)
            self.send_response(status)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            with suppress(BrokenPipeError):  # the client gave up on a slow answer
                self.wfile.write(content or b"")

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shared = PictureServer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield shared
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket of a real S3 server on this machine, which this process and its children find by the environment."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "anything")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None
            time.sleep(0.1)
        fsspec.filesystem("s3").mkdir("models")
        yield "s3://models"
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def reading_key(bucket: str) -> dict[str, str]:
    """The key of a user of the S3 server who may read and not write."""
    import boto3  # comes with the S3 server

    iam = boto3.client("iam")
    reading = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reading]})
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key: dict[str, str] = iam.create_access_key(UserName="reader")["AccessKey"]
    return key


@pytest.fixture
def read_only_bucket(bucket: str, reading_key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    kind = fsspec.get_filesystem_class("s3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", reading_key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", reading_key["SecretAccessKey"])
    kind.clear_instance_cache()
    _check_rights_after("0")
    yield bucket
    _check_rights_after("inf")
    kind.clear_instance_cache()


def _check_rights_after(requests: str) -> None:
    """From how many requests on the S3 server asks for rights."""
    url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    httpx.post(url, content=requests, headers={"Content-Type": "text/plain"}).raise_for_status()


@pytest.fixture
def unreachable_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server that is away."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    yield bucket
    kind.clear_instance_cache()


@pytest.fixture(scope="session")
def normal_pictures() -> list[Path]:
    return find_images(PICTURES / "normal")


@pytest.fixture(scope="session")
def abnormal_pictures() -> list[Path]:
    return find_images(PICTURES / "abnormal")


@pytest.fixture(scope="session")
def detector(normal_pictures: list[Path]) -> AnomalyDetector:
    """Learned from ten real pictures, named as the tasks 1001 to 1010."""
    learned = AnomalyDetector()
    embeddings = [item for item in learned.embedder.embed(normal_pictures[:10]) if not isinstance(item, Exception)]
    return learned.fit_embeddings(embeddings, [str(1001 + position) for position in range(10)])


@pytest.fixture
def settings(tmp_path: Path, picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("backend.app.WEBHOOK_SECONDS", 60.0)  # the disk may be busy with other tests
    return load_settings(
        label_studio_url=picture_server.url,
        label_studio_api_key="f" * 40,
        model_dir=str(tmp_path / "models"),
        data_dir=tmp_path / "state",
        cache_dir=tmp_path / "cache",
        debounce_seconds=1.0,
    )


@pytest.fixture
def services(settings: Settings) -> Services:
    return build_services(settings)


@pytest.fixture
def promote(services: Services, detector: AnomalyDetector) -> Callable[..., str]:
    """Saves the detector as a version of a project and promotes it."""

    def do(project_id: int = PROJECT, name: str = "normal-10-fixture", **known: object) -> str:
        version = make_version(project_id, name, **known)
        services.registry.remember(project_id)
        evaluation = report(project_id, name, detector, Dataset((), (), ()), [])
        services.registry.save(version, detector, evaluation)
        services.registry.promote(project_id, name, "a test wants it")
        return name

    return do


def make_version(project_id: int = PROJECT, name: str = "v1", **known: object) -> ModelVersion:
    values: dict[str, object] = {
        "name": name,
        "project_id": project_id,
        "created_at": now(),
        "fingerprint": "f",
        "normals": 10,
        "training_tasks": tuple(range(1001, 1011)),
        "trusted_tasks": (),
        "recipe": "r",
        "seconds": 1.0,
        "provisional": False,
        "threshold": 1.0,
        "alarm_rate": 0.05,
        "attainable_rate": 0.09,
    }
    return ModelVersion(**{**values, **known})  # type: ignore[arg-type]
