"""Answers of Label Studio's that come when a project changes while it is read."""

from __future__ import annotations

import time

import pytest

from backend.errors import StudioRefused
from backend.studio import Studio
from tests.conftest import PROJECT, PictureServer


def test_a_prediction_that_is_gone_already_counts_as_deleted(picture_server: PictureServer) -> None:
    studio = Studio(picture_server.url, "")
    studio.delete_prediction(70)
    assert [path for path, _ in picture_server.asked] == ["/api/predictions/70/"]
    picture_server.statuses["/api/predictions/71/"] = 403
    with pytest.raises(StudioRefused):
        studio.delete_prediction(71)


@pytest.mark.parametrize("page", [b"<html>Nothing is here</html>", b"default backend - 404"])
def test_a_page_of_a_proxys_does_not_mean_that_a_project_is_gone(
    picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    """As it is where LABEL_STUDIO_URL lacks the path that Label Studio is below, or nothing stands behind the proxy."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    path = f"/api/projects/{PROJECT}"
    picture_server.statuses[path] = 404
    picture_server.contents[path] = page
    with pytest.raises(StudioRefused, match="not as Label Studio does: check LABEL_STUDIO_URL") as refusal:
        Studio(picture_server.url, "").project(PROJECT)
    assert refusal.value.status == 502
    picture_server.contents[path] = b'{"status_code": 404, "detail": "No Project matches the given query."}'
    with pytest.raises(StudioRefused, match="sees no such project") as refusal:
        Studio(picture_server.url, "").project(PROJECT)
    assert refusal.value.status == 404


def test_tasks_that_are_deleted_between_their_count_and_their_page_are_none(
    picture_server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Studio, "_call", lambda *args, **known: {"total": 3, "tasks": []})
    assert list(Studio(picture_server.url, "").tasks(PROJECT)) == []


def test_the_largest_block_of_a_backfill_fits_into_an_address_that_every_proxy_takes(
    picture_server: PictureServer,
) -> None:
    with pytest.raises(StudioRefused):
        list(Studio(picture_server.url, "").tasks(PROJECT, range(2_000_000_000, 2_000_000_500)))
    assert len(picture_server.asked[0][0]) < 8_000  # nginx takes 8192
