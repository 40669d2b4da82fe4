"""Whether defects of ten pixels are found in pictures of 4,000: real pictures, enlarged, real defects pasted in.

The pictures are the data sets' normal ones; the defects come from whichever sets have masks. Learns ten pictures, and
judges others with and without a defect. Prints AUROC, the shares called abnormal, and how often a place was drawn where
the defect is, without tiles and with TILES=auto.

python -m benchmarks.small_defects [--data FOLDER] [--side 4000] [--defect 10] [--learned 10] [--judged 12]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from benchmarks.datasets import DataSet, add_data_option, find_data_sets
from benchmarks.embedded import called_abnormal
from benchmarks.tables import table
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.evaluation import auroc
from model.images import read_image
from model.prediction import Prediction

TILES = ("1x1", "auto")
EDGE = 2
"""Pixels of its ground that a defect is cut out with."""
SMALLEST, LARGEST, SLENDEREST = 12, 80, 3
"""Pixels of the defects that are cut out, by their longer side, and how many times as long as wide they may be."""
NEAR = 0.01
"""A place is where the defect is if it begins within this share of the picture's side of it."""


class Defect(NamedTuple):
    """pixels: with some of the ground around it. mask: white where the defect is."""

    pixels: Image.Image
    mask: Image.Image

    @property
    def ground(self) -> NDArray[np.float64]:
        """The mean colour around the defect, (3,)."""
        outside = np.asarray(self.mask) < 128
        mean: NDArray[np.float64] = np.asarray(self.pixels)[outside].mean(axis=0)
        return mean

    def resized(self, longer: int) -> Defect:
        """With so many pixels on the longer side."""
        scale = longer / max(self.pixels.size)
        width, height = (max(2, round(side * scale)) for side in self.pixels.size)
        return Defect(*(one.resize((width, height), Image.Resampling.LANCZOS) for one in self))


@dataclass(frozen=True, slots=True)
class Pair:
    """What is said of a picture as it is and with a defect, whose middle is at `x`, `y`, as shares of its sides."""

    clean: Prediction
    spoilt: Prediction
    x: float
    y: float

    @property
    def is_drawn(self) -> bool:
        """Whether one of the places is where the defect is."""
        return any(
            one.x - NEAR <= self.x <= one.x + one.width + NEAR and one.y - NEAR <= self.y <= one.y + one.height + NEAR
            for one in self.spoilt.regions
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--side", type=int, default=4000, help="pixels of the pictures")
    parser.add_argument("--defect", type=int, default=10, help="pixels of the defects' longer side")
    parser.add_argument("--learned", type=int, default=10)
    parser.add_argument("--judged", type=int, default=12)
    options = parser.parse_args()
    sets = [*find_data_sets(options.data)]
    defects = [defect.resized(options.defect) for data in sets for defect in _cut_out(data)]
    if not defects:
        parser.error(f"no data set in {options.data} has a mask with one small defect")
    rows = []
    for data in sets:
        chosen = np.random.default_rng(0).permutation(len(data.normal))[: options.learned + options.judged]
        paths = [data.normal[index] for index in chosen]
        for tiles in TILES:
            rows.append(_row(data.name, tiles, paths, defects, options))
    print(table(rows))


def _cut_out(data: DataSet) -> Iterator[Defect]:
    """The defects of pictures that show a single one, if it is small and compact."""
    for path, mask_path in zip(data.abnormal, data.masks, strict=True):
        if mask_path is None:
            continue
        mask = Image.open(mask_path).convert("L")
        labels, found = ndimage.label(np.asarray(mask) > 127)
        if found != 1:
            continue
        rows, columns = ndimage.find_objects(labels)[0]
        shorter, longer = sorted((rows.stop - rows.start, columns.stop - columns.start))
        if SMALLEST <= longer <= min(LARGEST, SLENDEREST * shorter):
            box = (columns.start - EDGE, rows.start - EDGE, columns.stop + EDGE, rows.stop + EDGE)
            yield Defect(read_image(path).image.crop(box), mask.crop(box))


def _row(
    name: str, tiles: str, paths: Sequence[Path], defects: Sequence[Defect], options: argparse.Namespace
) -> dict[str, str | float]:
    learned, judged = paths[: options.learned], paths[options.learned :]
    detector = AnomalyDetector(DetectorConfig(tiles=tiles)).fit([_enlarged(path, options.side) for path in learned])
    started = time.perf_counter()
    pairs = [*tqdm(_judge(detector, judged, defects, options.side), f"{name}, {tiles}", len(judged), leave=False)]
    seconds = (time.perf_counter() - started) / (2 * len(pairs))
    scores = np.array([[pair.clean.raw_score, pair.spoilt.raw_score] for pair in pairs])
    return {
        "data": name,
        "tiles": detector.config.tiles,
        "AUROC": f"{auroc(scores.ravel(), np.tile([False, True], len(pairs))):.3f}",
        "called abnormal as they are": f"{called_abnormal(scores[:, 0], detector):.0%}",
        "with a defect": f"{called_abnormal(scores[:, 1], detector):.0%}",
        "drawn where it is": f"{np.mean([pair.is_drawn for pair in pairs]):.0%}",
        "s a picture": f"{seconds:.2f}",
    }


def _judge(detector: AnomalyDetector, paths: Sequence[Path], defects: Sequence[Defect], side: int) -> Iterator[Pair]:
    generator = np.random.default_rng(1)
    for path in paths:
        picture, defect = _enlarged(path, side), defects[int(generator.integers(len(defects)))]
        left, top = (int(share * side) for share in generator.uniform(0.15, 0.85, 2))
        clean, spoilt = detector.predict([picture, _with(defect, picture, left, top)])
        width, height = defect.pixels.size
        yield Pair(clean, spoilt, (left + width / 2) / side, (top + height / 2) / side)


def _enlarged(path: Path, side: int) -> Image.Image:
    return read_image(path).image.resize((side, side), Image.Resampling.LANCZOS)


def _with(defect: Defect, picture: Image.Image, left: int, top: int) -> Image.Image:
    """The picture with a defect that is as much darker or brighter than its ground as it was where it comes from."""
    width, height = defect.pixels.size
    there = np.asarray(picture.crop((left - width, top - height, left + 2 * width, top + 2 * height))).mean(axis=(0, 1))
    lit = np.asarray(defect.pixels) * (there / np.maximum(defect.ground, 1))
    spoilt = picture.copy()
    spoilt.paste(Image.fromarray(lit.clip(0, 255).astype(np.uint8)), (left, top), defect.mask)
    return spoilt


if __name__ == "__main__":
    main()
