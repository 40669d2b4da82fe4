"""Whatever is sent to any address, the server never answers that the fault is its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.app import create_app
from backend.errors import LabelConfigUnusable
from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.services import Services, build_services
from backend.settings import Settings
from model.errors import ImageUnreadable
from model.images import read_image
from tests.conftest import PROJECT, PictureServer

PHASES = [Phase.explicit, Phase.generate]
FUZZING = hypothesis_settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)

AS_DESCRIBED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def client(services: Services, promote: Callable[..., str]) -> Iterator[TestClient]:
    promote()
    with TestClient(create_app(services), raise_server_exceptions=False) as client:
        yield client


def test_whatever_the_description_allows_or_forbids_is_answered_as_described(
    services: Services, promote: Callable[..., str]
) -> None:
    promote()
    app = create_app(services)
    description = schemathesis.openapi.from_asgi("/openapi.json", app)
    operations = list(description.get_all_operations())
    assert len(operations) >= 12
    for found in operations:
        operation = found.ok()

        @given(
            case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        )
        @FUZZING
        def answered(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=AS_DESCRIBED)

        answered()


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
def test_any_json_is_answered(path: str, client: TestClient) -> None:
    likely = st.fixed_dictionaries(
        {},
        optional={
            "project": json_values | st.sampled_from([PROJECT, str(PROJECT), {"id": PROJECT}, {"id": -1}]),
            "schema": st.just(EXAMPLE_CONFIG) | json_values,
            "label_config": st.just(EXAMPLE_CONFIG) | json_values,
            "tasks": st.lists(json_values | st.builds(_task, json_values, json_values), max_size=3),
            "action": json_values | st.just("ANNOTATION_CREATED"),
            "params": json_values,
        },
    )

    @given(likely | json_values)
    @FUZZING
    def answered(body: Any) -> None:
        answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, answer.text

    answered()


def _task(task_id: Any, image: Any) -> dict[str, Any]:
    return {"id": task_id, "data": {"image": image}, "annotations": image}


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 50_000, b"1" * 100_000, b'{"project": NaN, "tasks": [], "action": "x"}']
)
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", f"/api/projects/{PROJECT}/promote"])
def test_documents_made_to_break_parsers_are_answered(path: str, body: bytes, client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "X-Requested-By": "a test"}
    assert client.post(path, content=body, headers=headers).status_code in (400, 404)


@pytest.mark.parametrize("number", ["0", "-1", "9" * 18, "9" * 40, "9" * 400, "9" * 5000, "1e3", "%00", "..", "½", "٣"])
@pytest.mark.parametrize(
    "page",
    [
        "/api/projects/{}",
        "/api/projects/{}/evaluation",
        "/projects/{}",
        "/projects/{}/model",
        "/projects/{}/cases.csv",
        "/projects/{}/events",
        "/projects/2/pictures/{}.jpg",
        "/projects/2/plots/{}.svg",
    ],
)
def test_numbers_that_name_nothing_are_answered(page: str, number: str, client: TestClient) -> None:
    assert client.get(page.format(number)).status_code < 500


@given(name=st.text(max_size=300))
@FUZZING
def test_any_name_of_a_version_is_answered(name: str, client: TestClient) -> None:
    headers = {"X-Requested-By": "a test", "Content-Type": "application/json"}
    body = json.dumps({"version": name})
    answer = client.post(f"/api/projects/{PROJECT}/promote", content=body, headers=headers)
    assert answer.status_code in (400, 404)


def test_a_picture_that_is_gone_is_not_the_servers_fault(
    client: TestClient, services: Services, picture_server: PictureServer
) -> None:
    version = str(services.registry.current(PROJECT))
    evaluation = services.registry.evaluation(PROJECT, version) or {}
    services.registry.save_evaluation(PROJECT, version, evaluation | {"pictures": {"5": "/data/upload/gone.jpg"}})
    answer = client.get(f"/projects/{PROJECT}/pictures/5.jpg")
    assert answer.status_code == 404
    assert "does not exist" in answer.json()["error"]


@pytest.mark.parametrize("damage", [b"", b'{"a":', b"\xff\xfe"])
def test_a_damaged_evaluation_counts_as_missing(client: TestClient, services: Services, damage: bytes) -> None:
    version = str(services.registry.current(PROJECT))
    services.registry.store.write(damage, PROJECT, "versions", version, "evaluation.json")
    assert "the training comes by itself" in client.get(f"/projects/{PROJECT}").text
    assert client.get(f"/api/projects/{PROJECT}/evaluation").status_code == 404


def test_a_damaged_model_is_told_and_may_be_asked_for_again(client: TestClient, services: Services) -> None:
    version = str(services.registry.current(PROJECT))
    services.registry.store.write(b"damaged", PROJECT, "versions", version, "model.safetensors")
    answer = client.get(f"/projects/{PROJECT}/model")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "train it again" in answer.json()["error"]


def test_a_large_event_holds_nothing_else_up(services: Services, promote: Callable[..., str]) -> None:
    promote()
    facts = {"image": "/data/upload/1.jpg", "more": {"of": [1, 2, 3] * 8}}
    tasks = [{"id": number, "data": facts, "meta": {}, "extra": None} for number in range(60_000)]
    body = json.dumps({"action": "TASKS_CREATED", "tasks": tasks, "project": {"id": PROJECT, "tasks": tasks}}).encode()
    whole = _seconds(lambda: json.loads(body))

    async def held_up() -> float:
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            event = client.post("/webhook", content=body, headers={"Content-Type": "application/json"})
            answered = asyncio.ensure_future(event)
            longest = 0.0
            while not answered.done():
                before = time.perf_counter()
                await asyncio.sleep(0.001)
                longest = max(longest, time.perf_counter() - before)
            assert answered.result().json()["status"] == "queued"
        return longest

    assert asyncio.run(held_up()) < whole / 3


def _seconds(act: Callable[[], object]) -> float:
    before = time.perf_counter()
    act()
    return time.perf_counter() - before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_an_event_that_another_sites_page_could_send_is_refused(
    client: TestClient, services: Services, kind: str
) -> None:
    body = json.dumps({"action": "START_TRAINING", "project": {"id": PROJECT}})
    answer = client.post("/webhook", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "cannot be understood" in answer.json()["error"]
    assert not services.jobs.board.is_pending(PROJECT)


def test_a_request_that_is_too_large_is_refused_whatever_it_claims(settings: Settings) -> None:
    small = build_services(settings.model_copy(update={"body_max_mb": 0.001}))
    client = TestClient(create_app(small), raise_server_exceptions=False)
    body = json.dumps({"action": "x" * 2000, "project": {"id": 7}}).encode()
    headers = {"Content-Type": "application/json"}
    honest = client.post("/webhook", content=body, headers=headers)
    chunked = client.post("/webhook", content=iter([body[:500], body[500:]]), headers=headers)
    for answer in (honest, chunked):
        assert answer.status_code == 413
        assert "BODY_MAX_MB" in answer.json()["error"]
    assert client.post("/webhook", json={"action": "x", "project": {"id": 7}}).status_code == 200


tags = st.sampled_from("View Image Choices Choice RectangleLabels Label Number TextArea BrushLabels Text".split())
names = st.sampled_from(["name", "toName", "value", "alias", "max", "perRegion", "visibleWhen"])
texts = st.sampled_from(["image", "verdict", "$image", "normal", "abnormal", "true", "1e999", "nan", ""]) | st.text(
    st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8
)


@st.composite
def configs(draw: st.DrawFn, depth: int = 3) -> str:
    tag = draw(tags)
    attributes = draw(st.dictionaries(names, texts, max_size=4))
    written = "".join(f' {name}="{_escaped(text)}"' for name, text in attributes.items())
    inner = "".join(draw(st.lists(configs(depth - 1), max_size=3))) if depth else ""
    return f"<{tag}{written}>{inner}</{tag}>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


@given(configs() | st.text(max_size=200))
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_labelling_config_is_read_or_refused_in_words(xml: str) -> None:
    try:
        config = parse_config(xml)
    except LabelConfigUnusable:
        return
    assert config.normal
    assert config.abnormal


def test_configs_made_to_break_parsers_are_refused() -> None:
    for xml in (
        "<View>" * 100_000,
        "<View>" * 50_000 + "</View>" * 50_000,
        "<a " + "b='c' " * 10_000,
        "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
        "\x00",
        "\ud800",
    ):
        with pytest.raises(LabelConfigUnusable):
            parse_config(xml)


def test_any_change_to_a_picture_is_read_or_refused_in_words(normal_pictures: list[Any]) -> None:
    whole = normal_pictures[0].read_bytes()

    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=20))
    @hypothesis_settings(max_examples=100, deadline=None)
    def decoded(changes: list[tuple[int, int]]) -> None:
        damaged = bytearray(whole)
        for position, value in changes:
            damaged[position] = value
            damaged[position % 600] = value
        try:
            picture = read_image(bytes(damaged), enough=64, max_pixels=10_000_000)
        except ImageUnreadable:
            return
        assert picture.image.mode == "RGB"

    decoded()


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"RIFF\x00\x00\x00\x00WEBP", b"P6 "]),
    st.binary(max_size=200),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_bytes_of_any_kind_are_read_or_refused_in_words(magic: bytes, rest: bytes) -> None:
    try:
        read_image(magic + rest, max_pixels=1_000_000)
    except ImageUnreadable:
        return
