from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from model import artifact
from model.detector import AnomalyDetector, DetectorConfig
from model.errors import AnomalyError, ArtifactInvalid, ImageUnreadable, NotEnoughNormals
from model.prediction import Verdict


def texture(seed: int, *, size: tuple[int, int] = (96, 96), spot: bool = False) -> Image.Image:
    pixels = np.random.default_rng(seed).normal(128, 8, (*size, 3)).clip(0, 255).astype(np.uint8)
    if spot:
        pixels[size[0] // 2 : size[0] * 3 // 4, size[1] // 2 : size[1] * 3 // 4] = 20
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def textures() -> AnomalyDetector:
    return AnomalyDetector().fit([texture(seed) for seed in range(12)])


def test_a_spot_is_found_where_it_is(textures: AnomalyDetector) -> None:
    spot, clean = textures.predict([texture(99, spot=True), texture(98)])
    assert (spot.verdict, clean.verdict) == (Verdict.ABNORMAL, Verdict.NORMAL)
    assert spot.score > 0.5 > clean.score
    assert spot.p_value == pytest.approx(1 / 13)
    region = spot.regions[0]
    assert region.x < 0.625 < region.x + region.width
    assert region.y < 0.625 < region.y + region.height
    assert clean.regions == ()


def test_saving_keeps_everything(textures: AnomalyDetector, tmp_path: Path) -> None:
    textures.save(tmp_path / "deep" / "model")
    again = AnomalyDetector.load(tmp_path / "deep" / "model")
    pictures = [texture(99, spot=True), texture(98)]
    for before, after in zip(textures.predict(pictures), again.predict(pictures), strict=True):
        assert after.raw_score == pytest.approx(before.raw_score, rel=1e-3)
        assert (after.verdict, after.nearest_normal) == (before.verdict, before.nearest_normal)
    assert again.training == textures.training
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_training_twice_gives_the_same(textures: AnomalyDetector) -> None:
    again = AnomalyDetector().fit([texture(seed) for seed in range(12)])
    assert again.to_bytes() == textures.to_bytes()


def test_a_broken_picture_costs_its_own_place(textures: AnomalyDetector) -> None:
    first, broken, last = textures.predict_each([texture(1), b"broken", texture(2)])
    assert isinstance(broken, ImageUnreadable)
    assert not isinstance(first, ImageUnreadable)
    assert not isinstance(last, ImageUnreadable)
    with pytest.raises(ImageUnreadable):
        textures.predict([texture(1), b"broken"])


def test_people_can_choose_the_threshold(textures: AnomalyDetector) -> None:
    picture = texture(99, spot=True)
    assert textures.with_threshold(1e6).predict([picture])[0].verdict is Verdict.NORMAL
    assert textures.with_threshold(0.0).predict([texture(98)])[0].verdict is Verdict.ABNORMAL
    back = textures.with_threshold(1e6).with_threshold(None)
    assert back.calibration.threshold == textures.calibration.threshold


def test_a_picture_tagged_normal_by_mistake_is_set_aside() -> None:
    pictures = [texture(seed) for seed in range(24)] + [texture(50, spot=True)]
    detector = AnomalyDetector().fit(pictures)
    assert [image.name for image in detector.training if image.suspect] == ["picture 25"]
    assert len(detector.calibration.scores) == 24
    assert detector.predict([texture(51, spot=True)])[0].verdict is Verdict.ABNORMAL


def test_the_nearest_normal_is_named() -> None:
    dark, light = Image.new("RGB", (64, 64), (30, 30, 60)), texture(0)
    detector = AnomalyDetector().fit([dark, light])
    assert detector.predict([texture(5)])[0].nearest_normal == "picture 2"


def test_copies_of_one_picture_are_no_harm() -> None:
    detector = AnomalyDetector().fit([texture(0)] * 4)
    same, other = detector.predict([texture(0), texture(1, spot=True)])
    assert np.isfinite([same.raw_score, other.raw_score, same.score, other.score]).all()
    assert (same.verdict, other.verdict) == (Verdict.NORMAL, Verdict.ABNORMAL)
    assert json.dumps(other.score)


@pytest.mark.parametrize("size", [(16, 16), (40, 300), (301, 77)])
def test_any_shape_is_judged(textures: AnomalyDetector, size: tuple[int, int]) -> None:
    prediction = textures.predict([texture(5, size=size)])[0]
    assert (prediction.height, prediction.width) == size


def test_progress_only_goes_forward() -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    AnomalyDetector().fit(
        [texture(seed) for seed in range(3)],
        progress=lambda phase, done, total: seen.setdefault(phase, []).append((done, total)),
    )
    assert len(seen) == 2
    for steps in seen.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_gradients_are_left_as_they_were(textures: AnomalyDetector) -> None:
    textures.predict([texture(1)])
    assert torch.is_grad_enabled()


def test_what_cannot_be_done_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughNormals):
        AnomalyDetector().fit([texture(0)])
    with pytest.raises(ImageUnreadable, match="picture 2"):
        AnomalyDetector().fit([texture(0), b"broken"])
    with pytest.raises(AnomalyError, match="call fit"):
        AnomalyDetector().predict([texture(0)])
    with pytest.raises(ArtifactInvalid, match="cannot be read"):
        AnomalyDetector.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"\x80\x04\x95pickle", save({"a": np.zeros(2)}), artifact.to_bytes({"config": {}}, {})],
    ids=["empty", "junk", "pickle", "foreign", "incomplete"],
)
def test_foreign_files_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        AnomalyDetector.from_bytes(content)


def test_a_file_of_a_newer_release_is_refused(textures: AnomalyDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "FORMAT", 999)
    newer = textures.to_bytes()
    with pytest.raises(ArtifactInvalid, match="another release"):
        AnomalyDetector.from_bytes(newer)


def test_settings_travel_with_the_model() -> None:
    config = DetectorConfig(image_size=128, bank_rows=50, alarm_rate=0.1)
    detector = AnomalyDetector(config).fit([texture(seed) for seed in range(3)])
    assert AnomalyDetector.from_bytes(detector.to_bytes()).config == config
