"""Large pictures in overlapping tiles, so that small defects keep enough pixels; one map comes out again.

Each tile goes through the network by itself. Of the overlap every tile gives up a margin, where the network sees the
tile's edge, so that the stitched feature maps are those of one large picture, but for its far surroundings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = TypeVar("Pixels", NDArray[np.uint8], Tensor)

AUTO = "auto"
MOST_TILES = 8
DETAIL = 2


class Grid(NamedTuple):
    """How many tiles stand below and beside each other."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def detail(self) -> int:
        """How many times as fine as the network sees them pictures are read.

        Tiles are asked for where defects are small: those too small for the network are found without it, by
        `model.specks`.
        """
        return 1 if self == WHOLE else DETAIL


WHOLE = Grid(1, 1)


def parse_tiles(text: str) -> Grid:
    """`3x4` -> Grid(3, 4). Raises ValueError, in words, on anything else or on more than MOST_TILES a side."""
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise ValueError(f"must be {AUTO} or ROWSxCOLUMNS such as 2x3, not {text!r}")
    grid = Grid(int(rows), int(columns))
    if not (1 <= grid.rows <= MOST_TILES and 1 <= grid.columns <= MOST_TILES):
        raise ValueError(f"must have 1 to {MOST_TILES} tiles a side, not {text!r}")
    return grid


def choose_tiles(sizes: Iterable[tuple[float, float]], image_size: int) -> Grid:
    """The tiles for pictures of these (width, height): each covers about twice `image_size` pixels a side."""
    width, height = np.median(np.array(list(sizes)), axis=0)
    rows, columns = (min(MOST_TILES, max(1, round(side / (2 * image_size)))) for side in (height, width))
    return Grid(rows, columns)


def canvas(grid: Grid, side: int, overlap: int) -> tuple[int, int]:
    """(height, width) that a picture is resized to, so that tiles of `side` with `overlap` cover it exactly."""
    return side + (grid.rows - 1) * (side - overlap), side + (grid.columns - 1) * (side - overlap)


def cut(pixels: Pixels, grid: Grid, side: int, overlap: int) -> list[Pixels]:
    """uint8 (H, W, 3), the size of the canvas -> its tiles, uint8 (side, side, 3), row by row."""
    step = side - overlap
    return [
        pixels[row * step : row * step + side, column * step : column * step + side]
        for row in range(grid.rows)
        for column in range(grid.columns)
    ]


def stitch(tiles: Sequence[tuple[Tensor, ...]], grid: Grid, side: int, overlap: int) -> tuple[Tensor, ...]:
    """The layers (h, w, C) of each tile, row by row -> one (H, W, C) for each layer."""
    if len(tiles) == 1:
        return tiles[0]
    return tuple(_stitch_layer(layer, grid, side, overlap) for layer in zip(*tiles, strict=True))


def _stitch_layer(tiles: Sequence[Tensor], grid: Grid, side: int, overlap: int) -> Tensor:
    cells = tiles[0].shape[0]
    margin = overlap * cells // side // 2
    rows = []
    for row in range(grid.rows):
        line = tiles[row * grid.columns : (row + 1) * grid.columns]
        inner = [_without_margins(tile, 1, column, grid.columns, margin) for column, tile in enumerate(line)]
        rows.append(_without_margins(torch.cat(inner, dim=1), 0, row, grid.rows, margin))
    return torch.cat(rows, dim=0)


def _without_margins(tile: Tensor, dim: int, place: int, count: int, margin: int) -> Tensor:
    """Margins are kept only where the picture ends."""
    start = margin if place > 0 else 0
    end = tile.shape[dim] - (margin if place < count - 1 else 0)
    return tile.narrow(dim, start, end - start)
