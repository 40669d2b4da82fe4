from __future__ import annotations

import numpy as np
import pytest

from model.regions import MOST_REGIONS, find_regions, region_mask


def planted(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A 32 x 32 map with squares (top, left, bottom, right) that stand out."""
    anomaly_map = np.full((32, 32), 0.2, np.float32)
    for top, left, bottom, right in boxes:
        anomaly_map[top:bottom, left:right] = 2.0
    return anomaly_map


def test_a_place_is_framed() -> None:
    (region,) = find_regions(planted((8, 16, 12, 24)), 1.0)
    cell = 1 / 32
    assert region.x == pytest.approx(16 / 32, abs=cell)
    assert region.y == pytest.approx(8 / 32, abs=cell)
    assert region.width == pytest.approx(8 / 32, abs=cell)
    assert region.height == pytest.approx(4 / 32, abs=cell)
    assert region.strength == pytest.approx(2.0)
    assert region.area == pytest.approx(region.width * region.height, rel=0.15)
    assert 16 / 32 <= region.peak[0] <= 24 / 32
    assert 8 / 32 <= region.peak[1] <= 12 / 32


def test_the_outline_surrounds_it() -> None:
    (region,) = find_regions(planted((8, 16, 12, 24)), 1.0)
    outline = np.array(region.outline)
    assert len(outline) >= 4
    assert outline.min(axis=0) == pytest.approx([region.x, region.y], abs=1 / 32)
    assert outline.max(axis=0) == pytest.approx([region.x + region.width, region.y + region.height], abs=1 / 32)


def test_several_places_come_largest_first() -> None:
    first, second = find_regions(planted((2, 2, 5, 5), (16, 16, 28, 28)), 1.0)
    assert first.area > second.area
    assert first.x > second.x


def test_specks_are_left_out_and_no_more_than_a_few_are_shown() -> None:
    boxes = [(4 * row, 4 * column, 4 * row + 2, 4 * column + 2) for row in range(8) for column in range(8)]
    assert len(find_regions(planted(*boxes), 1.0)) == MOST_REGIONS
    assert len(find_regions(planted((0, 0, 30, 30), (31, 31, 32, 32)), 1.0)) == 1


def test_a_picture_strange_as_a_whole_shows_its_peak() -> None:
    assert len(find_regions(planted((8, 8, 12, 12)), 5.0)) == 1


def test_places_at_the_edge_stay_inside() -> None:
    for region in find_regions(planted((0, 0, 4, 4), (28, 28, 32, 32)), 1.0):
        outline = np.array(region.outline)
        assert outline.min() >= 0
        assert outline.max() <= 1
        assert region.x + region.width <= 1
        assert region.y + region.height <= 1


def test_the_mask_is_as_large_as_the_picture() -> None:
    mask = region_mask(planted((8, 16, 12, 24)), 1.0, (100, 200))
    assert mask.shape == (100, 200)
    assert mask[30, 125]
    assert not mask[80, 20]
    assert mask.mean() == pytest.approx(4 * 8 / 32**2, rel=0.3)
