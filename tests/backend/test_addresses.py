"""What is saved and told of pictures' addresses: no password, no signature, and no picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from backend.addresses import is_stand_in, saved, unsigned
from backend.app import create_app
from backend.dataset import Dataset, Dispute
from backend.drift import newest_predictions
from backend.labels import EXAMPLE_CONFIG, parse_config
from backend.review import held_out_cases, report
from backend.services import Services, build_services
from backend.settings import Settings
from backend.suggesting import doubtful
from model.detector import AnomalyDetector
from model.prediction import Verdict
from model.splits import Split
from tests.backend.stories import drawn_case, labelled_image
from tests.conftest import PROJECT, make_version
from tests.faults.label_studio import FakeLabelStudio

CONFIG = parse_config(EXAMPLE_CONFIG)
SIGNED = "https://me:word@bucket.example/{}.jpg?X-Amz-Signature=hidden"
SECRETS = ("me:word", "Signature", "base64")
NORMAL = [{"from_name": "verdict", "type": "choices", "value": {"choices": ["normal"]}}]
VERSION = "normal-10-00000000"


def inline(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


@pytest.fixture
def told(services: Services, detector: AnomalyDetector, normal_pictures: list[Path]) -> TestClient:
    """A project with every kind of row, of pictures with signed addresses and of pictures that are in their tasks."""
    uris = {1: SIGNED.format(1), 2: inline(normal_pictures[0])}
    images = [replace(labelled_image(n, Verdict.NORMAL, Split.TEST), uri=uri) for n, uri in uris.items()]
    disputes = tuple(Dispute(n + 10, uri, 1, 1) for n, uri in uris.items())
    prediction = {"model_version": VERSION, "score": 0.4, "result": NORMAL}
    tasks = [{"id": n + 20, "data": {"image": uri}, "predictions": [prediction]} for n, uri in uris.items()]
    cases = [drawn_case(image, detector, detector.calibration.threshold) for image in images]
    evaluation = report(PROJECT, VERSION, detector, Dataset(tuple(images), disputes, ()), cases)
    evaluation |= {"newest": newest_predictions(tasks, CONFIG, VERSION)}
    services.registry.remember(PROJECT)
    services.registry.save(make_version(name=VERSION), detector, evaluation)
    services.registry.promote(PROJECT, VERSION, "a test wants it")
    services.jobs.board.post(PROJECT, suggested=doubtful(tasks, CONFIG, VERSION))
    return TestClient(create_app(services))


@pytest.mark.parametrize(
    "page",
    [
        "/api/projects",
        f"/api/projects/{PROJECT}",
        f"/api/projects/{PROJECT}/evaluation",
        f"/projects/{PROJECT}",
        f"/projects/{PROJECT}/events",
        f"/projects/{PROJECT}/cases.csv",
    ],
)
def test_nothing_tells_more_of_an_address_than_people_need(page: str, told: TestClient) -> None:
    answer = told.get(page)
    assert answer.status_code == 200
    assert not [secret for secret in SECRETS if secret in answer.text]
    assert len(answer.content) < 100_000


def test_addresses_are_told_so_far(told: TestClient) -> None:
    evaluation = told.get(f"/api/projects/{PROJECT}/evaluation").json()
    shown = {"https://bucket.example/1.jpg", "data:..."}
    assert set(evaluation["pictures"].values()) == shown
    for rows in ("cases", "disputes", "newest"):
        assert {row["uri"] for row in evaluation[rows]} == shown, rows
    assert {row["uri"] for row in told.get(f"/api/projects/{PROJECT}").json()["suggested"]} == shown
    assert "https://bucket.example/1.jpg" in told.get(f"/projects/{PROJECT}/cases.csv").text


def test_what_is_needed_to_fetch_a_picture_is_saved_and_no_picture(told: TestClient, services: Services) -> None:
    texts = [path.read_text() for path in Path(services.settings.model_dir).rglob("*.json")]
    assert any("X-Amz-Signature=hidden" in text for text in texts)
    assert not any("base64" in text for text in texts)
    assert {is_stand_in(row["uri"]) for row in services.jobs.board.suggested(PROJECT)} == {True, False}


def test_a_changed_inline_picture_is_judged_anew(
    services: Services, detector: AnomalyDetector, normal_pictures: list[Path]
) -> None:
    def cases(path: Path, judged: dict[int, dict[str, object]] | None = None) -> list[dict[str, object]]:
        image = replace(labelled_image(1, Verdict.NORMAL, Split.TEST), uri=inline(path))
        dataset = Dataset((image,), (), ())
        found = held_out_cases(PROJECT, detector, dataset, services.pictures, services.jobs.board, judged)
        return [case.to_json() for case in found]

    (case,) = cases(normal_pictures[11])
    judged = {1: case | {"score": 0.125}}
    assert cases(normal_pictures[11], judged)[0]["score"] == 0.125
    assert cases(normal_pictures[12], judged)[0]["score"] != 0.125


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    found = FakeLabelStudio()
    found.start()
    yield found
    found.stop()


def test_inline_pictures_are_shown_with_their_heat_maps(
    studio: FakeLabelStudio, settings: Settings, detector: AnomalyDetector, normal_pictures: list[Path]
) -> None:
    services = build_services(settings.model_copy(update={"label_studio_url": studio.url}))
    project = studio.project["id"]
    for task_id in (1, 2):
        studio.add(task_id, b"")
        studio.tasks[task_id]["data"] = {"image": inline(normal_pictures[task_id])}
    images = [
        replace(labelled_image(n, Verdict.NORMAL, Split.TEST), uri=studio.tasks[n]["data"]["image"]) for n in (1, 2)
    ]
    evaluation = report(project, VERSION, detector, Dataset(tuple(images), (), ()), [])
    services.registry.remember(project)
    services.registry.save(make_version(project, VERSION), detector, evaluation)
    services.registry.promote(project, VERSION, "a test wants it")
    client = TestClient(create_app(services))
    for kind in ("plain", "heat"):
        answer = client.get(f"/projects/{project}/pictures/1.jpg?kind={kind}")
        assert answer.status_code == 200, answer.text
        assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    asked = len(studio.asked)
    assert client.get(f"/projects/{project}/pictures/1.jpg?kind=heat").status_code == 200
    assert len(studio.asked) == asked  # it is kept
    studio.tasks[2]["data"] = {"image": inline(normal_pictures[5])}
    changed = client.get(f"/projects/{project}/pictures/2.jpg?kind=plain")
    assert changed.status_code >= 400
    assert "task 2 was changed" in changed.json()["error"]


def test_only_what_is_a_picture_itself_has_a_stand_in() -> None:
    for uri in ("/data/upload/1.jpg", SIGNED, "s3://bucket/1.jpg"):
        assert saved(uri) == uri
        assert not is_stand_in(uri)
    assert is_stand_in(saved("data:image/png;base64,aa"))
    assert saved("data:image/png;base64,aa") != saved("data:image/png;base64,ab")


@pytest.mark.parametrize(
    ("uri", "picture"),
    [
        (
            "https://b.example/1.jpg?X-Amz-Algorithm=A&X-Amz-Date=1&X-Amz-Expires=9&X-Amz-Signature=s",
            "https://b.example/1.jpg",
        ),
        (
            "https://b.example/1.jpg?versionId=7&X-Amz-Signature=s&x-id=GetObject",
            "https://b.example/1.jpg?versionId=7&x-id=GetObject",
        ),
        ("https://b.example/1.jpg?AWSAccessKeyId=k&Signature=s%3D&Expires=9", "https://b.example/1.jpg"),
        ("https://b.example/1.jpg?X-Goog-Credential=k&X-Goog-Signature=s", "https://b.example/1.jpg"),
        ("https://b.example/1.jpg?sv=2&st=1&se=9&sr=b&sp=r&sig=s", "https://b.example/1.jpg"),
        ("https://b.example/get?sku=1&Expires=9&Signature=s&Key-Pair-Id=k", "https://b.example/get?sku=1"),
        ("https://b.example/get?file=1.jpg&expires=9&se=2", "https://b.example/get?file=1.jpg&expires=9&se=2"),
        ("/data/local-files/?d=signature=1.jpg", "/data/local-files/?d=signature=1.jpg"),
        ("data:image/png;base64,aa", "data:image/png;base64,aa"),
    ],
)
def test_what_a_signature_adds_to_an_address_does_not_name_the_picture(uri: str, picture: str) -> None:
    assert unsigned(uri) == picture


def test_a_picture_whose_link_was_signed_anew_is_not_judged_anew(
    services: Services, detector: AnomalyDetector, normal_pictures: list[Path]
) -> None:
    image = labelled_image(1, Verdict.NORMAL, Split.TEST)
    case = drawn_case(image, detector, 1.0).to_json()
    judged = {1: case | {"uri": SIGNED.format(1), "cross_fitted": False, "nearest_normal": 1001}}
    fresh = replace(image, uri=SIGNED.format(1) + "2")
    board = services.jobs.board
    (again,) = held_out_cases(PROJECT, detector, Dataset((fresh,), (), ()), services.pictures, board, judged)
    assert again.to_json()["uri"] == fresh.uri
