"""Label Studio's run-length encoding of brush masks.

The format is that of the rle-pack package that Label Studio's editor uses: a bit stream with the number of
values (32 bits), the bits of a value less one (5), four lengths' widths less one (4 each), then runs. A run is
a flag bit, two bits that choose a width, its length less one in that width, and its value.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

VALUE_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
LONGEST_RUN = 2 ** LENGTH_BITS[-1]
CHANNELS = 4


def encode_mask(mask: NDArray[np.bool_]) -> list[int]:
    """bool (H, W) -> the bytes of an RLE of its H * W * 4 RGBA values, 255 inside and 0 outside."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges, [flat.size]]) if flat.size else np.array([0])
    parts = [f"{flat.size * CHANNELS:032b}", f"{VALUE_BITS - 1:05b}"]
    parts += [f"{bits - 1:04b}" for bits in LENGTH_BITS]
    for start, stop in pairwise(starts):
        parts += _runs(int(stop - start) * CHANNELS, 255 if flat[start] else 0)
    stream = "".join(parts)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _runs(length: int, value: int) -> list[str]:
    """One run as bits, cut where it is longer than the format allows."""
    whole, rest = divmod(length, LONGEST_RUN)
    return [_run(LONGEST_RUN, value)] * whole + ([_run(rest, value)] if rest else [])


def _run(length: int, value: int) -> str:
    choice = next(i for i, bits in enumerate(LENGTH_BITS) if length <= 2**bits)
    return f"1{choice:02b}{length - 1:0{LENGTH_BITS[choice]}b}{value:0{VALUE_BITS}b}"
