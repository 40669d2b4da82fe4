"""What it is worth to tell which pictures show the same part.

Of each part several pictures are learned that differ a little, as frames of one film do; new parts are judged. Prints
false alarms and the share of anomalies found without and with the parts named.

python -m benchmarks.parts --data FOLDER
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from tqdm import tqdm

from benchmarks.datasets import DataSet, Split, data_option, find_data_sets, split
from benchmarks.embedded import readable
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.images import read_image

PARTS = 15
SEEDS = 4
FRAMES = ((0, 1.0, 95), (1, 0.97, 85), (2, 1.03, 80), (3, 1.01, 90))
"""Of each frame of a film: its shift in 0.4 % of the width, its brightness, its JPEG quality."""
HEAD = "| data | parts not named: false alarms | found | named: false alarms | found |"


def main() -> None:
    folder = data_option(__doc__)
    print(f"{HEAD}\n{'|---' * HEAD.count(' |')}|")
    for data in find_data_sets(folder):
        runs = tqdm(range(SEEDS), desc=data.name, leave=False)
        shares = np.mean([measure(data, seed) for seed in runs], axis=0)
        print(f"| {data.name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


def measure(data: DataSet, seed: int) -> list[float]:
    """False alarms and share of anomalies found, without and with the parts named."""
    parts = split(data, PARTS, seed)
    assert parts is not None
    untrained = AnomalyDetector()
    pictures = [frame(data.normal[index], number) for index in parts.learned for number in range(len(FRAMES))]
    names = [f"{index} {number}" for index in parts.learned for number in range(len(FRAMES))]
    embed = untrained.embedder.embed
    embeddings, altered = list(readable(embed(pictures))), untrained.embed_altered(pictures, names)
    normal, abnormal = (list(readable(embed(judged))) for judged in (_one_frame_each(data, parts), data.abnormal))
    rates = []
    for named in ({}, {name: name.split()[0] for name in names}):
        trained = AnomalyDetector(untrained.config, embedder=untrained.embedder).fit_embeddings(
            embeddings, names, altered=altered, parts=named
        )
        rates += [_called_abnormal(trained, normal), _called_abnormal(trained, abnormal)]
    return rates


def frame(path: Path, number: int) -> bytes:
    """A picture as the frame of this number shows it, JPEG."""
    shift, brightness, quality = FRAMES[number]
    pixels = np.asarray(read_image(path).image)
    moved = _shifted(pixels, shift * max(1, round(0.004 * pixels.shape[1])))
    content = io.BytesIO()
    ImageEnhance.Brightness(Image.fromarray(moved)).enhance(brightness).save(content, "JPEG", quality=quality)
    return content.getvalue()


def _shifted(pixels: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    return np.pad(pixels, ((0, 0), (by, 0), (0, 0)), mode="edge")[:, : pixels.shape[1]]


def _one_frame_each(data: DataSet, parts: Split) -> Iterator[bytes]:
    for place, index in enumerate(parts.unseen):
        yield frame(data.normal[index], place % len(FRAMES))


def _called_abnormal(trained: AnomalyDetector, judged: Sequence[Embedding]) -> float:
    scores = np.array([trained.raw_score(embedding) for embedding in judged])
    return float(np.mean(scores > trained.calibration.threshold))


if __name__ == "__main__":
    main()
