"""The class for label-studio-ml's own server, under its PyPI release and in version 2's calling style."""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.labels import EXAMPLE_CONFIG
from backend.services import Services
from tests.conftest import PROJECT, PictureServer


@pytest.fixture
def plugin(services: Services, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = importlib.import_module("backend.plugin")
    monkeypatch.setattr(module, "shared_services", lambda: services)
    return module


@pytest.fixture
def task(picture_server: PictureServer, normal_pictures: list[Path]) -> dict[str, Any]:
    picture_server.contents["/data/upload/1.jpg"] = normal_pictures[0].read_bytes()
    return {"id": 1, "project": PROJECT, "data": {"image": "/data/upload/1.jpg"}}


def test_it_predicts_under_the_pypi_release(
    plugin: Any, task: dict[str, Any], promote: Callable[..., str], services: Services
) -> None:
    version = promote()
    model = plugin.AnomalyModel(label_config=EXAMPLE_CONFIG, train_output={})
    results = model.predict([task, {"id": 2, "project": PROJECT, "data": {}}])
    assert [bool(result["result"]) for result in results] == [True, False]
    assert {result["model_version"] for result in results} == {version}


def test_its_events_queue_a_job(plugin: Any, services: Services) -> None:
    model = plugin.AnomalyModel(label_config=EXAMPLE_CONFIG, train_output={})
    outcome = model.fit((), event="ANNOTATION_CREATED", data={"project": {"id": 9}}, job_id="1")
    assert isinstance(outcome, dict)
    assert services.jobs.board.is_pending(9)


def test_events_of_no_project_do_no_harm(plugin: Any, services: Services) -> None:
    plugin.AnomalyModel(label_config=EXAMPLE_CONFIG, train_output={}).fit((), event="PROJECT_UPDATED", data={})
    assert services.registry.projects() == []


@pytest.fixture
def plugin_of_version_2(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin on a base class with version 2's constructor and properties."""

    class LabelStudioMLBase:
        def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
            self.project_id = project_id
            self.label_config = label_config

    package, model = types.ModuleType("label_studio_ml"), types.ModuleType("label_studio_ml.model")
    model.LabelStudioMLBase = LabelStudioMLBase  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "label_studio_ml", package)
    monkeypatch.setitem(sys.modules, "label_studio_ml.model", model)
    monkeypatch.delitem(sys.modules, "backend.plugin", raising=False)
    module = importlib.import_module("backend.plugin")
    monkeypatch.setattr(module, "shared_services", lambda: services)
    yield module
    sys.modules.pop("backend.plugin", None)


def test_version_2_calls_it_its_own_way(
    plugin_of_version_2: Any, task: dict[str, Any], promote: Callable[..., str], services: Services
) -> None:
    version = promote()
    model = plugin_of_version_2.AnomalyModel(project_id=str(PROJECT), label_config=EXAMPLE_CONFIG)
    results = model.predict([task], context=None)
    assert json.loads(json.dumps(results))[0]["model_version"] == version
    model.fit("START_TRAINING", {"project": {"id": PROJECT}})
    assert services.jobs.board.is_pending(PROJECT)


def test_label_studio_mls_own_server_serves_it(
    plugin: Any, task: dict[str, Any], promote: Callable[..., str], tmp_path: Path
) -> None:
    from label_studio_ml.api import init_app

    version = promote()
    app = init_app(model_class=plugin.AnomalyModel, model_dir=str(tmp_path / "jobs"))
    client = app.test_client()
    assert client.get("/health").get_json()["status"] == "UP"
    setup = {"project": f"{PROJECT}.1795480240", "schema": EXAMPLE_CONFIG, "hostname": "", "access_token": ""}
    assert client.post("/setup", json=setup).status_code == 200
    body = {"tasks": [task], "project": f"{PROJECT}.1795480240", "label_config": EXAMPLE_CONFIG, "params": {}}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.data
    assert [result["model_version"] for result in answer.get_json()["results"]] == [version]
