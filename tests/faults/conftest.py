"""Servers and workers as processes of their own, over a real Redis, beside a Label Studio that fails on demand."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from backend.labels import EXAMPLE_CONFIG
from backend.naming import UNTRAINED
from tests.conftest import free_port
from tests.faults import programs
from tests.faults.label_studio import PATIENCE, FakeLabelStudio

PROJECT = 4
LEASE_SECONDS = 2.0

Json = dict[str, Any]

# Children are forked from a process that has loaded everything, so that one starts in a moment.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.faults.programs"])


def eventually(happened: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.05)
    return found


class Redis:
    """A real one that can be stopped and started again, with or without what it held."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        command = shutil.which("redis-server")
        if command is None:
            pytest.skip("redis-server is not installed: apt-get install redis-server")
        self._port = free_port()
        self._command = [*prefix, command, "--port", str(self._port), "--bind", address, "--dir", str(folder)]
        self._command += ["--protected-mode", "no"]
        self._command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.url = f"redis://{address}:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        eventually(self._answers, "Redis")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


class Fleet:
    """Servers and workers that share one queue and one folder."""

    def __init__(self, studio: FakeLabelStudio, folder: Path, **settings: str) -> None:
        self.studio = studio
        self.folder = folder
        self.settings = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": "f" * 40,
            "MODEL_DIR": str(folder / "models"),
            "DATA_DIR": str(folder / "state"),
            "CACHE_DIR": str(folder / "cache"),
            "DEBOUNCE_SECONDS": "0.2",
            "DEBOUNCE_MAX_SECONDS": "1",
            "IMAGE_SIZE": "64",
            "TOLERANCE": "strict",
            "ORIENTATION": "fixed",
            "BACKFILL_CHUNK": "4",
            **settings,
        }
        self._started: list[BaseProcess] = []

    def server(self, **settings: str) -> Server:
        port = free_port()
        settings = {"PORT": str(port), "HOST": "127.0.0.1", **settings}
        process = self._start("serve", "server", settings)
        server = Server(f"http://{settings['HOST']}:{port}", process)
        eventually(server.is_up, "the server", 3 * PATIENCE)
        return server

    def worker(self, name: str = "worker", **settings: str) -> BaseProcess:
        return self._start("work", name, settings)

    def settle(self, server: Server, reached: Callable[[str], bool] = bool) -> str:
        """Waits until every unfinished task has one prediction of the version in charge, and returns that.

        reached: whether it is a version that is waited for.
        """

        def settled() -> str:
            version = server.version()
            done = version != UNTRAINED and all(made.count(version) == 1 for made in self.studio.versions())
            return version if done and reached(version) and not server.status()["pending"] else ""

        return str(eventually(settled, f"a new version everywhere\n{self.log('worker')[-3000:]}\n"))

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        for process in self._started:
            process.kill()
            process.join()

    def _start(self, role: str, name: str, settings: dict[str, str]) -> BaseProcess:
        environment = self.settings | settings
        target = getattr(programs, role)
        process = processes.Process(target=target, args=(environment, str(self.folder / f"{name}.log"), LEASE_SECONDS))
        process.start()
        self._started.append(process)
        return process


class Server:
    """One of the servers, as Label Studio and people see it."""

    def __init__(self, url: str, process: BaseProcess) -> None:
        self.api = httpx.Client(base_url=url, timeout=30)
        self.process = process

    def is_up(self) -> bool:
        try:
            return self.api.get("/health").is_success
        except httpx.HTTPError:
            return False

    def hook(self, action: str = "ANNOTATION_CREATED") -> int:
        return self.api.post("/webhook", json={"action": action, "project": {"id": PROJECT}}).status_code

    def version(self) -> str:
        body = {"project": f"{PROJECT}.1", "schema": EXAMPLE_CONFIG}
        return str(self.api.post("/setup", json=body).json()["model_version"])

    def predict(self, task_id: int) -> Json:
        task = {"id": task_id, "data": {"image": f"/data/upload/{task_id}.jpg"}}
        body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": [task]}
        result: Json = self.api.post("/predict", json=body).json()["results"][0]
        return result

    def promotions(self) -> list[str]:
        """The versions that were put in charge, the oldest first."""
        return [row["version"] for row in self.api.get(f"/api/projects/{PROJECT}/versions").json()["promotions"]]

    def roll_back(self, version: str) -> None:
        path = f"/api/projects/{PROJECT}/promote"
        self.api.post(path, json={"version": version}, headers={"X-Requested-By": "a test"}).raise_for_status()

    def status(self) -> Json:
        found: Json = self.api.get(f"/api/projects/{PROJECT}").json()
        return found


@pytest.fixture
def studio(normal_pictures: list[Path], abnormal_pictures: list[Path]) -> Iterator[FakeLabelStudio]:
    """Six pictures tagged normal and twelve that wait for a prediction."""
    fake = FakeLabelStudio()
    fill(fake, normal_pictures, abnormal_pictures)
    fake.start()
    yield fake
    fake.stop()


def fill(fake: FakeLabelStudio, normal: list[Path], abnormal: list[Path]) -> None:
    for task_id, path in enumerate(normal[:12] + abnormal[:6], 1):
        fake.add(task_id, path.read_bytes(), "normal" if task_id <= 6 else None)


@pytest.fixture
def shared_redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _nursery() -> None:
    """Starts the process that the others are forked from: without threads, which no fork survives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()


@pytest.fixture
def fleet(_nursery: None, studio: FakeLabelStudio, shared_redis: Redis, tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(studio, tmp_path, QUEUE_URL=shared_redis.url)
    yield found
    found.stop()
