"""A real Label Studio with label-studio-ml's own server: made, started and connected as the README says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.demo.processes import Program
from backend.labels import EXAMPLE_CONFIG
from backend.registry import Registry
from tests.conftest import free_port
from tests.live.conftest import PATIENCE, ROOT, TOKEN, LiveStudio
from tests.test_readme import README

Json = dict[str, Any]


@dataclass
class PluginServer:
    url: str
    registry: Registry
    programs: tuple[Program, ...]

    def wait(self, reached: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            for program in self.programs:
                program.check()
            tails = "\n".join(program.tail() for program in self.programs)
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s\n{tails}"
            time.sleep(0.3)


@pytest.fixture(scope="module")
def server(studio: LiveStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginServer]:
    folder = tmp_path_factory.mktemp("label-studio-ml")
    port = free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # label-studio-ml starts whatever `python` is
        "PYTHONPATH": str(ROOT),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": TOKEN,
        "MODEL_DIR": str(folder / "models"),
        "DATA_DIR": str(folder / "state"),
        "CACHE_DIR": str(folder / "cache"),
        "DEBOUNCE_SECONDS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    prepare, start = readme_commands()
    subprocess.run(prepare, shell=True, cwd=folder, env={**os.environ, **environment}, check=True, timeout=120)
    shell = ["bash", "-c", f"cd {folder} && exec {start} --host 127.0.0.1 --port {port}"]
    worker = [sys.executable, "-m", "backend", "worker"]
    programs = (
        Program("label-studio-ml", shell, folder / "server.log", environment),
        Program("the worker", worker, folder / "worker.log", environment),
    )
    try:
        url = f"http://127.0.0.1:{port}"
        programs[0].wait_until_up(f"{url}/health", PATIENCE)
        yield PluginServer(url, Registry(environment["MODEL_DIR"]), programs)
    finally:
        for program in programs:
            program.stop()


def readme_commands() -> tuple[str, str]:
    """The lines that make the server's folder, and the one that starts it."""
    section = README.partition("## With label-studio-ml's own server")[2]
    lines = section.partition("```sh\n")[2].partition("```")[0].splitlines()
    prepare = [line for line in lines if line.startswith(("echo ", "label-studio-ml init"))]
    [start] = [line.rstrip(" &") for line in lines if line.startswith("label-studio-ml start")]
    return "\n".join(prepare), start


def test_from_tagging_to_pre_annotation(
    studio: LiveStudio, server: PluginServer, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    project = studio.create_project("label-studio-ml", EXAMPLE_CONFIG)
    pictures = [(path.name, path.read_bytes()) for path in [*normal_pictures[:8], *abnormal_pictures[:3]]]
    studio.upload(project, pictures)
    ml = studio.call("POST", "/api/ml", json={"project": project, "url": server.url, "title": "plugin"})
    assert ml["state"] == "CO", ml
    for task in studio.tasks(project)[:5]:
        studio.annotate(task, "normal")

    def unfinished() -> list[Json]:
        return [task for task in studio.tasks(project) if not task["is_labeled"]]

    server.wait(lambda: all(task["predictions"] for task in unfinished()), "pre-annotation")
    version = server.registry.current(project)
    assert version
    assert studio.call("GET", f"/api/ml/{ml['id']}/versions")["versions"] == [version]
    for task in unfinished():
        assert [prediction["model_version"] for prediction in task["predictions"]] == [version]
        assert task["predictions_score"] == pytest.approx(task["predictions"][0]["score"])

    # Label Studio finds the same version here as the worker wrote: nothing is asked for or kept twice.
    before = {task["id"]: task["predictions"][0]["id"] for task in unfinished()}
    body = {"selectedItems": {"all": True, "excluded": []}}
    studio.call("POST", "/api/dm/actions", params={"id": "retrieve_tasks_predictions", "project": project}, json=body)
    assert {task["id"]: [item["id"] for item in task["predictions"]] for task in unfinished()} == {
        task_id: [prediction] for task_id, prediction in before.items()
    }

    # A prediction that Label Studio asks for itself is the worker's to the last digit.
    task = unfinished()[-1]
    written = task["predictions"][0]
    studio.call("DELETE", f"/api/predictions/{written['id']}/")
    studio.call("GET", f"/api/tasks/{task['id']}", params={"project": project})
    [asked] = next(item["predictions"] for item in unfinished() if item["id"] == task["id"])
    assert (asked["score"], asked["model_version"]) == (pytest.approx(written["score"]), version)

    studio.annotate(unfinished()[0], "normal")
    studio.call("POST", f"/api/ml/{ml['id']}/train")
    server.wait(lambda: server.registry.current(project) != version, "Start Training")
