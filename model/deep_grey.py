"""Greys of more than 8 bits, from cameras that seldom say how many of them they use."""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import ImageUnreadable

BITS_PER_SAMPLE = 258
BRIGHTEST = 0.999
SLACK = 1.1
"""Interpolated floats and corrected greys overshoot their scale a little."""


def said_scale(image: Image.Image) -> float | None:
    """White, as far as the file says: a TIFF of 9 to 15 bits does; 16 may hold fewer, and 32 anything."""
    (bits, *_) = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (0,))
    return float(2**bits - 1) if 8 < bits < 16 else None


def to_eight_bits(image: Image.Image, white: float | None) -> Image.Image:
    """Integer or float greys -> mode L. white: the value that becomes 255, None to find it.

    It is then the smallest of 1, 8 bits, 12 bits, 16 bits ... that all but the brightest thousandth of the pixels
    keep to within a tenth; these become white. Steps of 4 bits are so coarse that pictures of one camera hardly ever
    fall on two of them, and few pixels, hot ones or a highlight, never decide. The price: 10 and 14 bits in 16 use a
    quarter of the scale, like a darker picture. Raises ImageUnreadable where values are not numbers.
    """
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ImageUnreadable("holds values that are not numbers")
    return Image.fromarray(np.clip(values * (255.0 / (white or _white(values))), 0, 255).astype(np.uint8))


def _white(values: NDArray[np.float32]) -> float:
    bright = float(np.quantile(values, BRIGHTEST, method="lower"))
    if bright <= SLACK:
        return 1.0
    return next(scale for scale in (2.0**bits - 1 for bits in count(8, 4)) if bright <= SLACK * scale)
