"""Wherever the network and the search run, they find the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.devices import CPU, find_device, precision_on, search_device
from model.embedding import Embedding
from model.memory_bank import MemoryBank, build_bank, greedy_coreset

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
"""On a machine with a GPU of NVIDIA's the same tests run there too."""
HALF_PRECISION = 0.05
"""Share by which a score may move between half and full precision."""


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    pixels = np.random.default_rng(0).normal(128, 12, (14, 96, 96, 3)).clip(0, 255).astype(np.uint8)
    pixels[12:, 32:64, 32:64] = 30
    return [Image.fromarray(picture) for picture in pixels]


def learned(device: str, pictures: list[Image.Image]) -> AnomalyDetector:
    config = DetectorConfig(image_size=96)
    return AnomalyDetector(config, embedder=config.embedder(device=device)).fit(pictures[:10])


def test_half_precision_and_the_search_are_left_to_gpus_of_nvidias() -> None:
    assert [precision_on(torch.device(name)) for name in ("cpu", "mps", "xpu")] == [torch.float32] * 3
    assert precision_on(torch.device("cuda:1")) == torch.float16
    assert [search_device(torch.device(name)) for name in ("cpu", "mps", "cuda:1")] == [
        CPU,
        CPU,
        torch.device("cuda:1"),
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_a_bank_finds_the_same_distances_wherever_it_is(device: str) -> None:
    rows, patches = torch.randn(300, 40), torch.randn(1000, 40)
    bank, hidden = MemoryBank(rows, torch.arange(300)), torch.arange(300) < 100
    there = bank.to(torch.device(device))
    args = patches.to(device), hidden.to(device)
    assert torch.allclose(there.distances(*args).cpu(), bank.distances(patches, hidden), atol=1e-3)
    assert torch.allclose(
        there.residuals(args[0], 40.0, args[1]).cpu(), bank.residuals(patches, 40.0, hidden), atol=1e-3
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_coreset_covers_as_well_wherever_it_is_chosen(device: str) -> None:
    patches = torch.randn(3000, 20, generator=torch.Generator().manual_seed(1))
    reach = []
    for place in ("cpu", device):
        chosen = greedy_coreset(patches.to(place), 200, torch.Generator().manual_seed(0)).cpu()
        assert len(set(chosen.tolist())) == 200
        reach.append(float(torch.cdist(patches, patches[chosen]).amin(dim=1).max()))
    assert reach[1] == pytest.approx(reach[0], rel=0.05)
    bank = build_bank([patches], [7], 50, seed=0, device=torch.device(device))
    assert (bank.rows.device.type, bank.owners.device.type) == (device, device)
    assert (len(bank.rows), set(bank.owners.tolist())) == (50, {7})


@pytest.mark.parametrize("device", DEVICES)
def test_verdicts_do_not_depend_on_the_device(device: str, pictures: list[Image.Image]) -> None:
    on_cpu = learned("cpu", pictures)
    moved = AnomalyDetector.from_bytes(on_cpu.to_bytes(), embedder=on_cpu.config.embedder(device=device))
    trained_there = learned(device, pictures)
    expected = on_cpu.predict(pictures)
    for found in (moved.predict(pictures), trained_there.predict(pictures)):
        assert [one.verdict for one in found] == [one.verdict for one in expected]
    for before, after in zip(expected, moved.predict(pictures), strict=True):
        assert after.raw_score == pytest.approx(before.raw_score, rel=HALF_PRECISION)
        assert np.allclose(after.anomaly_map, before.anomaly_map, rtol=0.2, atol=0.2)


@pytest.mark.parametrize("device", DEVICES)
def test_many_are_judged_as_each_alone(device: str, pictures: list[Image.Image]) -> None:
    detector = learned(device, pictures)
    embeddings = [item for item in detector.embedder.embed(pictures) if isinstance(item, Embedding)]
    for alone, among in zip(map(detector.judge, embeddings), detector.judge_all(embeddings), strict=True):
        assert (among.verdict, among.reason, among.nearest_normal) == (
            alone.verdict,
            alone.reason,
            alone.nearest_normal,
        )
        assert among.raw_score == pytest.approx(alone.raw_score, rel=1e-4)
        assert np.allclose(among.anomaly_map, alone.anomaly_map, atol=1e-3)
    assert detector.judge_all([]) == []


@pytest.mark.parametrize("device", DEVICES)
def test_a_model_is_learned_further_and_kept_wherever_it_is(device: str, pictures: list[Image.Image]) -> None:
    detector = learned(device, pictures)
    before = detector.predict(pictures[12:])
    detector.extend(pictures[10:12])
    assert len(detector.training) == 12
    kept = AnomalyDetector.from_bytes(detector.to_bytes(), embedder=detector.embedder)
    after = kept.predict(pictures[12:])
    assert [one.verdict for one in after] == [one.verdict for one in before]
    detector.embedder = detector.config.embedder(device="cpu")
    assert detector.predict(pictures[12:])[0].raw_score == pytest.approx(after[0].raw_score, rel=HALF_PRECISION)


def test_the_device_is_found_once_and_named_by_the_config() -> None:
    embedder = DetectorConfig().embedder(device="cpu")
    assert (embedder.device, embedder.search_device, find_device("cpu")) == (CPU, CPU, CPU)
