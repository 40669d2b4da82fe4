"""The interface for machines: state, actions, numbers for Prometheus, and who may do what."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from backend.app import create_app
from backend.labels import EXAMPLE_CONFIG
from backend.services import Services
from model import artifact
from tests.conftest import PROJECT, PictureServer

ROOT = Path(__file__).parent.parent.parent
FURTHER = ("/metrics", "/predict", "/webhook", "/projects/{project_id}/cases.csv", "/api/projects/{project_id}/compare")
MEANT = {"X-Requested-By": "a test"}


@pytest.fixture
def client(services: Services, promote: Callable[..., str]) -> TestClient:
    promote()
    return TestClient(create_app(services))


def test_a_rate_is_chosen_and_given_back(client: TestClient, services: Services) -> None:
    assert client.get(f"/api/projects/{PROJECT}/rule").json() == {"alarm_rate": None, "history": []}
    answer = client.put(f"/api/projects/{PROJECT}/rule", json={"alarm_rate": 0.02}, headers=MEANT)
    assert answer.status_code == 200
    assert answer.json()["pending"]
    assert services.registry.alarm_rate(PROJECT) == 0.02
    client.put(f"/api/projects/{PROJECT}/rule", json={"alarm_rate": None}, headers=MEANT)
    assert services.registry.alarm_rate(PROJECT) is None
    assert [rule["alarm_rate"] for rule in services.registry.rules(PROJECT)] == [0.02, None]


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, "much", [], {}])
def test_a_rate_that_makes_no_sense_is_refused(client: TestClient, services: Services, rate: object) -> None:
    answer = client.put(f"/api/projects/{PROJECT}/rule", json={"alarm_rate": rate}, headers=MEANT)
    assert answer.status_code == 400
    assert "alarm_rate" in answer.json()["error"]
    assert services.registry.alarm_rate(PROJECT) is None


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [("PUT", "rule", {"alarm_rate": 0.1}), ("POST", "promote", {"version": "v1"}), ("POST", "train", {})],
)
def test_another_site_cannot_change_anything(client: TestClient, method: str, action: str, body: object) -> None:
    answer = client.request(method, f"/api/projects/{PROJECT}/{action}", json=body)
    assert answer.status_code == 403
    assert "WWW-Authenticate" not in answer.headers  # no browser is to ask for a password that would not help
    assert "X-Requested-By" in answer.json()["error"]


def test_versions_and_who_put_them_in_charge(client: TestClient, promote: Callable[..., str]) -> None:
    promote(name="newer")
    body = {"version": "normal-10-fixture"}
    assert client.post(f"/api/projects/{PROJECT}/promote", json=body, headers=MEANT).status_code == 200
    found = client.get(f"/api/projects/{PROJECT}/versions").json()
    assert found["in_charge"] == "normal-10-fixture"
    assert {version["name"] for version in found["versions"]} == {"newer", "normal-10-fixture"}
    assert found["promotions"][-1]["reason"] == "put in charge by hand"


def test_a_version_that_cannot_be_read_is_not_put_in_charge(
    client: TestClient, services: Services, promote: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "FORMAT", min(artifact.READABLE) - 1)
        old = promote(name="old")
    new = promote(name="new")
    answer = client.post(f"/api/projects/{PROJECT}/promote", json={"version": old}, headers=MEANT)
    assert answer.status_code == 400
    assert "earlier release" in answer.json()["error"]
    assert services.registry.current(PROJECT) == new
    assert not services.registry.is_passed_over(PROJECT, new)


def test_everything_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    for path in ("/api/projects", "/api/projects/{project_id}/rule", *FURTHER):
        assert path in described, path
    answers = [
        action["responses"]["200"]["content"]["application/json"]["schema"]
        for path, actions in described.items()
        for action in actions.values()
        if path.startswith(("/api/", "/setup", "/predict", "/versions", "/webhook", "/health"))
    ]
    assert len(answers) >= 14
    assert all(schema.get("$ref") for schema in answers), answers
    assert client.get("/docs").status_code == 404


def test_prometheus_reads_what_happened(
    client: TestClient, services: Services, picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    picture_server.contents["/data/upload/5.jpg"] = normal_pictures[12].read_bytes()
    tasks = [{"id": number, "data": {"image": f"/data/upload/{number}.jpg"}} for number in (5, 6)]
    client.post("/predict", json={"tasks": tasks, "project": PROJECT, "label_config": EXAMPLE_CONFIG})
    client.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}})
    services.jobs.board.post(PROJECT, normals=12, last_training={"finished_at": "2026-01-01T00:00:00+00:00"})
    client.post("/webhook", json={"action": "anything\n at all", "project": {"id": PROJECT}})
    lines = client.get("/metrics").text.splitlines()
    project = f'project="{PROJECT}"'
    assert f'anomaly_predictions_total{{{project},verdict="normal"}} 1.0' in lines
    assert f'anomaly_failures_total{{kind="picture",{project}}} 1.0' in lines
    assert "anomaly_predict_seconds_count 1.0" in lines
    assert 'anomaly_webhooks_total{action="ANNOTATION_CREATED"} 1.0' in lines
    assert 'anomaly_webhooks_total{action="other"} 1.0' in lines
    assert "anomaly_queue_up 1.0" in lines
    assert "anomaly_queue_jobs 1.0" in lines
    assert f"anomaly_model_normals{{{project}}} 10.0" in lines
    assert f'anomaly_confirmed{{{project},verdict="normal"}} 12.0' in lines
    assert f"anomaly_unusable_pictures{{{project}}} 1.0" in lines
    assert f"anomaly_last_training_timestamp_seconds{{{project}}} 1.7672256e+09" in lines


def test_a_queue_that_answers_and_takes_nothing_is_told_while_that_is_so(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = {"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}}

    def told() -> tuple[int, str, bool]:
        webhook = client.post("/webhook", json=event).status_code
        up = "anomaly_queue_up 1.0" in client.get("/metrics").text
        return webhook, client.get(f"/api/projects/{PROJECT}").json()["state"], up

    def full(*content: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(services.jobs.queue, "put", full)
        assert told() == (503, "error", False)
        message = client.get(f"/api/projects/{PROJECT}").json()["message"]
        assert message == "the job queue takes nothing: make room, or change DATA_DIR or its permissions"
    assert client.get(f"/api/projects/{PROJECT}").json()["state"] == "ready"
    assert told() == (200, "ready", True)


def test_versions_are_counted_without_reading_them(
    client: TestClient, services: Services, promote: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(name="newer")
    read: list[tuple[str, ...]] = []
    really = services.registry.store.read
    monkeypatch.setattr(services.registry.store, "read", lambda *path: read.append(path[1:]) or really(*path))
    lines = client.get("/metrics").text.splitlines()
    assert f'anomaly_versions{{project="{PROJECT}"}} 2.0' in lines
    assert {path[1] for path in read if path[0] == "versions"} == {"newer"}


def test_every_number_that_the_docs_name_is_there(client: TestClient) -> None:
    named = set(re.findall(r"`(anomaly_\w+)`", (ROOT / "docs" / "operating.md").read_text()))
    described = set(re.findall(r"^# TYPE (anomaly_\w+) ", client.get("/metrics").text, re.MULTILINE))
    assert named == {name for name in described if not name.endswith("_created")}


def test_a_viewer_looks_and_changes_nothing(services: Services, promote: Callable[..., str]) -> None:
    promote()
    guarded = services.settings.model_copy(
        update={
            "basic_auth_user": "boss",
            "basic_auth_pass": SecretStr("b"),
            "viewer_user": "guest",
            "viewer_pass": SecretStr("g"),
        }
    )
    app = create_app(replace(services, settings=guarded))
    guest, boss = TestClient(app, headers=MEANT), TestClient(app, headers=MEANT)
    guest.auth, boss.auth = ("guest", "g"), ("boss", "b")
    page = f"/projects/{PROJECT}"
    assert guest.get(f"/api/projects/{PROJECT}").status_code == 200
    assert "<button" not in guest.get(page).text
    assert "<button" in boss.get(page).text
    for path, body in (("rule", {"alarm_rate": 0.1}), ("promote", {"version": "normal-10-fixture"})):
        method = "PUT" if path == "rule" else "POST"
        assert guest.request(method, f"/api/projects/{PROJECT}/{path}", json=body).status_code == 403
        assert boss.request(method, f"/api/projects/{PROJECT}/{path}", json=body).status_code == 200
    assert services.registry.rules(PROJECT)[-1]["by"] == "boss"
    assert TestClient(app, headers=MEANT).get(page).status_code == 401
    guest.auth = ("guest", "b")
    assert guest.get(page).status_code == 401
