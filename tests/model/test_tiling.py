from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model.alterations import ALTERATIONS
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedder, Embedding
from model.images import read_image
from model.prediction import Verdict
from model.tiling import Grid, canvas, choose_tiles, cut, parse_tiles, stitch

SIDE, OVERLAP = 128, 64
LARGE = 1500
GRIDS = (Grid(1, 1), Grid(2, 2))


def test_tiles_cover_the_canvas_and_fit_together_again() -> None:
    grid = Grid(3, 2)
    height, width = canvas(grid, SIDE, OVERLAP)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tiles = cut(pixels, grid, SIDE, OVERLAP)
    assert [tile.shape for tile in tiles] == [(SIDE, SIDE, 3)] * 6
    for cells in (SIDE, SIDE // 8, SIDE // 32):
        step = SIDE // cells
        layers = [(torch.from_numpy(tile[::step, ::step].copy()),) for tile in tiles]
        (whole,) = stitch(layers, grid, SIDE, OVERLAP)
        assert torch.equal(whole, torch.from_numpy(pixels[::step, ::step].copy()))


@pytest.mark.parametrize("text", ["", "auto2", "0x3", "3x", "9x1", "-1x2", "2x2x2"])
def test_what_is_no_grid_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_tiles(text)


def test_the_size_of_pictures_chooses() -> None:
    assert choose_tiles([(4000, 3000)] * 3, 256) == (6, 8)
    assert choose_tiles([(500, 400), (10_000, 10_000), (520, 400)], 256) == (1, 1)
    assert choose_tiles([(100_000, 300)], 256) == (1, 8)


def test_a_tiled_picture_is_seen_as_one_large_one(normal_pictures: list[Path]) -> None:
    """Away from the seams and the border the network sees the same, so the patches are nearly the same."""
    grid = Grid(2, 2)
    tiled = Embedder("efficientnet_lite0", 256, grid=grid)
    whole = Embedder("efficientnet_lite0", canvas(grid, 256, 64)[0])
    (one,), (other,) = tiled.embed(normal_pictures[:1]), whole.embed(normal_pictures[:1])
    assert isinstance(one, Embedding)
    assert isinstance(other, Embedding)
    for mine, theirs in zip(one.layers[:2], other.layers[:2], strict=True):
        assert mine.shape == theirs.shape
        alike = torch.cosine_similarity(mine.float(), theirs.float(), dim=-1)
        assert alike.median() > 0.97


def large(path: Path) -> Image.Image:
    return read_image(path).image.resize((LARGE, LARGE), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def small_defect(normal_pictures: list[Path]) -> tuple[Image.Image, tuple[float, float]]:
    """A large normal picture with a crumb on the plain ground, a hundredth of its side; and where the crumb is."""
    picture = large(normal_pictures[11])
    crumb = picture.crop((742, 742, 758, 758))
    picture.paste(crumb, (200, 230))
    return picture, (208 / LARGE, 238 / LARGE)


def test_small_things_stand_out_more_in_tiles(
    normal_pictures: list[Path], small_defect: tuple[Image.Image, tuple[float, float]]
) -> None:
    picture, (x, y) = small_defect
    normals = [large(path) for path in normal_pictures[:6]]
    strengths = []
    for tiles in ("1x1", "auto"):
        detector = AnomalyDetector(DetectorConfig(tiles=tiles, image_size=256)).fit(normals)
        clean, found = (one.anomaly_map for one in detector.predict([large(normal_pictures[11]), picture]))
        added = found - clean
        row, column = np.unravel_index(int(added.argmax()), added.shape)
        assert ((column + 0.5) / added.shape[1], (row + 0.5) / added.shape[0]) == pytest.approx((x, y), abs=0.04)
        strengths.append(float(added.max() / clean.std()))
    assert detector.config.tiles == "3x3"
    assert strengths[1] > 1.2 * strengths[0]


def surface(seed: int) -> Image.Image:
    """Cloudy and grey."""
    clouds = np.random.default_rng(seed).normal(140, 12, (60, 60)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(clouds).resize((LARGE, LARGE), Image.Resampling.BICUBIC).convert("RGB")


def test_a_speck_of_a_few_pixels_is_found_and_drawn_in_tiles() -> None:
    normals = [surface(seed) for seed in range(6)]
    clean = surface(11)
    spoilt = clean.copy()
    spoilt.paste((20, 20, 20), (200, 230, 205, 235))
    detector = AnomalyDetector(DetectorConfig(tiles="auto", image_size=256)).fit(normals)
    before, after = detector.predict([clean, spoilt])
    assert (before.verdict, after.verdict) == (Verdict.NORMAL, Verdict.ABNORMAL)
    places = [place.peak for place in after.regions]
    assert any(place == pytest.approx((202 / LARGE, 232 / LARGE), abs=0.03) for place in places)


def test_a_tiled_detector_is_saved_as_it_is(normal_pictures: list[Path]) -> None:
    detector = AnomalyDetector(DetectorConfig(tiles="2x2", image_size=96)).fit(normal_pictures[:5])
    again = AnomalyDetector.from_bytes(detector.to_bytes())
    (before,), (after,) = detector.predict(normal_pictures[6:7]), again.predict(normal_pictures[6:7])
    assert after.raw_score == pytest.approx(before.raw_score, rel=1e-3)
    assert before.anomaly_map.shape == (16, 16)


def test_tiles_bring_a_layer_for_what_the_network_is_too_coarse_for(normal_pictures: list[Path]) -> None:
    (whole,), (tiled,) = (Embedder("efficientnet_lite0", 128, grid=grid).embed(normal_pictures[:1]) for grid in GRIDS)
    assert isinstance(whole, Embedding)
    assert isinstance(tiled, Embedding)
    assert [len(one.layers) for one in (whole, tiled)] == [4, 5]
    assert tiled.layers[4].shape == (*tiled.layers[0].shape[:2], 6)
    assert [one.shape[2] for one in tiled.of_network] == [one.shape[2] for one in whole.layers[:3]]


def test_alterations_reach_every_tile(normal_pictures: list[Path]) -> None:
    embedder = Embedder("efficientnet_lite0", 96, grid=Grid(2, 1))
    (plain,) = embedder.embed(normal_pictures[:1])
    assert isinstance(plain, Embedding)
    for alteration in ALTERATIONS:
        (altered,) = embedder.embed_altered(normal_pictures[0], [alteration])
        changed = (plain.layers[0].float() - altered.layers[0].float()).abs().sum(dim=-1)
        assert (changed > 1e-3).float().mean() > 0.5, alteration


def test_tiles_are_chosen_from_the_headers_alone(normal_pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = AnomalyDetector(DetectorConfig(tiles="auto", image_size=96))
    monkeypatch.setattr(Embedder, "read", lambda *_: pytest.fail("it is decoded"))
    detector.settle_tiles([b"broken", normal_pictures[0], Image.new("RGB", (384, 512))])
    assert detector.config.tiles == "3x2"
    assert detector.embedder.grid == Grid(3, 2)


def test_tiles_are_chosen_for_the_part_that_counts() -> None:
    detector = AnomalyDetector(DetectorConfig(tiles="auto", image_size=96, roi="0,50,100,50"))
    detector.settle_tiles([Image.new("RGB", (384, 768))])
    assert detector.config.tiles == "2x2"
