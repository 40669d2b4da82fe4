"""Data sets laid out as <name>/normal, <name>/abnormal/<kind> and, for some, <name>/masks/<kind>."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.images import find_images

HELD_OUT = 0.3


@dataclass(frozen=True, slots=True)
class DataSet:
    """normal, abnormal: pictures. masks: of each abnormal picture, white where it is anomalous, or None."""

    name: str
    normal: tuple[Path, ...]
    abnormal: tuple[Path, ...]
    masks: tuple[Path | None, ...]

    @property
    def pictures(self) -> list[Path]:
        """All of them, the normal ones first."""
        return [*self.normal, *self.abnormal]


@dataclass(frozen=True, slots=True)
class Split:
    """learned, unseen: indices of normal pictures, int64."""

    learned: NDArray[np.int64]
    unseen: NDArray[np.int64]


def data_folder() -> Path:
    """Where data sets are, unless told otherwise: ANOMALY_DATA, or a folder beside the checkout."""
    return Path(os.environ.get("ANOMALY_DATA") or Path(__file__).parents[2] / "shared" / "data")


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """--data FOLDER, where `find_data_sets` looks."""
    parser.add_argument("--data", type=Path, default=data_folder(), help="folder of data sets (ANOMALY_DATA)")


def data_option(description: str | None) -> Path:
    """The folder of data sets, for a benchmark that takes no other option."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    folder: Path = parser.parse_args().data
    return folder


def find_data_sets(folder: Path) -> Iterator[DataSet]:
    """Every data set below `folder`."""
    for root in sorted(path for path in folder.iterdir() if (path / "normal").is_dir()):
        abnormal = tuple(find_images(root / "abnormal"))
        masks = (root / "masks" / path.parent.name / f"{path.stem}.png" for path in abnormal)
        yield DataSet(
            root.name,
            tuple(find_images(root / "normal")),
            abnormal,
            tuple(mask if mask.exists() else None for mask in masks),
        )


def split(data: DataSet, n: int | None, seed: int) -> Split | None:
    """n normal pictures to learn (None: all) and those held out; None where there are not so many."""
    shuffled = np.random.default_rng(seed).permutation(len(data.normal))
    held_out = round(HELD_OUT * len(shuffled))
    learned = shuffled[held_out:]
    if n is not None and n > len(learned):
        return None
    return Split(learned[:n], shuffled[:held_out])
