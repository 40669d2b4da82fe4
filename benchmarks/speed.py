"""Measures where the time goes: learning from files by phase, judging one picture, adding one, memory.

python -m benchmarks.speed --data FOLDER/NAME [--size 224] [--learn 50 200]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import torch

from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.images import find_images, read_image, to_array

JUDGED = 30


def main() -> None:
    options = _options()
    paths = find_images(options.data / "normal" if (options.data / "normal").is_dir() else options.data)
    print("| size | learned | reading s | altered s | bank s | all s | add one s |")
    print("|---|---|---|---|---|---|---|")
    for size in options.size:
        for count in options.learn:
            detector = AnomalyDetector(DetectorConfig(image_size=size))
            list(detector.embedder.embed(paths[:1]))  # the network is loaded and compiled
            learned = list(islice(cycle(paths), count))
            reading, altered, bank = _learn(detector, learned)
            added = _seconds(lambda detector=detector: detector.extend(paths[:1]))  # type: ignore[misc]
            total = reading + altered + bank
            print(
                f"| {size} | {count} | {reading:.2f} | {altered:.2f} | {bank:.2f} | {total:.2f} | {added:.3f} |",
                flush=True,
            )
        decode, network, search = _judge(detector, paths)
        print(f"\n{size} px, one picture: decode {decode:.1f} ms, network {network:.1f} ms, search {search:.1f} ms\n")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _learn(detector: AnomalyDetector, paths: Sequence[Path]) -> tuple[float, float, float]:
    """Seconds of reading and embedding, of the same for altered pictures, and of making the bank and its threshold."""
    started = time.perf_counter()
    embeddings = [item for item in detector.embedder.embed(paths) if isinstance(item, Embedding)]
    read = time.perf_counter()
    names = [str(place) for place in range(len(embeddings))]
    altered = detector.embed_altered(paths, names)
    embedded = time.perf_counter()
    detector.fit_embeddings(embeddings, names, altered=altered)
    return read - started, embedded - read, time.perf_counter() - embedded


def _judge(detector: AnomalyDetector, paths: Sequence[Path]) -> tuple[float, float, float]:
    """Median milliseconds of decoding, of the network and of judging one picture."""
    embedder, times = detector.embedder, ([], [], [])  # type: ignore[var-annotated]
    for path in islice(cycle(paths), JUDGED):
        started = time.perf_counter()
        pixels = to_array(read_image(path, enough=max(embedder.canvas)).image, embedder.canvas)
        decoded = time.perf_counter()
        layers = embedder.backbone.embed(torch.from_numpy(pixels.copy())[None])[0]
        embedded = time.perf_counter()
        detector.judge(Embedding(layers, *embedder.canvas))
        judged = time.perf_counter()
        for seconds, phase in zip((decoded - started, embedded - decoded, judged - embedded), times, strict=True):
            phase.append(1000 * seconds)
    decode, network, search = map(statistics.median, times)
    return decode, network, search


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of normal pictures, or one that has `normal`")
    parser.add_argument("--size", type=int, nargs="+", default=[224, DetectorConfig().image_size], help="in pixels")
    parser.add_argument("--learn", type=int, nargs="+", default=[50, 300], help="how many pictures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
