"""Where to look in a picture: rectangles of interest, less rectangles to ignore.

The network sees what they span, its frame, as large as it would see the whole picture. What does not count within the
frame is blanked before, because deep layers look far around each place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

RASTER = 400
"""Cells a side in which areas are drawn: a quarter of a per cent each."""

SMALLEST_FRAME = 0.1
"""Share of the picture's side: so much at least is seen, as what is smaller would be pixels."""
NARROWEST_FRAME = 0.5
"""Share of its longer side that a frame's shorter side has, both in shares of the picture: it is not stretched more."""
INSIDE = 0.5
SMALLEST = 0.01
"""In per cent: what is narrower is a slip of the mouse, and sums of rounded numbers may be that much over 100."""


class Frame(NamedTuple):
    """A rectangle in shares of the picture's width and height, from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x < self.right and self.top <= y < self.bottom


@dataclass(frozen=True, slots=True)
class Rectangle:
    """In per cent of the upright picture's width and height, from its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def frame(self) -> Frame:
        right, bottom = min(100, self.x + self.width), min(100, self.y + self.height)
        return Frame(self.x / 100, self.y / 100, right / 100, bottom / 100)


ALL = Frame(0, 0, 1, 1)


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

    @property
    def frame(self) -> Frame:
        """What the network sees: the smallest that holds all that counts, with SMALLEST_FRAME and NARROWEST_FRAME."""
        return _frame(self)

    @property
    def fills_frame(self) -> bool:
        """Whether all of the frame counts."""
        return bool(_inside(self, RASTER, RASTER).all())

    def inside(self, height: int, width: int) -> Tensor:
        """Which cells of a map of the frame count: bool (height, width).

        A cell counts when half of it does; where that leaves none, because cells are larger than the area, those
        that touch it count.
        """
        return _inside(self, height, width)

    def around(self, height: int, width: int) -> tuple[int, int, int, int]:
        """What is missing left, right, above and below a map of the frame, in its cells, to be one of the picture."""
        frame = self.frame
        rows, columns = round(height / frame.height), round(width / frame.width)
        left, above = min(round(frame.left * columns), columns - width), min(round(frame.top * rows), rows - height)
        return left, columns - width - left, above, rows - height - above

    def in_picture(self, framed: Tensor) -> Tensor:
        """A map of the frame, float32 (h, w) -> the same place in one of the whole picture, which is 0 elsewhere."""
        height, width = map(int, framed.shape)  # numbers, where a graph is traced
        return F.pad(framed, self.around(height, width))


@lru_cache(maxsize=64)
def _leaves_something(area: Area) -> bool:
    """Remembered, as a config makes its area anew for every picture that is judged."""
    return bool(_counting(area)) and bool(_draw(area, ALL).any())


@lru_cache(maxsize=64)
def _frame(area: Area) -> Frame:
    lefts, tops, rights, bottoms = zip(*_counting(area), strict=True)
    left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
    least = max(SMALLEST_FRAME, NARROWEST_FRAME * max(right - left, bottom - top))
    (left, right), (top, bottom) = _widened(left, right, least), _widened(top, bottom, least)
    return Frame(left, top, right, bottom)


def _counting(area: Area) -> list[Frame]:
    """What counts, as rectangles that no edge goes through."""
    wanted, unwanted = _frames(area.roi) or [ALL], _frames(area.ignore)
    columns = pairwise(sorted({edge for one in (*wanted, *unwanted) for edge in (one.left, one.right)}))
    rows = pairwise(sorted({edge for one in (*wanted, *unwanted) for edge in (one.top, one.bottom)}))
    return [
        Frame(left, top, right, bottom)
        for (left, right), (top, bottom) in product(columns, rows)
        if any(one.holds(left, top) for one in wanted) and not any(one.holds(left, top) for one in unwanted)
    ]


def _frames(text: str) -> list[Frame]:
    return [rectangle.frame for rectangle in parse_rectangles(text)]


def _widened(start: float, end: float, least: float) -> tuple[float, float]:
    """To a length of `least`, around the same middle as far as the picture goes."""
    length = max(end - start, least)
    start = min(max(0.0, (start + end - length) / 2), 1 - length)
    return start, start + length


@lru_cache(maxsize=64)
def _inside(area: Area, height: int, width: int) -> Tensor:
    shares = F.adaptive_avg_pool2d(_draw(area, area.frame)[None, None], (height, width))[0, 0]
    inside = shares >= INSIDE
    return inside if bool(inside.any()) else shares > 0


def _draw(area: Area, frame: Frame) -> Tensor:
    """float32 (RASTER, RASTER), 1 where what is in the frame counts."""
    drawn = torch.zeros(RASTER, RASTER) if area.roi.strip() else torch.ones(RASTER, RASTER)
    for value, rectangles in ((1, area.roi), (0, area.ignore)):
        for one in _frames(rectangles):
            rows = _cells(one.top - frame.top, one.bottom - frame.top, frame.height)
            drawn[rows, _cells(one.left - frame.left, one.right - frame.left, frame.width)] = value
    return drawn


def _cells(start: float, end: float, length: float) -> slice:
    """Those of RASTER between two edges, where all of them are so long together; at least one, if any is touched."""
    if end <= 0 or start >= length:
        return slice(0)
    first = min(max(0, round(start / length * RASTER)), RASTER - 1)
    return slice(first, max(first + 1, round(end / length * RASTER)))


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
