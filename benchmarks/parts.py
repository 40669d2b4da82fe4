"""What it is worth to know which pictures show the same part, named by people or recognised.

Of each part several pictures are learned that differ a little, as frames of one film do; new parts are judged. Prints
false alarms and the share of anomalies found where each picture counts as a part, where parts are recognised and where
they are named.

python -m benchmarks.parts --data FOLDER
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance
from tqdm import tqdm

from benchmarks.datasets import DataSet, data_option, find_data_sets, split
from benchmarks.embedded import called_abnormal, raw_scores, readable
from benchmarks.tables import ruled
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.images import read_image

PARTS = 15
SEEDS = 4
MARGIN = 0.05
"""Share of the side that is added around a picture before it is turned."""
HEAD = "| data | pictures | each a part: false alarms | found | recognised | found | named | found |"


class Frame(NamedTuple):
    """One of several pictures of a part: its shift in 0.4 % of the width, brightness, JPEG quality, turn in degrees."""

    shift: int
    brightness: float
    quality: int
    turn: float = 0


class Pictures(NamedTuple):
    """How parts are pictured: `frames` of each `every`-th part, only the first of them of the others."""

    frames: tuple[Frame, ...]
    every: int = 1

    def of(self, place: int) -> tuple[Frame, ...]:
        """Those of the part at this place."""
        return self.frames if place % self.every == 0 else self.frames[:1]


FILM = (Frame(0, 1.0, 95), Frame(1, 0.97, 85), Frame(2, 1.03, 80), Frame(3, 1.01, 90))
HELD = (FILM[0], Frame(4, 0.94, 85, turn=1.5))
WAYS = {
    "4 frames of each part": Pictures(FILM),
    "2 frames of each part": Pictures((FILM[0], FILM[2])),
    "each saved anew": Pictures((FILM[0], Frame(0, 1.0, 80))),
    "4 frames of each third part": Pictures(FILM, every=3),
    "2 of each part from the hand": Pictures(HELD),
}


def main() -> None:
    folder = data_option(__doc__)
    print(ruled(HEAD))
    for data in find_data_sets(folder):
        untrained = AnomalyDetector()
        abnormal = list(readable(untrained.embedder.embed(data.abnormal)))
        for way, pictures in WAYS.items():
            runs = tqdm(range(SEEDS), desc=f"{data.name}, {way}", leave=False)
            shares = np.mean([measure(data, untrained, abnormal, pictures, seed) for seed in runs], axis=0)
            print(f"| {data.name} | {way} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True)


def measure(
    data: DataSet, untrained: AnomalyDetector, abnormal: Sequence[Embedding], pictures: Pictures, seed: int
) -> list[float]:
    """False alarms and share of anomalies found: each picture a part, parts recognised, parts named."""
    parts = split(data, PARTS, seed)
    assert parts is not None
    shown = [(int(index), one) for place, index in enumerate(parts.learned) for one in pictures.of(place)]
    learned = [frame(data.normal[index], one) for index, one in shown]
    names = [f"picture {place}" for place in range(len(shown))]
    embeddings = list(readable(untrained.embedder.embed(learned)))
    altered = untrained.embed_altered(learned, names)
    judged = [frame(data.normal[index], one) for index, one in zip(parts.unseen, cycle(pictures.frames), strict=False)]
    normal = list(readable(untrained.embedder.embed(judged)))
    named = {name: str(index) for name, (index, _) in zip(names, shown, strict=True)}
    rates = []
    for told in ({name: name for name in names}, {}, named):
        trained = AnomalyDetector(untrained.config, embedder=untrained.embedder).fit_embeddings(
            embeddings, names, altered=altered, parts=told
        )
        rates += [called_abnormal(raw_scores(trained, judged), trained) for judged in (normal, abnormal)]
    return rates


def frame(path: Path, shown: Frame) -> bytes:
    """A picture as this frame shows it, JPEG."""
    pixels = np.asarray(read_image(path).image)
    step, margin = max(1, round(0.004 * pixels.shape[1])), round(MARGIN * max(pixels.shape))
    wide = np.pad(pixels, ((margin, margin), (margin + shown.shift * step, margin), (0, 0)), mode="edge")
    turned = np.asarray(Image.fromarray(wide).rotate(shown.turn, Image.Resampling.BICUBIC))
    height, width = pixels.shape[:2]
    moved = Image.fromarray(turned[margin : margin + height, margin : margin + width])
    content = io.BytesIO()
    ImageEnhance.Brightness(moved).enhance(shown.brightness).save(content, "JPEG", quality=shown.quality)
    return content.getvalue()


if __name__ == "__main__":
    main()
