"""Whether items may lie mirrored or turned: they may where pictures altered so could be normal ones.

Loose parts, boards of wood and cookies lie anyhow, and a few pictures show more of what is normal when they are turned.
A circuit board that lies the wrong way round is abnormal itself, and what it would teach hides missing components.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

UNLIKE = 1.75
"""So many times as far from the other pictures as before, a turned picture is none of them.

Measured in the median with 2 to 25 pictures: 0.95 to 1.05 on wood and magnetic tiles, 1.08 to 1.53 on cookies, which
are lit from one side, and 1.8 to 4.4 on rendered circuit boards."""
SMALLEST = 1e-6


def could_be_normal(shown: Tensor, altered: Mapping[int, Tensor]) -> bool:
    """Whether pictures that are mirrored or turned one way are about as like the others as they are unaltered.

    shown: float32 (n, D), `places` of each normal picture, n at least 2. altered: of some, by index, the `places` of
    the altered picture, float32 (D,). Compared by the typical distance, which some pictures of one part do not change.
    """
    if not altered:
        return True
    indices = torch.tensor(list(altered))
    before, after = shown[indices], torch.stack(list(altered.values()))
    ratios = _typical_distance(after, shown, indices) / _typical_distance(before, shown, indices).clamp_min(SMALLEST)
    return float(ratios.median()) <= UNLIKE


def _typical_distance(pictures: Tensor, shown: Tensor, indices: Tensor) -> Tensor:
    """To all but the one of its own index: float32 (k, D), (n, D), int64 (k,) -> (k,)"""
    distances = torch.cdist(pictures, shown)
    distances[torch.arange(len(indices)), indices] = torch.nan
    return distances.nanmedian(dim=1).values
