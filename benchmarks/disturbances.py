"""The same picture as another camera, lamp or hand would have taken it."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Disturbance = Callable[[Image.Image], Image.Image]


def _brightness(factor: float) -> Disturbance:
    return lambda image: ImageEnhance.Brightness(image).enhance(factor)


def _recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(buffer).convert("RGB")


def _blurred(image: Image.Image) -> Image.Image:
    """By a pixel and a half at 500 pixels."""
    return image.filter(ImageFilter.GaussianBlur(1.5 * min(image.size) / 500))


def _shifted(image: Image.Image) -> Image.Image:
    """By one per cent of its size, which the picture's own edge, mirrored, fills up."""
    right, down = max(1, image.width // 100), max(1, image.height // 100)
    pixels = np.pad(np.asarray(image), ((down, 0), (right, 0), (0, 0)), mode="reflect")
    return Image.fromarray(pixels[: image.height, : image.width])


def _rotated(image: Image.Image) -> Image.Image:
    """By a degree, then cut so that no corner is empty."""
    turned = image.rotate(1, Image.Resampling.BICUBIC)
    edge_x, edge_y = round(0.02 * image.width), round(0.02 * image.height)
    inner = turned.crop((edge_x, edge_y, image.width - edge_x, image.height - edge_y))
    return inner.resize(image.size, Image.Resampling.BICUBIC)


DISTURBANCES: dict[str, Disturbance] = {
    "20 % darker": _brightness(0.8),
    "10 % darker": _brightness(0.9),
    "10 % brighter": _brightness(1.1),
    "20 % brighter": _brightness(1.2),
    "blurred": _blurred,
    "re-compressed": _recompressed,
    "shifted": _shifted,
    "rotated": _rotated,
}
