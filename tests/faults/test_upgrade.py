"""A service that finds what an early release left: models it must not use, a queue with that release's jobs and news.

`tests/data/early` was left by commit 481559e of 24 November 2026: its server and its worker ran over a file queue and
the project of `studio` here (IMAGE_SIZE=64, BACKFILL_CHUNK=4). The worker was killed when the first version was in
charge and the first block of predictions not yet stored; then came one more webhook. `queue.db` was vacuumed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import PROJECT, Fleet, Server
from tests.faults.label_studio import FakeLabelStudio

EARLY = Path(__file__).parents[1] / "data" / "early"
PAGES = (
    "/metrics",
    "/versions",
    "/api/projects",
    f"/api/projects/{PROJECT}",
    f"/api/projects/{PROJECT}/versions",
    f"/projects/{PROJECT}",
)


def look_at_everything(server: Server) -> None:
    for page in PAGES:
        assert server.api.get(page).status_code == 200, page
    assert server.api.get("/", headers={"Accept": "text/html"}).status_code == 200


@pytest.fixture
def upgraded(_nursery: None, studio: FakeLabelStudio, tmp_path: Path) -> Iterator[Fleet]:
    shutil.copytree(EARLY, tmp_path, dirs_exist_ok=True)
    found = Fleet(studio, tmp_path)
    yield found
    found.stop()


def test_an_early_releases_models_are_trained_again(upgraded: Fleet) -> None:
    server = upgraded.server()
    early = server.version()
    assert early.startswith("normal-6-")
    answer = server.predict(9)
    assert answer["result"] == []
    assert "this release can use" in answer["error"]
    assert "it is about to be trained again" in server.status()["message"]
    look_at_everything(server)
    upgraded.worker()
    version = upgraded.settle(server, lambda version: version != early)
    assert server.predict(9)["result"]
    assert server.promotions() == [early, version]
    look_at_everything(server)
