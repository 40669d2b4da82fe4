"""Measures where the time goes: learning from files by phase, adding one picture, judging one.

python -m benchmarks.speed --data FOLDER/NAME [--size 224] [--learn 50 200]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import torch

from benchmarks.embedded import readable
from benchmarks.tables import ruled
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedder, Embedding
from model.images import find_images, read_image, to_array

LEARNED = (50, 300)
JUDGED = 30
HEAD = (
    "| data | pixels | learned | reading s | altered s | bank s | all s | add one s |"
    " decode ms | network ms | search ms | peak MB |"
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Of a detector that learned so many pictures: seconds by phase, milliseconds to judge one, by phase.

    reading: decoding and embedding. altered: the same under other light and position. bank: with the threshold.
    added: one more picture. peak_mb: of the whole process so far.
    """

    pixels: int
    learned: int
    reading: float
    altered: float
    bank: float
    added: float
    decode_ms: float
    network_ms: float
    search_ms: float
    peak_mb: float

    def line(self, data: str) -> str:
        """A row below HEAD."""
        total = self.reading + self.altered + self.bank
        seconds = " | ".join(f"{phase:.2f}" for phase in (self.reading, self.altered, self.bank, total, self.added))
        milliseconds = " | ".join(f"{phase:.1f}" for phase in (self.decode_ms, self.network_ms, self.search_ms))
        return f"| {data} | {self.pixels} | {self.learned} | {seconds} | {milliseconds} | {self.peak_mb:.0f} |"


def main() -> None:
    options = _options()
    paths = find_images(options.data / "normal" if (options.data / "normal").is_dir() else options.data)
    print(ruled(HEAD))
    for size in options.size:
        for speed in measure(DetectorConfig(image_size=size), paths, options.learn, device=options.device):
            print(speed.line(options.data.name), flush=True)


def measure(
    config: DetectorConfig, paths: Sequence[Path], learned: Sequence[int] = LEARNED, *, device: str = "auto"
) -> Iterator[Speed]:
    """One row for each number of pictures to learn, of all but the last where there are fewer."""
    for count in learned:
        detector = AnomalyDetector(config, embedder=config.embedder(device=device))
        warm_up(detector.embedder, paths)
        phases = _learn(detector, paths[: min(count, len(paths) - 1)])
        added = seconds_of(lambda detector=detector: detector.extend(paths[-1:]))  # type: ignore[misc]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield Speed(
            detector.config.image_size, len(detector.training) - 1, *phases, added, *_judge(detector, paths), peak
        )


def warm_up(embedder: Embedder, paths: Sequence[Path]) -> None:
    """Loads and compiles the network, on a GPU for each length of batch."""
    for length in {1, 2, embedder.batch}:
        list(embedder.embed(paths[:length]))


def _learn(detector: AnomalyDetector, paths: Sequence[Path]) -> tuple[float, float, float]:
    started = time.perf_counter()
    embeddings = list(readable(detector.embedder.embed(paths)))
    read = time.perf_counter()
    names = [str(place) for place in range(len(embeddings))]
    altered = detector.embed_altered(paths, names)
    embedded = time.perf_counter()
    detector.fit_embeddings(embeddings, names, altered=altered)
    return read - started, embedded - read, time.perf_counter() - embedded


def _judge(detector: AnomalyDetector, paths: Sequence[Path]) -> tuple[float, float, float]:
    """Medians of decoding, of the network and of judging."""
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


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of normal pictures, or one that has `normal`")
    parser.add_argument("--size", type=int, nargs="+", default=[224, DetectorConfig().image_size], help="in pixels")
    parser.add_argument("--learn", type=int, nargs="+", default=LEARNED, help="how many pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (auto)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
