"""What a picture shows before any network has looked: how much it changes within each cell, and in which directions.

A scratch, a crack or a knot has strokes of another strength or direction than its surroundings, which a network trained
on photographs of things hardly tells. Histograms of oriented gradients: Dalal and Triggs, "Histograms of Oriented
Gradients for Human Detection" (2005), 6.2 to 6.4; here of signed directions, and by the picture's own contrast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

DIRECTIONS = 8
NEIGHBOURHOOD = 3
DARK = 25.5
"""Added to pixels of 0 to 255 before their logarithm: below it light is mostly noise."""
MIDDLE = 152.5
"""What such a sum is divided by: logarithms near zero keep their small differences in float32."""
FAINT = 0.01
"""Added to a picture's mean stroke, so that the noise of an empty one stays small."""
FLAT = 1e-6
"""Squares of changes below a thousandth, which no 8-bit picture shows, count as that; ONNX drops a smaller term."""


def strokes(colours: Tensor, cell: int) -> Tensor:
    """Pixels of 0 to 255, float32 (B, 3, H, W) -> (B, 1 + DIRECTIONS, H / cell, W / cell).

    Of each cell the standard deviation of the logarithm of its grey and the mean gradient towards each direction,
    averaged over 3 x 3 cells, in units of the whole picture's mean: other light changes neither, other contrast little.
    """
    red, green, blue = ((colours + DARK) / MIDDLE).unbind(dim=1)
    grey = torch.log(red * green * blue)[:, None] / 3
    mean = F.avg_pool2d(grey, cell)
    deviation = (F.avg_pool2d(grey * grey, cell) - mean * mean).clamp_min(FLAT).sqrt()
    across = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1, 0, 0))
    down = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
    per_steepness = 1 / (across * across + down * down + FLAT).sqrt()
    angles = [2 * math.pi * number / DIRECTIONS for number in range(DIRECTIONS)]
    towards = ((across * math.cos(angle) + down * math.sin(angle)).clamp_min(0) for angle in angles)
    gradients = [F.avg_pool2d(gradient * gradient * per_steepness, cell) for gradient in towards]
    found = torch.cat([deviation, *gradients], dim=1)
    found = F.avg_pool2d(found, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
    contrast = found.mean(dim=(1, 2, 3), keepdim=True)
    return found / (contrast + FAINT)
