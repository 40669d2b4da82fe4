"""What becomes of a project that Label Studio does not know any more, and of one whose backend was removed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.errors import StudioRefused
from backend.labels import EXAMPLE_CONFIG
from backend.leaving import find_project, is_connected
from backend.registry import Registry
from backend.services import Services, build_services
from backend.settings import Settings
from model.detector import AnomalyDetector
from tests.conftest import PROJECT, make_version
from tests.faults.label_studio import FakeLabelStudio

URL = "http://backend:9090"


class FakeStudio:
    """Label Studio with one project, while it is there."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.created_at: str | None = None
        self.urls = [URL]
        self.hooks = {1: f"{URL}/webhook", 2: "http://elsewhere/webhook"}

    def project(self, project_id: int) -> dict[str, Any]:
        if self.status:
            raise StudioRefused("no", self.status)
        return {"id": project_id} | ({"created_at": self.created_at} if self.created_at else {})

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        return [{"id": number, "url": url} for number, url in self.hooks.items()]

    def delete_webhook(self, webhook_id: int) -> None:
        del self.hooks[webhook_id]


@pytest.fixture
def studio() -> FakeStudio:
    return FakeStudio()


@pytest.fixture
def registry(tmp_path: Any) -> Registry:
    registry = Registry(str(tmp_path))
    registry.remember(PROJECT)
    return registry


def find(studio: FakeStudio, registry: Registry, days: float) -> Any:
    known = registry.remember(PROJECT)
    return find_project(studio, registry, PROJECT, known, forget_days=days)  # type: ignore[arg-type]


def keep_a_model(registry: Registry) -> None:
    registry.store.write_json({}, PROJECT, "versions", "v1", "manifest.json")


def connected(studio: FakeStudio, registry: Registry) -> bool:
    known, backends = registry.remember(PROJECT), [{"url": url} for url in studio.urls]
    return is_connected(studio, registry, PROJECT, known, backends)  # type: ignore[arg-type]


def test_a_deleted_project_is_kept_for_some_days(studio: FakeStudio, registry: Registry) -> None:
    keep_a_model(registry)
    studio.status = 404
    for _ in range(2):
        with pytest.raises(StudioRefused, match="models are kept until 2"):
            find(studio, registry, 30)
    assert registry.projects() == [PROJECT]


def test_then_all_of_it_is_deleted(studio: FakeStudio, registry: Registry) -> None:
    keep_a_model(registry)
    studio.status = 404
    registry.note(PROJECT, missing_since="2026-01-01T00:00:00+00:00")
    assert find(studio, registry, 30) is None
    assert registry.projects() == []


def test_a_project_without_models_that_label_studio_does_not_know_is_forgotten_at_once(
    studio: FakeStudio, registry: Registry
) -> None:
    studio.status = 404
    assert find(studio, registry, 30) is None
    assert registry.projects() == []


def test_projects_that_strangers_make_up_leave_nothing_behind(settings: Settings) -> None:
    label_studio = FakeLabelStudio()
    label_studio.start()
    services = build_services(
        settings.model_copy(update={"label_studio_url": label_studio.url, "debounce_seconds": 0.0})
    )
    client = TestClient(create_app(services))
    made_up = range(1000, 1010)
    for project_id in made_up:
        client.post("/setup", json={"project": f"{project_id}.1", "schema": EXAMPLE_CONFIG})
        client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": project_id}})
    assert services.registry.projects() == list(made_up)
    for project_id in made_up:
        services.jobs._sync(project_id)
    label_studio.stop()
    assert services.registry.projects() == []
    with closing(sqlite3.connect(settings.data_dir / "queue.db")) as database:
        kept = [key for table in ("kv", "counter") for (key,) in database.execute(f"select key from {table}")]
    assert [key for key in kept if ":10" in key] == []


@pytest.mark.parametrize("status", [401, 403, 500])
def test_other_refusals_delete_nothing(studio: FakeStudio, registry: Registry, status: int) -> None:
    studio.status = status
    registry.note(PROJECT, missing_since="2026-01-01T00:00:00+00:00")
    with pytest.raises(StudioRefused):
        find(studio, registry, 0)
    assert registry.projects() == [PROJECT]


def test_a_project_that_comes_back_starts_anew(studio: FakeStudio, registry: Registry) -> None:
    keep_a_model(registry)
    registry.note(PROJECT, missing_since="2026-01-01T00:00:00+00:00")
    assert find(studio, registry, 30) == {"id": PROJECT}
    studio.status = 404
    with pytest.raises(StudioRefused):
        find(studio, registry, 30)


def test_a_project_that_has_the_id_of_another_does_not_inherit_its_models(
    studio: FakeStudio, registry: Registry, detector: AnomalyDetector, caplog: pytest.LogCaptureFixture
) -> None:
    registry.save(make_version(), detector, {})
    registry.promote(PROJECT, "v1", "first")
    registry.set_alarm_rate(PROJECT, 0.2)
    connected(studio, registry)
    for same in (None, "2026-11-24T12:30:40.500000Z", "2026-11-24T12:30:40Z", "2026-11-24T13:30:40.500000+01:00"):
        studio.created_at = same
        find(studio, registry, 30)
        assert registry.current(PROJECT) == "v1"
    studio.created_at = "2026-11-25T08:00:00Z"
    find(studio, registry, 30)
    assert "another project" in caplog.text
    assert (registry.current(PROJECT), registry.versions(PROJECT), registry.rules(PROJECT)) == (None, [], [])
    assert registry.projects() == [PROJECT]
    studio.urls = []
    assert not connected(studio, registry)  # its backend is known, and was removed


def test_a_project_whose_label_studio_is_back_has_its_models_again(
    studio: FakeStudio, registry: Registry, detector: AnomalyDetector, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = "2026-11-24T12:30:40Z", "2026-11-25T08:00:00Z"
    studio.created_at = one
    find(studio, registry, 30)
    registry.save(make_version(), detector, {})
    registry.promote(PROJECT, "v1", "first")
    registry.set_alarm_rate(PROJECT, 0.2)
    studio.created_at = other
    find(studio, registry, 30)
    registry.save(make_version(name="v2"), detector, {})
    for created_at, name in ((one, "v1"), (other, "v2"), (one, "v1")):
        studio.created_at = created_at
        find(studio, registry, 30)
        assert [version.name for version in registry.versions(PROJECT)] == [name]
    assert "so are they" in caplog.text
    assert (registry.current(PROJECT), registry.alarm_rate(PROJECT)) == ("v1", 0.2)
    find(studio, registry, 0)  # what is in use is not deleted with what was set aside
    assert registry.current(PROJECT) == "v1"
    assert registry.store.names(PROJECT, "earlier") == []


def test_models_set_aside_are_kept_for_some_days(
    studio: FakeStudio, registry: Registry, detector: AnomalyDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.save(make_version(), detector, {})
    studio.created_at = "2026-11-24T12:30:40Z"
    find(studio, registry, 30)
    studio.created_at = "2026-11-25T08:00:00Z"
    for _ in range(2):
        find(studio, registry, 30)
        assert registry.store.names(PROJECT, "earlier") == ["1795523440"]
        assert registry.store.names(PROJECT, "earlier", "1795523440", "versions") == ["v1"]
    find(studio, registry, 0)
    assert registry.store.names(PROJECT, "earlier") == []
    find(studio, registry, 0)
    studio.status = 404
    assert find(studio, registry, 30) is None


def test_a_project_that_has_the_id_of_another_is_looked_at_soon(services: Services) -> None:
    services.registry.remember(7)
    client = TestClient(create_app(services))

    def open_it(created: int) -> bool:
        client.post("/setup", json={"project": f"7.{created}", "schema": EXAMPLE_CONFIG})
        return services.jobs.board.is_pending(7)

    assert not open_it(1795480240)  # which project it is was not noted yet
    services.registry.note(7, created=1795480240)
    assert not open_it(1795480240)
    assert open_it(1795480241)


def test_a_removed_backend_takes_its_own_webhook_along(studio: FakeStudio, registry: Registry) -> None:
    assert connected(studio, registry)
    assert len(studio.hooks) == 2
    studio.urls = []
    assert not connected(studio, registry)
    assert studio.hooks == {2: "http://elsewhere/webhook"}
    studio.urls = [URL]
    assert connected(studio, registry)


def test_a_backend_that_is_added_again_is_looked_at_at_once(studio: FakeStudio, services: Services) -> None:
    registry = services.registry
    registry.remember(PROJECT)

    def is_looked_at() -> bool:
        client.post("/setup", json={"project": str(PROJECT), "schema": EXAMPLE_CONFIG})
        return services.jobs.board.is_pending(PROJECT)

    client = TestClient(create_app(services))
    connected(studio, registry)
    assert not is_looked_at()  # Label Studio asks at every turn
    studio.urls = []
    assert not connected(studio, registry)
    assert not connected(studio, registry)
    studio.urls = [URL]
    assert is_looked_at()
    services.jobs.queue.storage.flush_results()
    assert connected(studio, registry)
    assert not is_looked_at()


def test_a_moved_backend_takes_only_the_old_webhook_along(studio: FakeStudio, registry: Registry) -> None:
    connected(studio, registry)
    studio.urls = ["http://new:9090"]
    studio.hooks[3] = "http://new:9090/webhook"
    assert connected(studio, registry)
    assert sorted(studio.hooks) == [2, 3]
