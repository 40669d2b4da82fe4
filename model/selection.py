"""Which pictures to tag first: those that stand for the most others.

Greedy facility location: Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and Active Learning" (2015).
Unlike the farthest-first order of a coreset it does not begin with the oddest pictures, which may be abnormal.
"""

from __future__ import annotations

import torch
from torch import Tensor


def representative_order(looks: Tensor, count: int, *, known: Tensor | None = None) -> list[int]:
    """Indices of `count` of n pictures, each bringing all pictures nearer to a chosen one than any other could.

    looks: float32 (n, C), one vector a picture. known: float32 (k, C), those of pictures that are tagged already.
    """
    if not len(looks):
        return []
    distances = torch.cdist(looks, looks)  # (n, n)
    nearest = distances.amax(dim=0) if known is None or not len(known) else torch.cdist(looks, known).amin(dim=1)
    chosen: list[int] = []
    for _ in range(min(count, len(looks))):
        gains = (nearest[None] - distances).clamp_min(0).sum(dim=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return chosen
