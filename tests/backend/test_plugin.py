"""The class for label-studio-ml's own server, under its PyPI release and in version 2's calling style."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.labels import EXAMPLE_CONFIG
from backend.services import Services
from backend.settings import Settings
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


def test_its_servers_log_holds_no_signature_of_a_picture(
    settings: Settings, picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = importlib.import_module("backend.plugin")
    monkeypatch.setattr(module, "load_settings", lambda: settings)
    module.shared_services.cache_clear()
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    uri = f"{picture_server.url}/a.jpg?X-Amz-Signature=hidden"
    picture_server.contents["/a.jpg?X-Amz-Signature=hidden"] = b"picture"
    assert module.shared_services().pictures.fetch(uri, 1) == b"picture"
    assert "hidden" not in caplog.text
    module.shared_services.cache_clear()


def test_its_events_queue_a_job(plugin: Any, services: Services) -> None:
    model = plugin.AnomalyModel(label_config=EXAMPLE_CONFIG, train_output={})
    outcome = model.fit((), event="ANNOTATION_CREATED", data={"project": {"id": 9}}, job_id="1")
    assert isinstance(outcome, dict)
    assert services.jobs.board.is_pending(9)


def test_events_of_no_project_do_no_harm(plugin: Any, services: Services) -> None:
    plugin.AnomalyModel(label_config=EXAMPLE_CONFIG, train_output={}).fit((), event="PROJECT_UPDATED", data={})
    assert services.registry.projects() == []


def test_the_pypi_releases_own_server_names_the_versions(plugin: Any, promote: Callable[..., str]) -> None:
    """Label Studio asks with GET; of itself that server answers 405."""
    from label_studio_ml.api import _server

    version = promote()
    assert _server.test_client().get("/versions").get_json() == {"versions": [version]}


@pytest.fixture
def plugin_of_version_2(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin on a base class with version 2's constructor and properties."""

    class LabelStudioMLBase:
        def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
            self.project_id = project_id or ""
            self.label_config = label_config
            self.kept = {"model_version": "0.0.1"}
            self.setup()

        def setup(self) -> None:
            raise NotImplementedError

        def set(self, key: str, value: str) -> None:
            self.kept[key] = value

    package, model = types.ModuleType("label_studio_ml"), types.ModuleType("label_studio_ml.model")
    model.LabelStudioMLBase = LabelStudioMLBase  # type: ignore[attr-defined]
    package.model = model  # type: ignore[attr-defined]
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
    assert model.kept["model_version"] == version
    results = model.predict([task], context=None)
    assert json.loads(json.dumps(results))[0]["model_version"] == version
    model.fit("START_TRAINING", {"project": {"id": PROJECT}})
    assert services.jobs.board.is_pending(PROJECT)


@pytest.fixture
def client(plugin: Any, tmp_path: Path) -> Any:
    """label-studio-ml's own server with the plugin, as `_wsgi.py` makes it."""
    from label_studio_ml.api import init_app

    return init_app(model_class=plugin.AnomalyModel, model_dir=str(tmp_path / "jobs")).test_client()


def set_up(client: Any, project: int = PROJECT, schema: str = EXAMPLE_CONFIG) -> Any:
    body = {"project": f"{project}.1795480240", "schema": schema, "hostname": "", "access_token": ""}
    return client.post("/setup", json=body)


def test_label_studio_mls_own_server_serves_it(client: Any, task: dict[str, Any], promote: Callable[..., str]) -> None:
    version = promote()
    assert client.get("/health").get_json()["status"] == "UP"
    assert set_up(client).get_json() == {"model_version": version}
    body = {"tasks": [task], "project": f"{PROJECT}.1795480240", "label_config": EXAMPLE_CONFIG, "params": {}}
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.data
    assert [result["model_version"] for result in answer.get_json()["results"]] == [version]


def test_each_project_has_its_own_version_and_labelling_config(
    client: Any, task: dict[str, Any], promote: Callable[..., str]
) -> None:
    version = promote()
    set_up(client)
    german = EXAMPLE_CONFIG.replace('name="verdict"', 'name="urteil"')
    assert german != EXAMPLE_CONFIG
    assert set_up(client, project=9, schema=german).get_json() == {"model_version": "untrained"}
    body = {"tasks": [task], "project": f"{PROJECT}.1795480240", "label_config": EXAMPLE_CONFIG, "params": {}}
    [result] = client.post("/predict", json=body).get_json()["results"]
    assert result["model_version"] == version
    assert result["result"][0]["from_name"] == "verdict"


@pytest.mark.parametrize("event", ["ANNOTATIONS_CREATED", "TASKS_CREATED", "START_TRAINING"])
def test_every_event_queues_a_job_and_changes_no_version(
    client: Any, event: str, promote: Callable[..., str], services: Services
) -> None:
    version = promote()
    answer = client.post("/webhook", json={"action": event, "project": {"id": PROJECT}})
    assert answer.status_code == 201
    assert services.jobs.board.is_pending(PROJECT)
    assert set_up(client).get_json() == {"model_version": version}


def test_a_config_that_does_not_fit_cannot_connect(client: Any, services: Services) -> None:
    answer = set_up(client, schema='<View><Text name="t" value="$t"/></View>')
    assert answer.status_code == 500
    assert "Choices" in answer.get_json()["detail"]
    assert services.registry.projects() == []


def test_a_request_without_a_project_makes_none(client: Any, services: Services, task: dict[str, Any]) -> None:
    set_up(client)
    del task["project"]
    [result] = client.post("/predict", json={"tasks": [task], "label_config": EXAMPLE_CONFIG}).get_json()["results"]
    assert result["result"] == []
    assert services.registry.projects() == [PROJECT]
