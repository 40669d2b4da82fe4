"""Where to look: rectangles of interest and rectangles to ignore."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.area import Area, Rectangle, parse_rectangles
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.prediction import Verdict
from model.regions import Map
from tests.model.test_detector import texture

SMALL = DetectorConfig(backbone="efficientnet_lite0", image_size=128)


def stained(picture: Image.Image, where: tuple[float, float]) -> Image.Image:
    """The same picture with a stain around a place given as shares of its sides."""
    x, y = round(where[0] * picture.width), round(where[1] * picture.height)
    side = picture.width // 6
    marked = picture.copy()
    marked.paste((250, 30, 30), (x - side // 2, y - side // 2, x + side // 2, y + side // 2))
    return marked


def test_rectangles_are_read() -> None:
    assert parse_rectangles("10,20,30,40; 0,0,100,2.5") == (Rectangle(10, 20, 30, 40), Rectangle(0, 0, 100, 2.5))
    assert parse_rectangles("") == ()


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,0,0,10", "90,0,20,10", "-1,0,5,5", "nan,0,5,5", "0,0,5,5,5"])
def test_what_is_no_rectangle_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="per cent"):
        parse_rectangles(text)


def test_the_whole_picture_unless_something_else_is_said() -> None:
    assert bool(Area().inside(7, 5).all())


def test_what_is_ignored_is_taken_from_what_is_looked_at() -> None:
    inside = Area("0,0,100,50", "50,25,50,75").inside(4, 4)
    assert inside.tolist() == [[True] * 4] * 2 + [[True, True, False, False]] * 2


def test_nothing_left_to_look_at_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        Area("10,10,20,20", "0,0,50,50")


@pytest.mark.parametrize(
    ("area", "frame"),
    [
        (Area(), (0, 0, 1, 1)),
        (Area("20,30,40,30"), (0.2, 0.3, 0.6, 0.6)),
        (Area("20,30,10,10; 50,40,10,20"), (0.2, 0.3, 0.6, 0.6)),
        (Area(ignore="0,0,20,100; 60,0,40,100; 0,0,100,40"), (0.2, 0.4, 0.6, 1)),
        (Area("20,30,40,30", "50,0,50,100"), (0.2, 0.3, 0.5, 0.6)),
        (Area(ignore="40,40,20,20"), (0, 0, 1, 1)),
        (Area("0,90,100,10"), (0, 0.5, 1, 1)),  # twice as wide as high at most
        (Area("50,50,1,2"), (0.455, 0.46, 0.555, 0.56)),  # a tenth of the side at least
        (Area("90,0,10.01,100"), (0.5, 0, 1, 1)),
    ],
)
def test_the_frame_is_what_the_area_spans(area: Area, frame: tuple[float, ...]) -> None:
    assert area.frame == pytest.approx(frame)


def test_a_frame_that_counts_as_a_whole() -> None:
    assert Area("20,30,40,30").fills_frame
    assert Area(ignore="0,0,33.3,100").fills_frame
    assert not Area("20,30,40,30", "30,40,5,5").fills_frame
    assert not Area("0,90,100,10").fills_frame


def test_a_map_of_the_frame_lies_where_the_frame_is() -> None:
    whole = Area("20,30,40,60").in_picture(torch.ones(6, 4))
    assert whole.shape == (10, 10)
    assert bool(whole[3:9, 2:6].all())
    assert float(whole.sum()) == 24


def test_an_area_that_was_drawn_once_is_not_drawn_for_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DetectorConfig(roi="5,10,60,70", ignore="20,20,5,5")
    known = config.strangest(40, 40)
    monkeypatch.setattr("model.area._draw", lambda _: pytest.fail("it is drawn again"))
    assert config.strangest(40, 40) == known


corner = st.integers(0, 90)


@given(corner, corner, st.integers(1, 10), st.integers(1, 10), st.integers(1, 40), st.integers(1, 40))
def test_every_area_has_a_place_on_every_map(x: int, y: int, width: int, height: int, rows: int, columns: int) -> None:
    inside = Area(f"{x},{y},{width},{height}").inside(rows, columns)
    assert inside.shape == (rows, columns)
    assert bool(inside.any())
    assert inside.dtype == torch.bool


@given(corner, corner, st.integers(1, 10), st.integers(1, 10), st.integers(8, 40), st.integers(8, 40))
def test_a_frame_lies_in_the_picture_and_holds_the_area(
    x: int, y: int, width: int, height: int, rows: int, columns: int
) -> None:
    area = Area(f"{x},{y},{width},{height}")
    frame = area.frame
    assert 0 <= frame.left <= x / 100 + 1e-9
    assert (x + width) / 100 - 1e-9 <= frame.right <= 1 + 1e-9
    assert 0 <= frame.top <= y / 100 + 1e-9
    assert (y + height) / 100 - 1e-9 <= frame.bottom <= 1 + 1e-9
    whole = area.in_picture(torch.ones(rows, columns))
    assert whole.sum() == rows * columns
    assert whole.shape[0] == pytest.approx(rows / frame.height, abs=0.5)
    assert whole.shape[1] == pytest.approx(columns / frame.width, abs=0.5)


def test_a_part_of_a_picture_is_judged_as_a_picture_of_that_part() -> None:
    """As sharply as if the rest did not exist, and drawn where it is."""

    def scene(item: Image.Image, seed: int) -> Image.Image:
        background = texture(1000 + seed).resize((640, 640))
        background.paste(item, (160, 384))
        return background

    items = [texture(seed).resize((192, 192)) for seed in range(12)]
    flawed = items[0].copy()
    flawed.paste((250, 30, 30), (144, 48, 164, 68))
    alone = AnomalyDetector(SMALL).fit(items)
    within = AnomalyDetector(replace(SMALL, roi="25,60,30,30")).fit([scene(item, at) for at, item in enumerate(items)])
    one, other = alone.predict([flawed])[0], within.predict([scene(flawed, 77)])[0]
    assert within.calibration.threshold == pytest.approx(alone.calibration.threshold, rel=1e-3)
    assert other.raw_score == pytest.approx(one.raw_score, rel=1e-3)
    assert other.verdict is Verdict.ABNORMAL
    assert other.regions[0].peak == pytest.approx((314 / 640, 442 / 640), abs=0.02)
    assert other.regions[0].area == pytest.approx(one.regions[0].area * 0.09, rel=0.01)
    row, column = _strongest(other.anomaly_map)
    height, width = other.anomaly_map.shape
    assert ((column + 0.5) / width, (row + 0.5) / height) == pytest.approx((314 / 640, 442 / 640), abs=0.03)


def _strongest(anomaly_map: Map) -> tuple[int, int]:
    row, column = np.unravel_index(int(anomaly_map.argmax()), anomaly_map.shape)
    return int(row), int(column)


@pytest.mark.parametrize("config", [replace(SMALL, roi="0,0,50,100"), replace(SMALL, ignore="50,0,50,100")])
def test_a_stain_counts_only_where_one_looks(config: DetectorConfig) -> None:
    detector = AnomalyDetector(config).fit([texture(seed) for seed in range(12)])
    clean, seen, unseen = detector.predict(
        [texture(50), stained(texture(50), (0.2, 0.5)), stained(texture(50), (0.8, 0.5))]
    )
    assert seen.verdict is Verdict.ABNORMAL
    assert seen.raw_score > 1.5 * clean.raw_score
    assert all(region.peak[0] <= 0.5 for region in seen.regions)
    assert unseen.raw_score == pytest.approx(clean.raw_score, rel=1e-4)
    assert seen.anomaly_map[:, seen.anomaly_map.shape[1] // 2 :].max() == 0


def test_what_moves_outside_the_area_changes_nothing() -> None:
    """A background beside the item, as on a conveyor."""
    config = replace(SMALL, roi="0,0,50,100")
    still = AnomalyDetector(config).fit([texture(seed) for seed in range(12)])
    moving = AnomalyDetector(config).fit([stained(texture(seed), (0.8, (seed % 5 + 0.5) / 5)) for seed in range(12)])
    assert moving.calibration.threshold == pytest.approx(still.calibration.threshold, rel=1e-4)


def test_the_area_survives_saving() -> None:
    detector = AnomalyDetector(replace(SMALL, roi="0,0,50,100")).fit([texture(seed) for seed in range(6)])
    again = AnomalyDetector.from_bytes(detector.to_bytes())
    picture = stained(texture(50), (0.3, 0.4))
    assert again.predict([picture])[0].raw_score == pytest.approx(detector.predict([picture])[0].raw_score, rel=1e-4)
