"""A real Label Studio and a real backend beside it, each a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from backend.demo import label_studio
from backend.demo.processes import Program
from tests.conftest import free_port

ROOT = Path(__file__).parent.parent.parent
TOKEN = "0123456789abcdef0123456789abcdef01234567"
PATIENCE = 120.0

Json = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)


def environment_folder() -> Path:
    """Where Label Studio is installed, kept between runs."""
    return Path(os.environ.get("LABEL_STUDIO_VENV") or ROOT / ".cache" / "label-studio-venv")


@dataclass
class LiveStudio:
    """Label Studio's API as people and their browsers use it."""

    url: str
    api: httpx.Client
    token: str = ""

    def call(self, method: str, path: str, **content: Any) -> Any:
        answer = self.api.request(method, path, **content)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def create_project(self, title: str, config: str) -> int:
        return int(self.call("POST", "/api/projects", json={"title": title, "label_config": config})["id"])

    def upload(self, project: int, pictures: Sequence[tuple[str, bytes]]) -> None:
        for start in range(0, len(pictures), 10):
            files = [
                (f"f{number}", (name, content, "image/jpeg"))
                for number, (name, content) in enumerate(pictures[start : start + 10])
            ]
            self.call("POST", f"/api/projects/{project}/import", files=files)

    def learned_project(
        self, title: str, config: str, backend: LiveBackend, normal: Sequence[Path], others: Sequence[Path]
    ) -> tuple[int, Json]:
        """A project whose `normal` pictures (whole-1.jpg on) a person has tagged and the backend has learned, beside
        `others` (other-1.jpg on); and its status."""
        project = self.create_project(title, config)
        named = {f"whole-{number}.jpg": path for number, path in enumerate(normal, 1)}
        named |= {f"other-{number}.jpg": path for number, path in enumerate(others, 1)}
        self.upload(project, [(name, path.read_bytes()) for name, path in named.items()])
        for task in self.tasks(project):
            if "whole-" in task["data"]["image"]:
                self.annotate(task, "normal")
        self.call("POST", "/api/ml", json={"project": project, "url": backend.url, "title": "anomalies"})
        status = backend.wait(project, lambda status: status["model_normals"] == len(normal), "a model of them")
        return project, status

    def tasks(self, project: int) -> list[Json]:
        params = {"project": project, "fields": "all", "page_size": 1000}
        found: list[Json] = self.call("GET", "/api/tasks", params=params)["tasks"]
        return found

    def annotate(self, task: Json, verdict: str, **known: Any) -> Json:
        value = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": [verdict]}}
        made: Json = self.call("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [value], **known})
        return made

    def personal_token(self) -> str:
        """A personal access token, as Account & Settings makes it; a person may have only one at a time."""
        if not self.token:
            self.call("POST", "/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": True})
            self.token = str(self.call("POST", "/api/token/", json={})["token"])
        return self.token


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudio]:
    folder = tmp_path_factory.mktemp("label-studio")
    environment = environment_folder()
    environment.parent.mkdir(parents=True, exist_ok=True)
    command = label_studio.install(environment, folder / "install.log")
    port = free_port()
    program = label_studio.start(command, folder / "data", folder / "label-studio.log", port=port, token=TOKEN)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=120) as api:
        yield LiveStudio(url, api)
    program.stop()


@dataclass
class LiveBackend:
    """Our server, running as `label-studio-anomaly serve`."""

    url: str
    api: httpx.Client
    program: Program

    def status(self, project: int) -> Json:
        answer = self.api.get(f"/api/projects/{project}")
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def evaluation(self, project: int) -> Json:
        answer = self.api.get(f"/api/projects/{project}/evaluation")
        assert answer.is_success, answer.text
        found: Json = answer.json()
        return found

    def wait(self, project: int, reached: Callable[[Json], Any], what: str) -> Json:
        """The status once it is `reached` and nothing more is going on."""
        deadline = time.monotonic() + PATIENCE
        status: Json = {}
        while time.monotonic() < deadline:
            self.program.check()
            status = self.status(project)
            if not status["pending"] and reached(status):
                return status
            time.sleep(0.2)
        raise AssertionError(
            f"{what}: not within {PATIENCE:g} s.\n{json.dumps(status, indent=1)}\n{self.program.tail()}"
        )


@pytest.fixture(scope="session")
def start_backend(studio: LiveStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LiveBackend]]:
    started: list[Program] = []

    def start(**options: str) -> LiveBackend:
        folder = tmp_path_factory.mktemp("backend")
        port = free_port()
        settings = {
            "LABEL_STUDIO_URL": studio.url,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "MODEL_DIR": str(folder / "models"),
            "DATA_DIR": str(folder / "state"),
            "CACHE_DIR": str(folder / "cache"),
            "DEBOUNCE_SECONDS": "1",
            "OMP_WAIT_POLICY": "passive",
            **options,
        }
        command = [sys.executable, "-m", "backend", "serve", "--host", "127.0.0.1", "--port", str(port)]
        program = Program("the backend", command, folder / "backend.log", settings)
        started.append(program)
        url = f"http://127.0.0.1:{port}"
        program.wait_until_up(f"{url}/health", PATIENCE)
        user = options.get("BASIC_AUTH_USER")
        auth = (user, options["BASIC_AUTH_PASS"]) if user else None
        return LiveBackend(url, httpx.Client(base_url=url, auth=auth, timeout=60), program)

    yield start
    for program in started:
        program.stop()


@pytest.fixture
def page(browser: Browser, studio: LiveStudio) -> Page:
    """A browser window in which the demo's user is logged in."""
    window = browser.new_page(viewport={"width": 1440, "height": 900})
    window.goto(f"{studio.url}/user/login/")
    window.fill("input[name=email]", label_studio.USER)
    window.fill("input[name=password]", label_studio.PASSWORD)
    window.click("button[type=submit]")
    window.wait_for_url(lambda url: "login" not in url, wait_until="commit", timeout=60_000)
    return window


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder
