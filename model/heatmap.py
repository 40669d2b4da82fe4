"""Pictures that show where the anomaly is, on one fixed colour scale."""

from __future__ import annotations

import numpy as np
from PIL import Image

from model.regions import Map, upsample

LONGEST_SIDE = 1024
FAINTEST = 0.75


def overlay(image: Image.Image, anomaly_map: Map, pixel_threshold: float) -> Image.Image:
    """The picture in grey with strange places in yellow to red.

    Colours mean the same on every picture: nothing below three quarters of the pixel threshold, yellow at it, red at
    twice the threshold and beyond.
    """
    shown = image.copy()
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    grey = np.asarray(shown.convert("L").convert("RGB"), dtype=np.float32)
    strength = upsample(anomaly_map, (shown.height, shown.width)) / pixel_threshold
    opacity = 0.75 * np.clip((strength - FAINTEST) / (1 - FAINTEST), 0, 1)[..., None]
    redness = np.clip(strength - 1.0, 0, 1)
    colour = np.stack([np.full_like(redness, 255), 220 * (1 - redness), np.zeros_like(redness)], axis=-1)
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).astype(np.uint8))
