"""Where to look in a picture: rectangles of interest, less rectangles to ignore.

What lies outside is blanked before the network sees it, because deep layers look far around each place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

RASTER = 400
"""Cells a side in which areas are drawn: a quarter of a per cent each."""

INSIDE = 0.5
SMALLEST = 0.01
"""In per cent: what is narrower is a slip of the mouse, and sums of rounded numbers may be that much over 100."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """In per cent of the upright picture's width and height, from its top left corner."""

    x: float
    y: float
    width: float
    height: float


def parse_rectangles(text: str) -> tuple[Rectangle, ...]:
    """`10,10,80,80; 0,90,20,10` -> two rectangles. Raises ValueError, in words, on anything else."""
    return tuple(_parse_one(part) for part in text.split(";") if part.strip())


def write_rectangles(rectangles: Iterable[Rectangle]) -> str:
    """What `parse_rectangles` reads, to the hundredth of a per cent; those without any area are left out."""
    return "; ".join(
        ",".join(f"{number:.2f}" for number in (one.x, one.y, one.width, one.height))
        for one in rectangles
        if min(one.width, one.height) >= SMALLEST
    )


@dataclass(frozen=True, slots=True)
class Area:
    """The part of a picture that counts.

    roi: rectangles to look at; empty for the whole picture. ignore: rectangles to leave out. Raises ValueError, in
    words, when they cannot be read or leave nothing to look at.
    """

    roi: str = ""
    ignore: str = ""

    def __post_init__(self) -> None:
        if not _leaves_something(self):
            raise ValueError("nothing is left to look at: the rectangles to ignore cover all of it")

    @property
    def is_whole(self) -> bool:
        return not (self.roi.strip() or self.ignore.strip())

    def inside(self, height: int, width: int) -> Tensor:
        """Which cells of a map count: bool (height, width).

        A cell counts when half of it does; where that leaves none, because cells are larger than the area, those
        that touch it count.
        """
        return _inside(self, height, width)


@lru_cache(maxsize=64)
def _leaves_something(area: Area) -> bool:
    """Remembered, as a config makes its area anew for every picture that is judged."""
    return bool(_draw(area).any())


@lru_cache(maxsize=64)
def _inside(area: Area, height: int, width: int) -> Tensor:
    shares = F.adaptive_avg_pool2d(_draw(area)[None, None], (height, width))[0, 0]
    inside = shares >= INSIDE
    return inside if bool(inside.any()) else shares > 0


def _draw(area: Area) -> Tensor:
    """float32 (RASTER, RASTER), 1 where the picture counts."""
    drawn = torch.zeros(RASTER, RASTER) if area.roi.strip() else torch.ones(RASTER, RASTER)
    for rows, columns in map(_slices, parse_rectangles(area.roi)):
        drawn[rows, columns] = 1
    for rows, columns in map(_slices, parse_rectangles(area.ignore)):
        drawn[rows, columns] = 0
    return drawn


def _slices(rectangle: Rectangle) -> tuple[slice, slice]:
    return _span(rectangle.y, rectangle.height), _span(rectangle.x, rectangle.width)


def _span(start: float, length: float) -> slice:
    first = min(round(start / 100 * RASTER), RASTER - 1)
    return slice(first, max(first + 1, round((start + length) / 100 * RASTER)))


def _parse_one(text: str) -> Rectangle:
    try:
        x, y, width, height = _numbers(text)
    except ValueError as error:
        raise ValueError(f"must be x,y,width,height in per cent of the picture, not {text.strip()!r}") from error
    if not (x >= 0 and y >= 0 and width > 0 and height > 0 and max(x + width, y + height) <= 100 + SMALLEST):
        raise ValueError(f"must lie within the picture, 0 to 100 per cent, unlike {text.strip()!r}")
    return Rectangle(x, y, width, height)


def _numbers(text: str) -> Iterator[float]:
    return (float(number) for number in text.split(","))
