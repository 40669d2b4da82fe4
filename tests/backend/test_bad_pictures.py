"""A picture that cannot be used costs its own task a reason, never the batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.labels import EXAMPLE_CONFIG
from backend.services import Services
from tests.bad_pictures import broken_pictures, odd_pictures
from tests.conftest import PROJECT, PictureServer


@pytest.fixture
def judge(services: Services, promote: Callable[..., str]) -> Callable[[list[str]], list[dict[str, object]]]:
    promote()
    client = TestClient(create_app(services))

    def do(uris: list[str]) -> list[dict[str, object]]:
        tasks = [{"id": number, "data": {"image": uri}} for number, uri in enumerate(uris, 1)]
        body = {"project": str(PROJECT), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
        answer = client.post("/predict", json=body)
        assert answer.status_code == 200
        results: list[dict[str, object]] = answer.json()["results"]
        assert len(results) == len(uris)
        return results

    return do


def test_odd_encodings_are_judged(
    judge: Callable[[list[str]], list[dict[str, object]]], picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    odd = odd_pictures(normal_pictures[0])
    uris = {f"/data/upload/{number}": name for number, name in enumerate(odd)}
    picture_server.contents.update(zip(uris, odd.values(), strict=True))
    for name, result in zip(uris.values(), judge(list(uris)), strict=True):
        assert result["result"], f"{name}: {result.get('error')}"


def test_broken_ones_say_why_and_spare_the_others(
    judge: Callable[[list[str]], list[dict[str, object]]],
    picture_server: PictureServer,
    services: Services,
    normal_pictures: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = broken_pictures(normal_pictures[0])
    good = "/data/upload/good.jpg"
    picture_server.contents[good] = normal_pictures[0].read_bytes()
    uris = [good]
    for number, (content, _) in enumerate(broken.values()):
        picture_server.contents[f"/data/upload/{number}"] = content
        uris += [f"/data/upload/{number}", good]
    with caplog.at_level(logging.WARNING):
        results = judge(uris)
    assert all(result["result"] for result in results[::2])
    problems = {problem["task_id"]: problem["reason"] for problem in services.jobs.board.problems(PROJECT)}
    for (name, (_, reason)), position in zip(broken.items(), range(1, len(uris), 2), strict=True):
        assert results[position]["result"] == [], name
        assert results[position]["score"] is None
        assert reason in str(results[position]["error"]), name
        assert reason in problems[position + 1], name
        assert f"task {position + 1}: /data/upload/{position // 2}" in caplog.text


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "does not exist"), (401, "LABEL_STUDIO_API_KEY"), (500, "answered 500")]
)
def test_what_cannot_be_fetched_says_why(
    status: int,
    reason: str,
    judge: Callable[[list[str]], list[dict[str, object]]],
    picture_server: PictureServer,
) -> None:
    picture_server.statuses["/data/upload/x.jpg"] = status
    assert reason in str(judge(["/data/upload/x.jpg"])[0]["error"])


def test_a_problem_goes_once_the_picture_works(
    judge: Callable[[list[str]], list[dict[str, object]]],
    picture_server: PictureServer,
    services: Services,
    normal_pictures: list[Path],
) -> None:
    judge(["/data/upload/late.jpg"])
    assert len(services.jobs.board.problems(PROJECT)) == 1
    picture_server.contents["/data/upload/late.jpg"] = normal_pictures[0].read_bytes()
    assert judge(["/data/upload/late.jpg"])[0]["result"]
    assert services.jobs.board.problems(PROJECT) == []
