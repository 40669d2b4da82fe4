"""Label Studio's real requests, and what must hold however they come."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from backend.app import WEBHOOK_SECONDS, create_app
from backend.errors import StudioRefused, StudioUnreachable
from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.naming import UNTRAINED
from backend.predicting import MOST_WAITING
from backend.server import CONFIG_HINT
from backend.services import Services, build_services
from backend.settings import WEBHOOK_HEADER, load_settings
from model.errors import ArtifactInvalid
from tests.conftest import LABEL_STUDIO_WAITS, PERSONAL_TOKEN, PROJECT, PictureServer

REQUESTS = [
    json.loads(line) for line in (Path(__file__).parent / "label_studio_requests.jsonl").read_text().splitlines()
]
PREDICTS = [request for request in REQUESTS if request["path"] == "/predict"]


@pytest.fixture
def client(services: Services) -> TestClient:
    return TestClient(create_app(services), raise_server_exceptions=False)


@pytest.fixture
def photographed(picture_server: PictureServer, normal_pictures: list[Path]) -> None:
    """Every picture that the recorded requests name exists."""
    for request in PREDICTS:
        for task in request["request"]["tasks"]:
            picture_server.contents[task["data"]["image"]] = normal_pictures[0].read_bytes()


def test_a_bucket_that_is_away_is_told_and_never_the_fault_of_the_request(
    services: Services, unreachable_bucket: str
) -> None:
    settings = services.settings.model_copy(update={"model_dir": unreachable_bucket})
    client = TestClient(create_app(build_services(settings)), raise_server_exceptions=False)
    assert client.get("/health").status_code == 200
    answer = client.post("/setup", json={"project": f"{PROJECT}.1", "schema": EXAMPLE_CONFIG})
    assert answer.status_code == 503
    assert "check MODEL_DIR" in answer.json()["error"]


def test_a_bucket_that_only_may_be_read_is_told(services: Services, read_only_bucket: str) -> None:
    settings = services.settings.model_copy(update={"model_dir": read_only_bucket})
    client = TestClient(create_app(build_services(settings)), raise_server_exceptions=False)
    answer = client.post("/setup", json={"project": f"{PROJECT}.1", "schema": EXAMPLE_CONFIG})
    assert answer.status_code == 503
    assert "Access Denied" in answer.json()["error"]
    assert "right to write" in answer.json()["error"]


def _id(request: dict[str, Any]) -> str:
    action = (request["request"] or {}).get("action") or ""
    return f"{request['label']} {request['method']} {request['path']} {action}".strip()


@pytest.mark.parametrize("request_", REQUESTS, ids=_id)
@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
def test_every_recorded_request_is_answered_as_label_studio_expects(
    request_: dict[str, Any],
    trained: bool,
    client: TestClient,
    promote: Callable[..., str],
    photographed: None,
) -> None:
    version = promote() if trained else UNTRAINED
    headers = {"Authorization": request_["authorization"]} if request_["authorization"] else {}
    answer = client.request(request_["method"], request_["path"], json=request_["request"], headers=headers)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if request_["path"] == "/health":
        assert body["status"] == "UP"
    elif request_["path"] == "/setup" and request_["request"]["project"].startswith(f"{PROJECT}."):
        assert body == {"model_version": version}
    elif request_["path"] == "/versions":
        assert body == {"versions": [version] if trained else []}
    elif request_["path"] == "/predict":
        _check_results(body["results"], request_["request"], version, trained)


def _check_results(results: list[dict[str, Any]], request: dict[str, Any], version: str, trained: bool) -> None:
    assert len(results) == len(request["tasks"])
    assert {result["model_version"] for result in results} == {version}
    for task, result in zip(request["tasks"], results, strict=True):
        reachable = trained and task["data"]["image"].startswith("/data/")
        assert bool(result["result"]) == reachable
        assert (result["score"] is not None) == reachable


def test_opening_a_project_for_the_first_time_asks_for_its_labels(client: TestClient, services: Services) -> None:
    answer = client.post("/setup", json={"project": "7.1795480240", "schema": EXAMPLE_CONFIG})
    assert answer.json() == {"model_version": UNTRAINED}
    assert services.registry.projects() == [7]
    assert services.jobs.board.is_pending(7)
    assert client.get("/api/projects/7").json()["normals_needed"] == 5


def test_a_project_that_has_the_id_of_another_gets_none_of_its_verdicts(
    client: TestClient, services: Services, promote: Callable[..., str], photographed: None
) -> None:
    version = promote()
    services.registry.note(PROJECT, created=1795480240)

    def told(created: int) -> tuple[str, str, bool]:
        project = {"project": f"{PROJECT}.{created}"}
        version = client.post("/setup", json=project | {"schema": EXAMPLE_CONFIG}).json()["model_version"]
        result = client.post("/predict", json=PREDICTS[0]["request"] | project).json()["results"][0]
        return version, result["model_version"], bool(result["result"])

    assert told(1795480240) == (version, version, True)
    assert told(1795480241) == (UNTRAINED, UNTRAINED, False)


def test_a_config_that_does_not_fit_is_refused_with_one_that_does(client: TestClient) -> None:
    answer = client.post("/setup", json={"project": "7", "schema": "<View><Text name='t' value='$t'/></View>"})
    assert answer.status_code == 422
    assert EXAMPLE_CONFIG in answer.json()["error"]


def test_what_label_studio_shows_of_the_refusal_begins_with_what_to_do() -> None:
    advice, _, config = CONFIG_HINT.partition("<View>")
    assert "set NORMAL_LABELS and ABNORMAL_LABELS to the names you use" in advice
    assert "no Taxonomy, no perRegion" in advice
    assert parse_config(f"<View>{config}")


def test_predictions_for_a_config_that_does_not_fit_are_empty_and_say_why(client: TestClient) -> None:
    body = {"project": "7", "label_config": "<View/>", "tasks": [{"id": 1, "data": {}}, {"id": 2, "data": {}}]}
    results = client.post("/predict", json=body).json()["results"]
    assert [result["result"] for result in results] == [[], []]
    assert "no Image tag" in results[0]["error"]


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("body", [b"", b"{", b"[1, 2]", b'"text"', b"null", b"{}", b"\xff\xfe", b'{"tasks": 7}'])
def test_malformed_requests_get_one_clear_answer(path: str, body: bytes, client: TestClient) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "cannot be understood" in answer.json()["error"]
    assert "Input should" not in answer.json()["error"]
    assert "Field required" not in answer.json()["error"]
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("project", ["../../etc", "", "-1", "1e9", "9" * 30, {}, [], "٣x"])
def test_a_project_is_a_number(project: object, client: TestClient, services: Services) -> None:
    answer = client.post("/setup", json={"project": project, "schema": EXAMPLE_CONFIG})
    assert answer.status_code in (400, 404)
    assert "project" in answer.json()["error"]
    assert services.registry.projects() == []


@pytest.mark.parametrize("page", ["", "/evaluation", "/versions", "/rule"])
def test_an_unknown_project_is_named(page: str, client: TestClient) -> None:
    answer = client.get(f"/api/projects/99{page}")
    assert answer.status_code == 404
    assert "project 99 is not connected" in answer.json()["error"]


def test_tasks_of_any_shape_get_one_result_each(
    client: TestClient, promote: Callable[..., str], picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    promote()
    picture_server.contents["/data/upload/1/a.jpg"] = normal_pictures[0].read_bytes()
    good = {"id": 5, "data": {"image": "/data/upload/1/a.jpg"}}
    tasks = [good, {}, {"id": 1}, {"id": 2, "data": None}, {"id": 3, "data": {"text": "x"}}, 7, None, "task", good]
    body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
    results = client.post("/predict", json=body).json()["results"]
    assert [bool(result["result"]) for result in results] == [True] + [False] * 7 + [True]
    assert all("no picture under '$image'" in result["error"] for result in results[1:-1])
    problems = client.get(f"/api/projects/{PROJECT}").json()["problems"]
    assert [problem["task_id"] for problem in problems] == [1, 2, 3]  # the others have no number


def test_out_of_time_the_rest_is_left_to_a_background_job(
    settings: Any, picture_server: PictureServer, promote: Callable[..., str], normal_pictures: list[Path]
) -> None:
    promote()
    hurried = build_services(settings.model_copy(update={"predict_seconds": 1e-9}))
    client = TestClient(create_app(hurried))
    tasks = [{"id": number, "data": {"image": f"/data/upload/{number}.jpg"}} for number in range(3)]
    body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
    results = client.post("/predict", json=body).json()["results"]
    assert len(results) == 3
    assert all("out of time" in result["error"] for result in results)
    assert hurried.jobs.board.is_pending(PROJECT)


def test_pictures_that_hang_do_not_hold_the_answer_up(
    settings: Any, picture_server: PictureServer, promote: Callable[..., str], normal_pictures: list[Path]
) -> None:
    promote()
    parts = build_services(settings.model_copy(update={"predict_seconds": 2.0, "media_timeout": 10.0}))
    tasks = [{"id": number, "data": {"image": f"/data/upload/{number}.jpg"}} for number in range(20)]
    body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
    client = TestClient(create_app(parts))
    picture_server.contents["/data/upload/0.jpg"] = normal_pictures[0].read_bytes()
    client.post("/predict", json=body | {"tasks": tasks[:1]})  # loads the model and the network
    picture_server.delays |= {f"/data/upload/{number}.jpg": 15.0 for number in range(1, 20)}
    asked_at = time.monotonic()
    results = client.post("/predict", json=body).json()["results"]
    assert time.monotonic() - asked_at < 5
    assert [bool(result["result"]) for result in results] == [True] + [False] * 19
    assert all("out of time" in result["error"] for result in results[1:])
    assert parts.jobs.board.is_pending(PROJECT)
    assert parts.jobs.board.problems(PROJECT) == []


@pytest.mark.parametrize("status", [401, 503])
def test_a_token_that_cannot_be_exchanged_costs_the_pictures_and_not_the_answer(
    status: int, settings: Any, picture_server: PictureServer, promote: Callable[..., str], normal_pictures: list[Path]
) -> None:
    promote()
    picture_server.statuses["/api/token/refresh"] = status
    picture_server.contents["/open/2.jpg"] = normal_pictures[0].read_bytes()
    parts = build_services(settings.model_copy(update={"label_studio_api_key": SecretStr(PERSONAL_TOKEN)}))
    tasks = [{"id": 1, "data": {"image": "/data/upload/1.jpg"}}, {"id": 2, "data": {"image": "/open/2.jpg"}}]
    body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
    answer = TestClient(create_app(parts)).post("/predict", json=body)
    assert answer.status_code == 200
    assert [bool(result["result"]) for result in answer.json()["results"]] == [False, True]
    assert "/api/token/refresh" in answer.json()["results"][0]["error"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (StudioUnreachable("Label Studio does not answer"), 503),
        (StudioRefused("Label Studio answered 500", 500), 502),
        (ArtifactInvalid("the model is damaged"), 503),
    ],
)
def test_a_fault_elsewhere_is_not_called_the_servers_own(
    fault: Exception, status: int, client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*asked: object) -> str:
        raise fault

    monkeypatch.setattr(services.predictor, "connect", fail)
    answer = client.post("/setup", json={"project": "7", "schema": EXAMPLE_CONFIG})
    assert (answer.status_code, answer.json()["error"]) == (status, str(fault))


def test_events_of_no_project_are_ignored(client: TestClient, services: Services) -> None:
    assert client.post("/webhook", json={"action": "PROJECT_UPDATED"}).json()["status"] == "ignored"
    assert services.registry.projects() == []


def test_a_webhook_needs_its_secret_once_there_is_one(settings: Any) -> None:
    guarded = load_settings(**_values(settings), webhook_secret="s3cret")
    client = TestClient(create_app(build_services(guarded)))
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 2}}
    assert client.post("/webhook", json=event).status_code == 401
    assert client.post("/webhook", content=b"{").status_code == 401  # what strangers send is not even read
    assert client.post("/webhook", json=event, headers={WEBHOOK_HEADER: "wrong"}).status_code == 401
    assert client.post("/webhook", json=event, headers={WEBHOOK_HEADER: "s3cret"}).status_code == 200


def test_the_protocol_asks_for_the_password(settings: Any) -> None:
    guarded = load_settings(**_values(settings), basic_auth_user="u", basic_auth_pass="p")
    client = TestClient(create_app(build_services(guarded)))
    setup = {"project": "7", "schema": EXAMPLE_CONFIG}
    assert client.get("/health").status_code == 200
    refused = client.post("/setup", json=setup)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert client.post("/setup", json=setup, auth=("u", "wrong")).status_code == 401
    assert client.post("/setup", json=setup, auth=("u", "p")).status_code == 200


def test_it_starts_and_answers_while_nothing_else_can_be_reached(settings: Any) -> None:
    values = _values(settings) | {"queue_url": "redis://127.0.0.1:1/0", "LABEL_STUDIO_URL": "http://127.0.0.1:1"}
    client = TestClient(create_app(build_services(load_settings(**values))))
    assert client.get("/health").status_code == 200
    assert client.post("/setup", json={"project": "7", "schema": EXAMPLE_CONFIG}).status_code == 200
    status = client.get("/api/projects/7").json()
    assert status["state"] == "error"
    assert "queue cannot be reached" in status["message"]
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 7}}
    assert client.post("/webhook", json=event).status_code == 503


def test_label_studio_never_waits_for_a_queue_that_hangs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.app.WEBHOOK_SECONDS", WEBHOOK_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        values = _values(settings) | {"queue_url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"}
        client = TestClient(create_app(build_services(load_settings(**values))))
        asked_at = time.monotonic()
        answer = client.post("/webhook", json={"action": "ANNOTATION_CREATED", "project": {"id": 7}})
        assert time.monotonic() - asked_at < LABEL_STUDIO_WAITS
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "queue did not answer" in answer.json()["error"]


def test_pictures_of_the_report_that_hang_hold_nothing_else_up(
    services: Services, promote: Callable[..., str], picture_server: PictureServer
) -> None:
    version = promote()
    pictures = {str(number): f"/data/upload/{number}.jpg" for number in range(1, 61)}
    evaluation = services.registry.evaluation(PROJECT, version) or {}
    services.registry.save_evaluation(PROJECT, version, evaluation | {"pictures": pictures})
    picture_server.delays |= dict.fromkeys(pictures.values(), 4.0)
    with TestClient(create_app(services)) as client, ThreadPoolExecutor(len(pictures)) as pool:
        waiting = [pool.submit(client.get, f"/projects/{PROJECT}/pictures/{number}.jpg") for number in pictures]
        while not picture_server.asked:
            time.sleep(0.01)
        time.sleep(0.5)
        asked_at = time.monotonic()
        assert client.post("/setup", json={"project": str(PROJECT), "schema": EXAMPLE_CONFIG}).status_code == 200
        event = {"action": "ANNOTATION_CREATED", "project": {"id": PROJECT}}
        assert client.post("/webhook", json=event).status_code == 200
        assert client.post("/setup", json={"project": "x", "schema": EXAMPLE_CONFIG}).status_code == 404
        assert time.monotonic() - asked_at < 2
        picture_server.delays.clear()
        assert {answer.result().status_code for answer in waiting} == {404}


def _values(settings: Any) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in ("model_dir", "data_dir", "cache_dir", "debounce_seconds")}
    return values | {"LABEL_STUDIO_URL": settings.label_studio_url}


def test_too_many_at_once_are_sent_away_and_served_later(
    client: TestClient,
    services: Services,
    promote: Callable[..., str],
    picture_server: PictureServer,
    normal_pictures: list[Path],
) -> None:
    promote()
    picture_server.contents["/slow.jpg"] = normal_pictures[0].read_bytes()
    picture_server.delays["/slow.jpg"] = 2.0
    task = {"id": 1, "data": {"image": "/slow.jpg"}}
    body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": [task]}
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/predict", json=body).status_code))
        for _ in range(MOST_WAITING)
    ]
    for thread in threads:
        thread.start()
    while services.predictor._places._value:
        time.sleep(0.01)
    refused = client.post("/predict", json=body)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "requests wait already" in refused.json()["error"]
    assert services.jobs.board.is_pending(PROJECT)
    assert client.get("/health").is_success
    picture_server.delays.clear()
    for thread in threads:
        thread.join()
    assert answers == [200] * MOST_WAITING
