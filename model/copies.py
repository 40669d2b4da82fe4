"""Which pictures are copies of one another: a copy shows nothing new, and makes its original look known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
