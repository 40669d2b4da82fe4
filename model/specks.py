"""What is too small for the network: the brightest and the darkest specks of each cell, in pixels finer than it sees.

A pit of a few pixels is gone once a large picture, or its tile, has been made as small as the network wants it. Here
each pixel is compared with its surroundings before that: differences of means, as of Viola and Jones, "Rapid Object
Detection using a Boosted Cascade of Simple Features" (2001), in place of Gaussians.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from model.strokes import DARK

EDGE = 4
"""Pixels by which a picture goes on beyond its edge: half of the largest surroundings."""
REACH = 3
"""A speck counts for so many cells a side around it, so that a single one weighs as much as the strangest patches."""


def specks(colours: Tensor, cell: int) -> Tensor:
    """Pixels of 0 to 255, float32 (B, 3, H, W) -> (B, 6, H / cell, W / cell).

    How much brighter than its surroundings the most extreme speck of a cell is, then how much darker, in logarithms of
    grey, so that other light changes neither: a pixel against 3 x 3, against 5 x 5, and 3 x 3 against 9 x 9.
    """
    grey = torch.log((colours[:, 0] + colours[:, 1] + colours[:, 2])[:, None] / 3 + DARK)
    beyond = F.pad(grey, (EDGE,) * 4, mode="replicate")
    small = _means(beyond, 3)
    large = _means(small, 3, apart=3)
    small = _without_edge(small, 3)
    middle = _without_edge(_means(beyond, 5), 2)
    differences = torch.cat([grey - small, grey - middle, small - large], dim=1)
    batch, kinds, height, width = differences.shape
    cells = differences.reshape(batch, kinds, height // cell, cell, width // cell, cell)
    extremes = torch.cat([cells.amax(dim=3).amax(dim=4), -cells.amin(dim=3).amin(dim=4)], dim=1)
    return F.max_pool2d(extremes.clamp_min(0), REACH, 1, REACH // 2)


def _means(values: Tensor, count: int, apart: int = 1) -> Tensor:
    """(B, C, H, W) -> of each `count` x `count` values, so many apart; by sums, fastest for one channel."""
    return _sums(_sums(values, count, apart, 2), count, apart, 3) / count**2


def _sums(values: Tensor, count: int, apart: int, dim: int) -> Tensor:
    length = values.shape[dim] - (count - 1) * apart
    total = values.narrow(dim, 0, length)
    for number in range(1, count):
        total = total + values.narrow(dim, number * apart, length)
    return total


def _without_edge(values: Tensor, edge: int) -> Tensor:
    return values[..., edge:-edge, edge:-edge]
