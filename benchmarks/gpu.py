"""What a GPU gives: how near each backbone comes to the card's limits, and the detector there beside the CPU.

python -m benchmarks.gpu [--data FOLDER] [--device cuda] [--weights FOLDER]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import speed
from benchmarks.datasets import DataSet, add_data_option, find_data_sets, split
from benchmarks.speed import measure, seconds_of, warm_up
from benchmarks.tables import ruled
from model.backbone import BACKBONES, BATCHES_ON_GPU, PatchNetwork, load_backbone
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.devices import find_device
from model.errors import AnomalyError
from model.evaluation import auroc

BATCHES = (*BATCHES_ON_GPU, 128)
REPEATS = 20
LEARNED = 50
BACKBONE_HEAD = (
    "| backbone | pixels | batch | ms | pictures/s | GFLOP | share of the peak | MB moved | share of the peak |"
)
DETECTOR_HEAD = (
    "| data | learned | CPU: AUROC | fit s | pictures/s | GPU: AUROC | fit s | pictures/s | score moves, most |"
    " verdicts that differ | GPU MB |"
)


def main() -> None:
    options = _options()
    try:
        device = find_device(options.device)
    except AnomalyError as error:
        raise SystemExit(f"nothing to measure: {error}") from error
    if device.type != "cuda":
        raise SystemExit("nothing to measure: there is no GPU of NVIDIA's here")
    arithmetic, memory = peak_arithmetic(device), peak_memory(device)
    print(f"{torch.cuda.get_device_name(device)}: {arithmetic / 1e12:.0f} TFLOP/s in half precision, ", end="")
    print(f"{memory / 1e12:.1f} TB/s, beside {os.cpu_count()} CPU cores\n\n{ruled(BACKBONE_HEAD)}")
    for name in BACKBONES:
        for line in backbone_lines(name, options.weights, device, arithmetic, memory):
            print(line, flush=True)
    data_sets = list(find_data_sets(options.data))
    print(f"\n{ruled(DETECTOR_HEAD)}")
    for data in data_sets:
        print(detector_line(data, device), flush=True)
    print(f"\n{ruled(speed.HEAD)}")
    for data in data_sets:
        for place in ("cpu", str(device)):
            for found in measure(DetectorConfig(), data.normal, (300,), device=place):
                print(found.line(f"{data.name} on {place}"), flush=True)


def backbone_lines(
    name: str, weights: Path | None, device: torch.device, arithmetic: float, memory: float
) -> Iterator[str]:
    """One row for each batch size, from pixels on the GPU to patch embeddings there."""
    own = weights / f"{name}.pth" if weights else None
    try:
        backbone = load_backbone(name, weights=own if own and own.exists() else None, device=str(device))
    except AnomalyError as error:
        yield f"| {name} | not measured: {error} |"
        return
    config = DetectorConfig(backbone=name)
    side = config.embedder().image_size
    network = backbone.patches
    assert isinstance(network, PatchNetwork)
    flop, moved = needs(network, torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device))
    for batch in BATCHES:
        pixels = torch.randint(256, (batch, side, side, 3), dtype=torch.uint8, device=device)
        seconds = typical_seconds(lambda pixels=pixels: network(pixels))  # type: ignore[misc]
        rate = batch / seconds
        yield (
            f"| {name} | {side} | {batch} | {1000 * seconds:.2f} | {rate:,.0f} | {flop / 1e9:.2f} |"
            f" {rate * flop / arithmetic:.1%} | {moved / 1e6:.0f} | {rate * moved / memory:.1%} |"
        )


def needs(network: PatchNetwork, pixels: Tensor) -> tuple[float, float]:
    """Of one picture the floating-point operations, and the bytes if each layer read and wrote its maps but once."""
    moved = [0]

    def count(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        moved[0] += sum(x.numel() * x.element_size() for x in (*inputs, output))

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(count) for module in layers]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(pixels)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops(), moved[0]


def detector_line(data: DataSet, device: torch.device) -> str:
    """The same pictures learned and judged on the CPU and on the GPU, and the CPU's model used on both."""
    parts = split(data, min(LEARNED, len(data.normal) // 2), seed=0)
    assert parts is not None
    learned = [data.normal[index] for index in parts.learned]
    judged = [*(data.normal[index] for index in parts.unseen), *data.abnormal]
    abnormal = np.arange(len(judged)) >= len(parts.unseen)
    cells, models = [], []
    torch.cuda.reset_peak_memory_stats(device)
    for place in ("cpu", str(device)):
        config = DetectorConfig()
        detector = AnomalyDetector(config, embedder=config.embedder(device=place))
        warm_up(detector.embedder, learned)
        fit = seconds_of(lambda detector=detector: detector.fit(learned))  # type: ignore[misc]
        scores, seconds = _judge(detector, judged)
        cells.append(f"{auroc(scores, abnormal):.3f} | {fit:.2f} | {len(judged) / seconds:.0f}")
        models.append((detector, scores))
    (on_cpu, before), (on_gpu, _) = models
    moved, _ = _judge(AnomalyDetector.from_bytes(on_cpu.to_bytes(), embedder=on_gpu.embedder), judged)
    threshold = on_cpu.calibration.threshold
    most = np.max(np.abs(moved - before) / before)
    flips = int(np.sum((moved > threshold) != (before > threshold)))
    used = torch.cuda.max_memory_allocated(device) / 2**20
    return (
        f"| {data.name} | {len(learned)} | {' | '.join(cells)} | {most:.2%} | {flips} of {len(judged)} | {used:.0f} |"
    )


def peak_arithmetic(device: torch.device, side: int = 8192) -> float:
    """FLOP/s of a large matrix product in half precision."""
    left, right = (torch.randn(side, side, dtype=torch.float16, device=device) for _ in range(2))
    return 2 * side**3 / typical_seconds(lambda: left @ right)


def peak_memory(device: torch.device, size: int = 2**31) -> float:
    """Bytes/s of a large copy, read and written."""
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / typical_seconds(lambda: target.copy_(source))


@torch.inference_mode()
def typical_seconds(work: Callable[[], object]) -> float:
    """Median by the GPU's own clock, once warm."""
    times = []
    for repeat in range(3 + REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        work()
        end.record()
        end.synchronize()
        if repeat >= 3:
            times.append(float(start.elapsed_time(end)) / 1000)
    return statistics.median(times)


def _judge(detector: AnomalyDetector, pictures: Sequence[Path]) -> tuple[NDArray[np.float64], float]:
    """Raw scores, and the seconds that judging took, from the files on."""
    started = time.perf_counter()
    scores = [prediction.raw_score for prediction in detector.predict(pictures)]
    return np.array(scores), time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ... (cuda)")
    parser.add_argument("--weights", type=Path, help="folder of BACKBONE.pth, for those whose weights cannot be had")
    return parser.parse_args()


if __name__ == "__main__":
    main()
