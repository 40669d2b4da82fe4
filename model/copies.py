"""Which pictures are copies of one another, or nearly: a copy shows nothing new, and makes its original look known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FEWEST_PAIRED = 10
PAIRED = 0.35
"""Share of the distance to other pictures at which the most similar one typically lies where many show the same part
again. Measured on three sets: 0.52 to 0.80 for pictures of different parts, 0.10 to 0.34 for frames of films."""
SAME = 1e-4
"""Share of its length by which the look of a copy may differ, for rounding; that of a picture saved anew by 1 %."""


def first_copies(looks: Sequence[Tensor], *, after: int = 0) -> list[int]:
    """Of each picture the first that is the same, itself where none is before it: looks, float32 (C,) each.

    after: so many come first, and are not asked about.
    """
    if not looks:
        return []
    stacked = torch.stack(tuple(looks))
    return [int(same(stacked[: index + 1], stacked[index]).int().argmax()) for index in range(after, len(stacked))]


def same(looks: Tensor, look: Tensor) -> Tensor:
    """Which of them are copies of one picture: float32 (n, C), (C,) -> bool (n,)"""
    found: Tensor = torch.linalg.vector_norm(looks - look, dim=1) <= SAME * torch.linalg.vector_norm(look)
    return found


def seem_paired(looks: Tensor, parts: Sequence[int]) -> bool:
    """Whether most pictures have another that is nearly the same and counts as another part: float32 (n, C).

    parts: the number of the part that each shows. Of fewer than FEWEST_PAIRED pictures nothing is said.
    """
    n = len(looks)
    if n < FEWEST_PAIRED:
        return False
    shown = torch.tensor(parts)
    distances = torch.cdist(looks, looks).masked_fill_(shown == shown[:, None], torch.nan)
    nearest = distances.nan_to_num(torch.inf).amin(dim=1)
    return bool((nearest / distances.nanmedian(dim=1).values).median() < PAIRED)
