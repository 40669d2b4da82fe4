"""The detector and the label handling, on drawn pictures."""

import numpy as np
import pytest
from PIL import Image

from backend.errors import LabelConfigUnusable
from backend.labels import EXAMPLE_CONFIG, parse_config
from model.calibration import Calibration, conformal_threshold
from model.detector import AnomalyDetector
from model.errors import ImageUnreadable
from model.images import read_image


def texture(seed: int, *, spot: bool = False) -> Image.Image:
    pixels = np.random.default_rng(seed).normal(128, 8, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    if spot:
        pixels[30:60, 30:60] = 20
    return Image.fromarray(pixels)


def test_a_spot_is_abnormal_and_survives_saving(tmp_path) -> None:
    detector = AnomalyDetector().fit([texture(seed) for seed in range(10)])
    spot, clean = detector.predict([texture(99, spot=True), texture(98)])
    assert spot.verdict == "abnormal"
    assert spot.regions
    assert spot.score > 0.5
    assert spot.score > clean.score
    detector.save(tmp_path / "model")
    again = AnomalyDetector.load(tmp_path / "model").predict([texture(99, spot=True)])[0]
    assert again.raw_score == pytest.approx(spot.raw_score, abs=1e-3)


def test_the_conformal_threshold_and_score() -> None:
    scores = np.arange(1.0, 100.0)
    assert conformal_threshold(scores, 0.05) == 95.0
    calibration = Calibration(scores)
    assert calibration.score(95.0) == 0.5
    assert calibration.score(1e9) > calibration.score(1e8)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_pictures_say_why(content: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        read_image(content)


def test_a_config_that_fits_and_one_that_does_not() -> None:
    assert parse_config(EXAMPLE_CONFIG).normal == ("normal",)
    with pytest.raises(LabelConfigUnusable, match="start from this config"):
        parse_config("<View/>")
