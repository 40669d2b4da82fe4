"""The same picture as another lamp, lens or hand would have taken it.

Remembered beside the normal pictures themselves, altered ones keep a little more light or a little less focus from
being called abnormal, and a few pictures show more of what is normal when they are mirrored and turned too.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

Alteration = Callable[[Image.Image], Image.Image]

BLUR_SHARE = 0.003


def _lit(factor: float) -> Alteration:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def _turned(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_180)


def _blurred(image: Image.Image) -> Image.Image:
    """By a Gaussian whose standard deviation is BLUR_SHARE of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(BLUR_SHARE * min(image.size)))


ALTERATIONS: dict[str, Alteration] = {
    "dark": _lit(0.7),
    "darker": _lit(0.85),
    "brighter": _lit(1.25),
    "bright": _lit(1.5),
    "blurred": _blurred,
    "mirrored": ImageOps.mirror,
    "flipped": ImageOps.flip,
    "turned": _turned,
}

TOLERANCES: dict[str, tuple[str, ...]] = {
    "strict": (),
    "usual": ("darker", "brighter", "blurred"),
    "tolerant": ("dark", "darker", "brighter", "bright", "blurred"),
}
"""How much light and focus may change before a picture counts as abnormal: names of alterations to remember."""

TURNS = ("mirrored", "flipped", "turned")
FIXED, BY_PICTURES = "fixed", "auto"
ORIENTATIONS: dict[str, tuple[str, ...]] = {BY_PICTURES: TURNS, "free": TURNS, FIXED: ()}
"""Whether an item may lie mirrored or turned by half: names of alterations to remember, where it is left to the
pictures (`model.orientation`) those that could be normal."""
