"""Pictures in, RGB out: safe decoding, orientation and resizing.

Everything a camera, a scanner or a phone writes is brought to 8-bit RGB, upright. Decoders that can run
foreign code or read other files (EPS, PDF, WMF ...) are never tried, and a picture's size is checked in its
header before a single pixel is decoded.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from model.deep_grey import said_scale, to_eight_bits
from model.errors import ImageUnreadable

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]
"""A path, a file's content, an open file, a Pillow image, or uint8 (H, W), grey, or (H, W, 3), RGB."""
ImageSources = Iterable[ImageSource] | ImageSource
"""Pictures, one picture, or the path of a folder that holds some."""

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".avif", ".jp2")
)
MAX_PIXELS = 100_000_000
MIN_SIDE = 16

ORIENTATION = 0x0112
ON_THEIR_SIDE = (5, 6, 7, 8)
"""EXIF orientations that swap the sides."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what is too large is refused


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture and the size that people see it at.

    image: RGB, upright; a JPEG may have been decoded at a reduced scale.
    width, height: pixels of the upright original.
    """

    image: Image.Image
    width: int
    height: int


def read_image(source: ImageSource, *, enough: int | None = None, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decodes `source` to upright 8-bit RGB.

    enough: shorter side in pixels that the caller can use; lets the JPEG decoder skip finer detail.
    Raises ImageUnreadable with the reason when the picture is missing, damaged, too large or too small.
    """
    with _opened(source, max_pixels) as image:
        return _decode(image, enough)


def read_size(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) of the upright picture, from its header alone. Raises ImageUnreadable, where the header tells."""
    with _opened(source, max_pixels) as image:
        width, height = image.size
        on_its_side = image.format != "TIFF" and image.getexif().get(ORIENTATION) in ON_THEIR_SIDE
        return (height, width) if on_its_side else (width, height)


@contextmanager
def _opened(source: ImageSource, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose header was read and whose size is allowed; all that fails is an ImageUnreadable."""
    try:
        _let_pillow_open(max_pixels)
        with _open(source) as image:
            _check_size(*image.size, max_pixels)
            yield image
    except ImageUnreadable:
        raise
    except FileNotFoundError as error:
        raise ImageUnreadable("the file does not exist") from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable("not a picture in a known format (JPEG, PNG, TIFF, WebP, BMP, GIF)") from error
    except Image.DecompressionBombError as error:
        raise ImageUnreadable(f"more than the {max_pixels:,} pixels allowed") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        raise ImageUnreadable(f"damaged or incomplete: {error}") from error


def to_array(
    image: Image.Image, size: tuple[int, int], frame: tuple[float, float, float, float] = (0, 0, 1, 1)
) -> NDArray[np.uint8]:
    """Resizes to size = (height, width) with antialiasing -> uint8 (H, W, 3).

    frame: left, top, right and bottom edge of what to take of the picture, in shares of its sides.
    """
    (height, width), sides = size, 2 * image.size
    left, top, right, bottom = (min(round(share * side, 3), side) for share, side in zip(frame, sides, strict=True))
    column, row = math.floor(left), math.floor(top)
    if frame != (0, 0, 1, 1):  # what lies beside the frame would colour its edge
        image = image.crop((column, row, math.ceil(right), math.ceil(bottom)))
    box = (left - column, top - row, right - column, bottom - row)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=2.0))


def find_images(root: Path) -> list[Path]:
    """Every picture file below `root`, sorted, hidden files and folders left out."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def pictures_below(folder: Path) -> list[Path]:
    """Every picture file below `folder`, as `find_images` has them. Raises ImageUnreadable where there is none."""
    found = find_images(folder)
    if not found:
        raise ImageUnreadable(f"no pictures below {folder}: JPEG, PNG, TIFF, WebP, BMP and GIF files are read")
    return found


def pictures_in(images: ImageSources) -> Iterable[ImageSource]:
    """The pictures themselves; a path stands for its file, or for every picture below its folder.

    Raises ImageUnreadable for a folder without pictures.
    """
    if not isinstance(images, str | os.PathLike):
        return [cast(ImageSource, images)] if _is_one(images) else cast(Iterable[ImageSource], images)
    return pictures_below(Path(images)) if Path(images).is_dir() else [images]


def _let_pillow_open(max_pixels: int) -> None:
    """Raises Pillow's own limit to ours, for the process and for good, as it has but one; ours is checked after it."""
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)


def _open(source: ImageSource) -> Image.Image:
    if isinstance(source, Image.Image):
        return source.copy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, bytes):
        if not source:
            raise ImageUnreadable("the file is empty")
        return Image.open(io.BytesIO(source), formats=_formats())
    if isinstance(source, str | os.PathLike) and Path(source).is_file() and not Path(source).stat().st_size:
        raise ImageUnreadable("the file is empty")
    return Image.open(source, formats=_formats())


def _is_one(images: object) -> bool:
    """Whether they are one picture, though Python could go through it: its bytes, lines or rows."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, bytes | Image.Image) or hasattr(images, "read")


def _from_array(pixels: NDArray[Any]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ImageUnreadable(
            f"an array must be uint8 (height, width) or (height, width, 3), not {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)


@cache
def _formats() -> tuple[str, ...]:
    """The formats that this build of Pillow knows; it stumbles over the names of others."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageUnreadable(f"{width} x {height} is more than the {max_pixels:,} pixels allowed")
    if min(width, height) < MIN_SIDE:
        raise ImageUnreadable(f"{width} x {height} is too small: at least {MIN_SIDE} pixels a side are needed")


def _decode(image: Image.Image, enough: int | None) -> Picture:
    stored = width, height = image.size
    if enough is not None:
        image.draft("RGB", (2 * enough, 2 * enough))
    reduced, turned = image.size != stored, image.getexif().get(ORIENTATION) in ON_THEIR_SIDE
    white = said_scale(image)
    upright = ImageOps.exif_transpose(image)
    if not reduced:
        width, height = upright.size
    elif turned:
        width, height = height, width
    return Picture(_to_rgb(upright, white), width, height)


def _to_rgb(image: Image.Image, white: float | None) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return to_eight_bits(image, white).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(background, rgba).convert("RGB")
    return image.convert("RGB")
