from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from model.regions import MOST_REGIONS, find_regions, fine_map, region_mask, upsample


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


@pytest.mark.parametrize("value", [0.0, 0.9])
def test_a_flat_map_has_nothing_to_point_at_but_all_of_it(value: float) -> None:
    regions = find_regions(np.full((16, 16), value, np.float32), 1.0)
    assert [(region.x, region.y, region.width, region.height) for region in regions] == [(0, 0, 1, 1)][: bool(value)]


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (40, 10)])
def test_a_map_of_any_shape_gives_shares_of_the_picture(shape: tuple[int, int]) -> None:
    anomaly_map = np.full(shape, 0.1, np.float32)
    anomaly_map[shape[0] // 2, shape[1] // 2] = 5.0
    (region,) = find_regions(anomaly_map, 1.0)
    centre = ((shape[1] // 2 + 0.5) / shape[1], (shape[0] // 2 + 0.5) / shape[0])
    assert region.x <= centre[0] <= region.x + region.width
    assert region.y <= centre[1] <= region.y + region.height
    assert region.peak == pytest.approx(centre, abs=0.02)


@given(st.integers(0, 10_000), st.integers(2, 24), st.integers(2, 24), st.floats(0.05, 3.0))
def test_no_map_gives_places_outside_the_picture(seed: int, height: int, width: int, threshold: float) -> None:
    coarse = np.random.default_rng(seed).gamma(2, 0.3, (height, width)).astype(np.float32)
    regions = find_regions(coarse, threshold)
    assert 1 <= len(regions) <= MOST_REGIONS
    areas = [region.area for region in regions]
    assert areas == sorted(areas, reverse=True)
    assert sum(areas) <= 1 + 1e-9
    for region in regions:
        assert 0 <= region.x < region.x + region.width <= 1 + 1e-9
        assert 0 <= region.y < region.y + region.height <= 1 + 1e-9
        assert region.x <= region.peak[0] <= region.x + region.width
        assert region.y <= region.peak[1] <= region.y + region.height
        assert 0 < region.area <= region.width * region.height + 1e-9
        assert all(0 <= share <= 1 for corner in region.outline for share in corner)


def test_only_the_ratio_to_the_threshold_counts() -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((24, 24)), 2).astype(np.float32)
    threshold = float(np.quantile(smooth, 0.9))
    plain, scaled = find_regions(smooth, threshold), find_regions(smooth * 64, threshold * 64)
    assert plain
    assert plain == scaled


def test_strength_is_told_in_thresholds() -> None:
    (region,) = find_regions(planted((8, 8, 16, 16)), 0.5)
    assert region.strength == pytest.approx(4.0)
    (weak,) = find_regions(planted((8, 8, 16, 16)), 5.0)
    assert weak.strength == pytest.approx(0.4)


def test_the_mask_covers_what_the_regions_frame() -> None:
    anomaly_map = planted((8, 16, 12, 24), (20, 2, 28, 10))
    mask = region_mask(anomaly_map, 1.0, (256, 256))
    assert mask.mean() == pytest.approx(sum(region.area for region in find_regions(anomaly_map, 1.0)), abs=0.005)


def test_a_hole_in_a_place_is_left_out_of_its_area() -> None:
    ring = planted((4, 4, 28, 28))
    ring[10:22, 10:22] = 0.2
    (region,) = find_regions(ring, 1.0)
    assert region.area < 0.85 * region.width * region.height


@given(st.integers(0, 1000))
def test_a_finer_map_stays_between_the_values_of_the_coarse_one(seed: int) -> None:
    coarse = np.random.default_rng(seed).random((5, 9)).astype(np.float32)
    fine = upsample(coarse, (50, 63))
    assert fine.shape == (50, 63)
    assert fine.dtype == np.float32
    assert coarse.min() - 1e-6 <= fine.min()
    assert fine.max() <= coarse.max() + 1e-6


def test_a_finer_map_keeps_cell_centres_in_place() -> None:
    coarse = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    fine = upsample(coarse, (4 * 3, 6 * 3))
    assert np.allclose(fine[1::3, 1::3], coarse, atol=1e-6)


@given(st.integers(0, 1000), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_a_resized_map_is_the_bilinear_one_of_scipy(seed: int, shape: tuple[int, int]) -> None:
    coarse = np.random.default_rng(seed).random((7, 11)).astype(np.float32)
    rows, columns = ((np.arange(fine) + 0.5) * before / fine - 0.5 for fine, before in zip(shape, (7, 11), strict=True))
    grid = np.meshgrid(rows, columns, indexing="ij")
    assert np.allclose(
        upsample(coarse, shape), ndimage.map_coordinates(coarse, grid, order=1, mode="nearest"), atol=1e-5
    )


def test_the_mask_of_a_large_picture_takes_little_memory() -> None:
    tracemalloc.start()
    region_mask(planted((8, 16, 12, 24)), 1.0, (1000, 1500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1000 * 1500


def test_a_place_has_the_same_outline_wherever_it_lies() -> None:
    box = np.array([8, 8, 14, 18])
    (first,), (second,) = (find_regions(planted(tuple(box + shift)), 1.0) for shift in (0, 10))
    moved = np.array(first.outline) + 10 / 32
    assert np.allclose(moved, second.outline, atol=1e-6)


def test_the_longer_side_of_a_fine_map_is_fixed() -> None:
    assert fine_map(np.ones((8, 32), np.float32)).shape == (64, 256)
    assert fine_map(np.ones((32, 8), np.float32)).shape == (256, 64)
