"""Which way items lie: told by the pictures, not by people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from model.alterations import TURNS
from model.detector import AnomalyDetector
from model.embedding import Embedder
from model.orientation import could_be_normal
from model.prediction import Verdict
from tests.model.test_detector import SMALL, texture


@pytest.fixture(scope="module")
def small() -> Embedder:
    return SMALL.embedder()


def board(seed: int) -> Image.Image:
    """A chip, a row of pins and a round part, where they are on every board."""
    picture = texture(seed)
    for box, grey in (((12, 10, 44, 26), 20), ((60, 70, 88, 74), 240), ((20, 62, 32, 74), 200)):
        picture.paste((grey, grey, grey), box)
    return picture


@pytest.mark.parametrize("count", [2, 3, 8])
def test_where_all_lie_one_way_others_are_abnormal(count: int, small: Embedder, tmp_path: Path) -> None:
    boards = [board(seed) for seed in range(count)]
    detector = AnomalyDetector(SMALL, embedder=small).fit(boards)
    assert detector.abnormal_turns == TURNS
    detector.save(tmp_path / "model")
    assert AnomalyDetector.load(tmp_path / "model", embedder=small).abnormal_turns == TURNS


def test_only_where_items_may_lie_anyhow_a_turned_one_is_normal(small: Embedder) -> None:
    boards = [board(seed) for seed in range(12)]
    turned = [turn(board(20)) for turn in (ImageOps.mirror, ImageOps.flip)]
    for orientation, verdict in (("auto", Verdict.ABNORMAL), ("fixed", Verdict.ABNORMAL), ("free", Verdict.NORMAL)):
        detector = AnomalyDetector(replace(SMALL, orientation=orientation), embedder=small).fit(boards)
        assert [found.verdict for found in detector.predict(turned)] == [verdict] * 2, orientation
        assert bool(detector.abnormal_turns) == (orientation == "auto")


def test_what_lies_anyhow_is_remembered_turned(small: Embedder, normal_pictures: list[Path]) -> None:
    for pictures in (normal_pictures[:12], [texture(seed) for seed in range(12)]):
        assert AnomalyDetector(SMALL, embedder=small).fit(pictures).abnormal_turns == ()


def test_each_way_is_judged_by_itself(small: Embedder) -> None:
    """What is the same on both sides may be mirrored."""
    boards = []
    for seed in range(8):
        picture = texture(seed)
        picture.paste((20, 20, 20), (24, 8, 72, 30))
        boards.append(picture)
    assert AnomalyDetector(SMALL, embedder=small).fit(boards).abnormal_turns == ("flipped", "turned")


def test_half_of_them_turned_are_enough(small: Embedder) -> None:
    boards = [ImageOps.mirror(board(seed)) if seed % 2 else board(seed) for seed in range(12)]
    assert "mirrored" not in AnomalyDetector(SMALL, embedder=small).fit(boards).abnormal_turns


def test_where_everything_has_its_place_few_pictures_tell_what_varies_there(small: Embedder) -> None:
    boards = [board(seed) for seed in range(5)]
    anyhow, one_way = (
        AnomalyDetector(replace(SMALL, orientation=orientation), embedder=small).fit(boards).memory.profile
        for orientation in ("free", "auto")
    )
    assert one_way.std() > 2 * anyhow.std()


@given(seed=st.integers(0, 1000), count=st.integers(2, 12), scale=st.floats(0.01, 100))
def test_what_is_drawn_alike_could_be_normal_in_any_unit(seed: int, count: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    shown, others = torch.randn(2, count, 400, generator=generator) * scale
    assert could_be_normal(shown, dict(enumerate(others)))
    assert not could_be_normal(shown, dict(enumerate(others * 3)))
    assert could_be_normal(shown, {})
