"""Whether the detector is as good on real pictures as it should be; slow, and never tuned to."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from model.config import MOST_ALTERED
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.evaluation import evaluate
from model.images import find_images

SEEDS = range(3)
HELD_OUT = 0.3

Measured = Callable[[int, int], tuple[float, float]]


class Tiles(NamedTuple):
    """embeddings: the normal pictures first. altered: of the normal ones, by index. abnormal: bool (n,)."""

    embeddings: list[Embedding]
    altered: dict[str, list[Embedding]]
    abnormal: np.ndarray


def data_folder() -> Path:
    return Path(os.environ.get("ANOMALY_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(scope="module")
def tiles() -> Tiles:
    """All magnetic tiles, embedded."""
    folder = data_folder() / "magnetic_tile"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set ANOMALY_DATA to a folder that holds the magnetic tiles")
    normal, abnormal = find_images(folder / "normal"), find_images(folder / "abnormal")
    detector = AnomalyDetector()
    embeddings = [item for item in detector.embedder.embed(normal + abnormal) if isinstance(item, Embedding)]
    first = {int(index) for seed in SEEDS for index in split(len(normal), seed)[1][:MOST_ALTERED]}
    altered = detector.embed_altered([normal[index] for index in first], [*map(str, first)], most=len(first))
    return Tiles(embeddings, altered, np.arange(len(normal) + len(abnormal)) >= len(normal))


def split(normals: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which normal pictures are held out, and which may be learned, in that order."""
    shuffled = np.random.default_rng(seed).permutation(normals)
    held_out = round(HELD_OUT * normals)
    return shuffled[:held_out], shuffled[held_out:]


def measure(tiles: Tiles, n: int, seed: int) -> tuple[float, float]:
    """AUROC and false-alarm rate after learning n normal pictures, on normal pictures that were never learned."""
    embeddings, altered, abnormal = tiles
    held_out, learned = split(int((~abnormal).sum()), seed)
    learned = learned[:n]
    unseen = [*held_out, *np.flatnonzero(abnormal)]
    names = [str(index) for index in learned]
    detector = AnomalyDetector().fit_embeddings(
        [embeddings[index] for index in learned],
        names,
        altered={name: altered[name] for name in names[:MOST_ALTERED]},
    )
    judged = [detector.judge(embeddings[index]) for index in unseen]
    result = evaluate(
        [prediction.raw_score for prediction in judged],
        abnormal[unseen],
        [prediction.verdict == "abnormal" for prediction in judged],
    )
    assert result.auroc.value is not None
    assert result.false_alarm_rate.value is not None
    return result.auroc.value, result.false_alarm_rate.value


@pytest.fixture(scope="module")
def measured(tiles: Tiles) -> Measured:
    """Measures each number of pictures and seed once, for all tests."""
    return cache(lambda n, seed: measure(tiles, n, seed))


@pytest.mark.parametrize(("n", "wanted"), [(10, 0.80), (100, 0.88)])
def test_tiles_are_told_apart(measured: Measured, n: int, wanted: float) -> None:
    assert np.mean([measured(n, seed)[0] for seed in SEEDS]) >= wanted


@pytest.mark.parametrize("n", [50, 100, 168])
def test_false_alarms_are_as_rare_as_promised(measured: Measured, n: int) -> None:
    assert 0.02 <= np.mean([measured(n, seed)[1] for seed in SEEDS]) <= 0.09
