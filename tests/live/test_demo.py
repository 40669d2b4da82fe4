"""`label-studio-anomaly demo`, as someone runs it who has just cloned the project."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.cli import main
from backend.demo import label_studio
from tests.conftest import free_port
from tests.live.conftest import PATIENCE, environment_folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Demo]:
    folder = tmp_path_factory.mktemp("demo")
    label_studio.install(environment_folder(), folder / "install.log")
    ports = [free_port(), free_port()]
    return lambda *arguments: Demo(folder, ports, arguments)


class Demo:
    """One run of the command; leaving the block presses Ctrl-C."""

    def __init__(self, folder: Path, ports: list[int], arguments: tuple[str, ...]) -> None:
        self.studio, self.backend = (f"http://127.0.0.1:{port}" for port in ports)
        options = f"--directory {folder} --port {ports[0]} --backend-port {ports[1]}".split()
        self._log = folder / f"output-{time.monotonic_ns()}.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backend", "demo", *arguments, *options],
            stdout=self._log.open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "LABEL_STUDIO_VENV": str(environment_folder()), "OMP_WAIT_POLICY": "passive"},
        )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def status(self, project: int) -> dict[str, Any]:
        """The project's status once the backend has nothing left to do."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status: dict[str, Any] = httpx.get(f"{self.backend}/api/projects/{project}").json()
            if status["tasks"] and not status["pending"]:
                return status
            time.sleep(0.2)
        raise AssertionError(self.said)

    def __enter__(self) -> Demo:
        deadline = time.monotonic() + 3 * PATIENCE
        while "Ctrl-C stops everything" not in self.said:
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self.code = self._process.wait(60)


def test_it_pre_annotates_its_pictures_and_stops_cleanly(demo: Callable[..., Demo]) -> None:
    with demo() as first:
        status = first.status(1)
        assert status["model_normals"] == 12
        assert "Pre-annotated: " in first.said
        assert f"{first.studio}/projects/1/data" in first.said
        assert label_studio.PASSWORD in first.said
    assert first.code == 0
    for url in (first.studio, first.backend):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")


def test_a_second_start_goes_on_where_the_first_one_stopped(demo: Callable[..., Demo]) -> None:
    with demo() as again:
        status = again.status(1)
        assert (status["tasks"], status["normals"]) == (45, 12)
        assert "installed" not in again.said
        assert len(httpx.get(f"{again.backend}/api/projects").json()["projects"]) == 1


def test_pictures_of_ones_own(demo: Callable[..., Demo], tmp_path: Path, normal_pictures: list[Path]) -> None:
    for number, path in enumerate(normal_pictures[:6]):
        (tmp_path / f"Ünusual name {number}.jpg").write_bytes(path.read_bytes())
    with demo(str(tmp_path)) as own:
        status = own.status(2)
        assert (status["tasks"], status["normals_needed"]) == (6, 5)
        assert "the tags are yours to give" in own.said


@pytest.mark.parametrize(
    ("images", "code", "reason"),
    [("nowhere", 2, "is not a folder"), (".", 1, "no pictures below"), ("few", 2, "2 pictures are below")],
)
def test_what_cannot_be_shown_is_told_at_once(
    images: str,
    code: int,
    reason: str,
    tmp_path: Path,
    normal_pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if images == "few":
        Path(images).mkdir()
        for path in normal_pictures[:2]:
            shutil.copy(path, images)
    assert main(["demo", images]) == code
    assert reason in capsys.readouterr().err


def test_a_port_that_is_taken_can_be_changed_with_make_too(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 2
    assert f'make demo DEMO_ARGS="--port {port + 1}"' in capsys.readouterr().err
