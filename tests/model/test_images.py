from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import ImageUnreadable
from model.images import find_images, read_image, to_array
from tests.bad_pictures import broken_pictures, odd_pictures


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_odd_encodings_become_upright_rgb(normal_pictures: list[Path]) -> None:
    for name, content in odd_pictures(normal_pictures[0]).items():
        picture = read_image(content)
        assert picture.image.mode == "RGB", name
        assert picture.image.size == (picture.width, picture.height) == (384, 512), name


def test_all_encodings_show_the_same(normal_pictures: list[Path]) -> None:
    grey = np.asarray(Image.open(normal_pictures[0]).convert("L"), dtype=float)
    for name in ("16-bit", "grey", "rotated by EXIF", "webp", "cmyk"):
        seen = np.asarray(read_image(odd_pictures(normal_pictures[0])[name]).image.convert("L"), dtype=float)
        assert np.abs(seen - grey).mean() < 12, name


def test_broken_ones_say_why(normal_pictures: list[Path]) -> None:
    for name, (content, reason) in broken_pictures(normal_pictures[0]).items():
        with pytest.raises(ImageUnreadable) as refusal:
            read_image(content)
        assert reason in str(refusal.value), name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match="does not exist"):
        read_image(tmp_path / "nothing.jpg")


def test_twelve_bits_in_sixteen_are_not_black() -> None:
    deep = Image.fromarray(np.full((32, 32), 4000, np.uint16))
    assert np.asarray(read_image(encoded(deep)).image).mean() > 240


def test_values_that_are_not_numbers_are_refused() -> None:
    values = np.ones((32, 32), np.float32)
    values[3, 3] = np.nan
    with pytest.raises(ImageUnreadable, match="not numbers"):
        read_image(encoded(Image.fromarray(values), "TIFF"))


def test_transparent_places_become_white() -> None:
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    assert (np.asarray(read_image(encoded(clear)).image) == 255).all()


def test_the_pixel_limit_is_the_callers(normal_pictures: list[Path]) -> None:
    with pytest.raises(ImageUnreadable, match="more than the 1,000 pixels allowed"):
        read_image(normal_pictures[0], max_pixels=1000)


def test_an_open_picture_stays_as_it_is() -> None:
    image = Image.new("P", (32, 32))
    read_image(image)
    assert image.mode == "P"


def test_resizing_gives_the_size_asked_for() -> None:
    assert to_array(Image.new("RGB", (100, 50)), (64, 32)).shape == (64, 32, 3)


def test_folders_are_walked_in_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a/1.png", ".hidden/3.jpg", "b/.4.jpg", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a/1.png", "b/2.JPG"]
