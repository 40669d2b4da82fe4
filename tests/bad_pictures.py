"""Pictures as people really send them: odd ones that must work, and broken ones that must say why."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def odd_pictures(good: Path) -> dict[str, bytes]:
    """Unusual but readable encodings of one picture."""
    image = Image.open(good)
    grey = image.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    transparent = image.convert("RGBA")
    transparent.putalpha(grey)
    rotated = image.getexif()
    rotated[0x0112] = 6
    return {
        "16-bit": _encode(deep, "PNG"),
        "cmyk": _encode(image.convert("CMYK"), "JPEG"),
        "palette": _encode(image.convert("P"), "PNG"),
        "transparent": _encode(transparent, "PNG"),
        "grey": _encode(grey, "JPEG"),
        "black and white": _encode(grey.convert("1"), "PNG"),
        "rotated by EXIF": _encode(image.rotate(90, expand=True), "JPEG", exif=rotated),
        "webp": _encode(image, "WEBP"),
        "tiff": _encode(image, "TIFF"),
        "bmp": _encode(image, "BMP"),
        "gif": _encode(image, "GIF"),
    }


def broken_pictures(good: Path) -> dict[str, tuple[bytes, str]]:
    """Unreadable content, and a piece of the reason that people are told."""
    jpeg = good.read_bytes()
    png = _encode(Image.open(good), "PNG")
    return {
        "zero bytes": (b"", "empty"),
        "not a picture": (b"<html>Log in</html>" * 50, "not a picture"),
        "truncated jpeg": (jpeg[: len(jpeg) // 2], "damaged or incomplete"),
        "truncated png": (png[: len(png) // 2], "damaged or incomplete"),
        "damaged header": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not a picture"),
        "bomb": (_bomb(), "pixels allowed"),
        "one pixel": (_encode(Image.new("RGB", (1, 1)), "PNG"), "too small"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not a picture"),
    }


def _bomb() -> bytes:
    """A few bytes that claim 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
