from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedder
from model.errors import AnomalyError, ImageUnreadable
from tests.model.test_detector import texture

CONFIG = DetectorConfig(backbone="efficientnet_lite0", image_size=96, bank_rows=200)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return CONFIG.embedder()


@pytest.fixture
def detector(embedder: Embedder) -> AnomalyDetector:
    return AnomalyDetector(CONFIG, embedder=embedder).fit([texture(seed) for seed in range(12)])


def striped() -> Image.Image:
    pixels = np.asarray(texture(40)).copy()
    pixels[:, ::8] = 200
    return Image.fromarray(pixels)


def test_what_was_added_is_normal_from_then_on(detector: AnomalyDetector) -> None:
    before = detector.predict([striped()])[0].raw_score
    detector.extend([striped()], trusted={"picture 13"})
    assert detector.predict([striped()])[0].raw_score < 0.8 * before
    assert detector.predict([striped()])[0].nearest_normal == "picture 13"


def test_adding_gives_nearly_what_learning_all_at_once_gives(detector: AnomalyDetector, embedder: Embedder) -> None:
    detector.extend([texture(seed) for seed in range(12, 16)])
    textures, names = [texture(seed) for seed in range(16)], [f"picture {place}" for place in range(1, 17)]
    at_once = AnomalyDetector(CONFIG, embedder=embedder).fit_embeddings(
        list(embedder.embed(textures)),  # type: ignore[arg-type]
        names,
        altered=detector.embed_altered(textures, names),
        trusted=names,  # with so few, chance may set one aside
    )
    assert len(detector.calibration.scores) == len(at_once.calibration.scores) == 16
    assert detector.calibration.threshold == pytest.approx(at_once.calibration.threshold, rel=0.25)
    unseen = [texture(seed, spot=seed % 2 == 0) for seed in range(20, 26)]
    added, together = (which.predict(unseen) for which in (detector, at_once))
    assert [found.verdict for found in added] == [found.verdict for found in together]


def test_the_bank_grows_by_one_pictures_share(detector: AnomalyDetector) -> None:
    sizes = [len(layer.bank.rows) for layer in detector.memory.layers]
    detector.extend([texture(30)])
    grown = [len(layer.bank.rows) for layer in detector.memory.layers]
    assert grown[:2] == [size + size // 12 for size in sizes[:2]]  # the coarsest has few patches to give


def test_a_copy_adds_nothing_but_its_name(detector: AnomalyDetector) -> None:
    before = detector.calibration.scores
    rows = len(detector.memory.layers[0].bank.rows)
    detector.extend([texture(3), texture(50), texture(50)])
    assert len(detector.calibration.scores) == len(before) + 1
    assert len(detector.memory.layers[0].bank.rows) == rows + rows // 12
    copy, new, copy_of_new = detector.training[-3:]
    assert copy.raw_score == detector.training[3].raw_score
    assert (copy_of_new.raw_score, copy_of_new.name) == (new.raw_score, "picture 15")


def test_a_strange_addition_is_set_aside(detector: AnomalyDetector) -> None:
    detector.extend([texture(31, spot=True), texture(32)])
    assert [image.suspect for image in detector.training[-2:]] == [True, False]
    assert detector.training[-1].name == "picture 14"
    assert detector.predict([texture(33, spot=True)])[0].verdict == "abnormal"


def test_what_is_added_is_a_part_of_its_own_though_others_were_set_aside(embedder: Embedder) -> None:
    pictures = [texture(50, spot=True), *(texture(seed) for seed in range(13))]
    detector = AnomalyDetector(CONFIG, embedder=embedder).fit(pictures)
    assert detector.training[0].suspect
    known = detector.memory.layers[0].bank.owners.tolist()
    owners = detector.extend([texture(30)]).memory.layers[0].bank.owners.tolist()
    assert set(owners[len(known) :]).isdisjoint(known)


def test_an_extended_detector_is_kept_whole(detector: AnomalyDetector, tmp_path: Path) -> None:
    detector.extend([texture(30)]).save(tmp_path / "model")
    kept = AnomalyDetector.load(tmp_path / "model", embedder=detector.embedder)
    assert kept.training == detector.training
    assert kept.predict([texture(34)])[0].raw_score == pytest.approx(
        detector.predict([texture(34)])[0].raw_score, rel=1e-2
    )


def test_nothing_is_learned_when_one_cannot_be_read(detector: AnomalyDetector) -> None:
    with pytest.raises(ImageUnreadable, match="picture 14: "):
        detector.extend([texture(30), b"no picture"])
    assert len(detector.training) == 12


def test_there_must_be_something_to_extend(embedder: Embedder) -> None:
    with pytest.raises(AnomalyError, match="learned nothing yet"):
        AnomalyDetector(CONFIG, embedder=embedder).extend([texture(1)])
