"""The processes of docker-compose.yml, with its commands and its environment, started without Docker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from backend.demo.processes import Program
from backend.labels import EXAMPLE_CONFIG
from tests.conftest import free_port
from tests.live.conftest import PATIENCE, ROOT, TOKEN, LiveBackend, LiveStudio
from tests.test_compose import COMPOSE, SERVICES, without_env_file


class Composed:
    """What Compose would start: services as processes of this machine, volumes as folders.

    A container has names, ports and folders of its own; here all share one machine's, so only those are exchanged.
    """

    def __init__(self, studio_url: str, folder: Path) -> None:
        self._folder = folder
        self._queue_port = free_port()
        self.port = free_port()
        volume, _, data = SERVICES["backend"]["volumes"][0].partition(":")
        assert volume in COMPOSE["volumes"]
        self._here = {
            "http://label-studio:8080": studio_url,
            "redis://redis:6379": f"redis://127.0.0.1:{self._queue_port}",
            SERVICES["backend"]["environment"]["PORT"]: self.port,
            f"{data}/": f"{folder}/data/",
        }

    def start(self, service: str, number: int = 1) -> Program:
        """One container of a service, as the file describes it."""
        program, *arguments = SERVICES[service]["command"]
        settings = SERVICES[service].get("environment", {})
        environment = {name: self._exchange(without_env_file(value)) for name, value in settings.items()}
        if service == "redis":
            arguments += ["--port", str(self._queue_port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        else:
            environment |= {"LABEL_STUDIO_API_KEY": TOKEN, "PYTHONPATH": str(ROOT)}
        command = [_program(program), *arguments]
        return Program(f"{service} {number}", command, self._folder / f"{service}-{number}.log", environment)

    def is_healthy(self, service: str) -> bool:
        """What the file's own healthcheck says."""
        _, program, *arguments = SERVICES[service]["healthcheck"]["test"]
        if service == "redis":
            arguments = ["-p", str(self._queue_port), *arguments]
        command = [_program(program), *map(self._exchange, arguments)]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0

    def _exchange(self, text: str) -> str:
        for there, here in self._here.items():
            text = text.replace(str(there), str(here))
        return text


def _program(name: str) -> str:
    """Ours and Python from this environment, others from the system's packages."""
    ours = Path(sys.executable).parent / name
    found = str(ours) if ours.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install redis-server")
    return found


def test_server_queue_and_two_workers_do_the_main_job(
    studio: LiveStudio, tmp_path: Path, normal_pictures: list[Path]
) -> None:
    composed = Composed(studio.url, tmp_path)
    project = studio.create_project("composed", EXAMPLE_CONFIG)
    studio.upload(project, [(f"{number}.jpg", one.read_bytes()) for number, one in enumerate(normal_pictures[:6])])
    *known, new = studio.tasks(project)
    for task in known:
        studio.annotate(task, "normal")
    with ExitStack() as stack:

        def started(service: str, number: int = 1) -> Program:
            program = composed.start(service, number)
            stack.callback(program.stop)
            return program

        queue = started("redis")
        queue.wait_for(lambda: composed.is_healthy("redis"), PATIENCE, "the queue")
        server = started("backend")
        server.wait_for(lambda: composed.is_healthy("backend"), PATIENCE, "the server")
        workers = [started("worker", number) for number in (1, 2)]
        url = f"http://127.0.0.1:{composed.port}"
        backend = LiveBackend(url, httpx.Client(base_url=url, timeout=60), server)
        studio.call("POST", "/api/ml", json={"project": project, "url": url, "title": "composed"})
        backend.wait(project, lambda status: status["model_normals"] == 5, "a model of five normal pictures")
        for program in (queue, *workers):
            program.check()
        [predicted] = [task for task in studio.tasks(project) if task["id"] == new["id"]]
        assert predicted["predictions"][0]["score"] is not None
        assert {"models", "cache"} <= {path.name for path in (tmp_path / "data").iterdir()}
