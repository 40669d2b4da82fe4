"""Answers of Label Studio's that come when a project changes while it is read."""

from __future__ import annotations

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
