from __future__ import annotations

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.errors import ImageUnreadable
from model.images import MIN_SIDE, find_images, pictures_in, read_image, read_size, to_array
from tests.bad_pictures import broken_pictures, odd_pictures

TURN_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


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


def test_a_path_stands_for_its_picture_or_for_those_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    assert list(pictures_in(str(tmp_path))) == [tmp_path / "1.png"]
    assert list(pictures_in(tmp_path / "1.png")) == [tmp_path / "1.png"]
    assert list(pictures_in([b"first", "second.jpg"])) == [b"first", "second.jpg"]
    (tmp_path / "1.png").unlink()
    with pytest.raises(ImageUnreadable, match="no pictures below"):
        pictures_in(tmp_path)


def test_one_picture_is_a_list_of_one() -> None:
    grey, colour = np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.uint8)
    for picture in (b"content", io.BytesIO(b"content"), noise(), grey, colour):
        (alone,) = pictures_in(picture)
        assert alone is picture
    assert len(list(pictures_in(np.zeros((5, 32, 32, 3), np.uint8)))) == 5


def test_arrays_are_grey_or_rgb() -> None:
    assert np.array_equal(read_image(np.asarray(noise())).image, noise())
    assert read_image(np.full((32, 32), 7, np.uint8)).image.getpixel((0, 0)) == (7, 7, 7)


@pytest.mark.parametrize("array", [np.zeros((32, 32, 3)), np.zeros((32, 32, 4), np.uint8), np.zeros(9, np.uint8)])
def test_other_arrays_are_refused_in_words(array: np.ndarray) -> None:
    with pytest.raises(ImageUnreadable, match=r"must be uint8 \(height, width\) or \(height, width, 3\), not "):
        read_image(array)


def noise(width: int = 48, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [*TURN_BACK, 0, 9])
def test_every_exif_orientation_ends_upright(orientation: int, kind: str) -> None:
    turn = TURN_BACK.get(orientation)
    stored = noise() if turn is None else noise().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(stored, kind, exif=exif, **lossless)
    for source in (content, Image.open(io.BytesIO(content))):
        picture = read_image(source)
        assert (picture.width, picture.height) == picture.image.size == read_size(source) == (48, 32)
        assert kind == "JPEG" or np.array_equal(picture.image, noise())


def test_a_reduced_jpeg_on_its_side_keeps_the_size_people_see() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("RGB", (799, 800)), "JPEG", exif=exif)  # reduced it is a square
    picture = read_image(content, enough=50)
    assert (picture.width, picture.height) == (800, 799)
    assert max(picture.image.size) < 400


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(kind: str) -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    seen = np.asarray(read_image(encoded(Image.fromarray(values), kind)).image)[..., 0]
    assert np.abs(seen - values / 257.0).max() <= 1


def test_float_pictures_from_0_to_1_use_the_whole_scale() -> None:
    values = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    seen = np.asarray(read_image(encoded(Image.fromarray(values), "TIFF")).image)[..., 0]
    assert np.abs(seen - values * 255.0).max() <= 1


def brightness(values: np.ndarray, kind: str = "TIFF") -> float:
    return float(np.asarray(read_image(encoded(Image.fromarray(values), kind)).image).mean())


@pytest.mark.parametrize(
    ("grey", "dtype", "peak", "expected"),
    [
        (2000, np.uint16, 4095, 124),
        (2000, np.uint16, 4100, 124),
        (2000, np.uint16, 65535, 124),
        (100, np.uint16, 256, 100),
        (100.0, np.float32, 300.0, 100),
        (0.5, np.float32, 1.001, 127),
        (0.5, np.float32, 60000.0, 127),
        (30000.0, np.float32, 70000.0, 116),
    ],
)
def test_a_hot_pixel_leaves_the_others_as_they_are(grey: float, dtype: type, peak: float, expected: int) -> None:
    values = np.full((64, 64), grey, dtype)
    calm = brightness(values)
    values[3, 3] = peak
    assert brightness(values) == pytest.approx(calm, abs=0.5)
    assert calm == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("full", [1.0, 255.0, 4095.0, 65535.0])
def test_floats_that_overshoot_their_scale_a_little_stay_as_bright(full: float) -> None:
    values = np.linspace(0, full, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert brightness(values * 1.05) == pytest.approx(1.05 * brightness(values), rel=0.02)


@pytest.mark.parametrize("light", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_pictures_of_one_camera_are_brought_to_one_scale(bits: int, light: float) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (64, 64))
    darker = (values * light).astype(np.uint16)
    assert brightness(darker, "PNG") == pytest.approx(light * brightness(values.astype(np.uint16), "PNG"), abs=1)


def twelve_bit_tiff(values: np.ndarray) -> bytes:
    """Two greys in three bytes, as industrial cameras pack them: even width, little-endian, uncompressed."""
    height, width = values.shape
    left, right = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
    packed = np.stack([left >> 4, (left & 15) << 4 | right >> 8, right & 255], axis=-1).astype(np.uint8).tobytes()
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 110), (278, height), (279, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)).ljust(110, b"\0") + packed


@pytest.mark.parametrize("grey", [4000, 1000, 100])
def test_a_file_that_says_how_many_bits_it_has_is_believed(grey: int) -> None:
    picture = read_image(twelve_bit_tiff(np.full((32, 32), grey))).image
    assert np.asarray(picture).mean() == pytest.approx(grey * 255 / 4095, abs=1)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_endless_values_are_refused(value: float) -> None:
    values = np.full((32, 32), value, np.float32)
    with pytest.raises(ImageUnreadable, match="not numbers"):
        read_image(encoded(Image.fromarray(values), "TIFF"))


def two_colours() -> Image.Image:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 250, 250, 0, 0])
    image.paste(0, (0, 0, 16, 32))
    return image


def test_a_palette_keeps_its_colours() -> None:
    image = read_image(encoded(two_colours())).image
    assert (image.getpixel((2, 2)), image.getpixel((30, 2))) == ((0, 0, 250), (250, 0, 0))


def test_the_transparent_colour_of_a_palette_becomes_white() -> None:
    image = read_image(encoded(two_colours(), transparency=0)).image
    assert (image.getpixel((2, 2)), image.getpixel((30, 2))) == ((255, 255, 255), (250, 0, 0))


def test_half_transparent_places_are_laid_over_white() -> None:
    image = read_image(encoded(Image.new("RGBA", (32, 32), (0, 0, 0, 128)))).image
    assert image.getpixel((5, 5)) == pytest.approx((127, 127, 127), abs=1)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    picture = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert picture.image.getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"a note about the picture\n" * 20, "not a picture"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n", "not a picture"),
    ],
    ids=["empty", "text", "PDF", "EPS"],
)
def test_a_picture_is_not_believed_by_its_name(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    for source in (path, str(path)):
        with pytest.raises(ImageUnreadable, match=reason):
            read_image(source)


def test_a_picture_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(noise(), "PNG"))
    assert np.array_equal(read_image(path).image, noise())


def test_paths_bytes_open_files_and_pillow_images_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    noise().save(path)
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file, noise()):
            assert np.array_equal(read_image(source).image, noise())
        assert not file.closed


def test_an_open_picture_keeps_its_pixels_and_its_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(encoded(noise(), exif=exif)))
    assert read_image(turned).image.size == (32, 48)
    assert turned.size == (48, 32)
    assert np.array_equal(turned, noise())


def test_the_smallest_side_is_a_limit_of_both() -> None:
    assert read_image(Image.new("RGB", (MIN_SIDE, MIN_SIDE))).width == MIN_SIDE
    for size in ((MIN_SIDE - 1, 100), (100, MIN_SIDE - 1), (1, 1)):
        with pytest.raises(ImageUnreadable, match="too small"):
            read_image(Image.new("RGB", size))


def test_as_many_pixels_as_allowed_are_not_too_many() -> None:
    content = encoded(noise(48, 32))
    assert read_image(content, max_pixels=48 * 32).width == 48
    with pytest.raises(ImageUnreadable, match="48 x 32 is more than"):
        read_image(content, max_pixels=48 * 32 - 1)


def test_a_limit_above_pillows_own_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # of more than twice as many Pillow refuses to read the header
    content = encoded(noise(48, 32))
    assert read_image(content, max_pixels=48 * 32).width == 48
    with pytest.raises(ImageUnreadable, match="48 x 32 is more than the 1,535 pixels allowed"):
        read_image(content, max_pixels=48 * 32 - 1)


def test_threads_that_read_leave_the_warnings_as_they_are() -> None:
    content = encoded(noise())
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(read_image, [content] * 200))
        assert warnings.filters == before


@pytest.mark.parametrize("size", [(MIN_SIDE - 1, 100), (200, 100)])
def test_a_size_that_is_not_allowed_is_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageUnreadable, match=f"{size[0]} x 100 is "):
        read_size(encoded(Image.new("RGB", size)), max_pixels=19_999)


def test_a_reduced_jpeg_is_still_enough_and_keeps_the_size_people_see() -> None:
    picture = read_image(encoded(Image.new("RGB", (1200, 800), "teal"), "JPEG"), enough=64)
    assert (picture.width, picture.height) == (1200, 800)
    assert 64 <= min(picture.image.size) < 800


@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]), st.integers(0, 1 << 30), st.integers(1, 255))
def test_a_damaged_byte_gives_a_picture_or_a_reason(kind: str, place: int, damage: int) -> None:
    content = bytearray(encoded(noise(24, 24), kind))
    content[place % len(content)] ^= damage
    with suppress(ImageUnreadable):
        assert read_image(bytes(content)).image.mode == "RGB"


@given(st.sampled_from(["JPEG", "PNG"]), st.floats(0, 0.95))
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(kind: str, share: float) -> None:
    content = encoded(noise(), kind)
    with pytest.raises(ImageUnreadable):
        read_image(content[: int(share * len(content))])


def test_a_folder_with_a_pictures_name_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "album.jpg" / "1.png").touch()
    assert find_images(tmp_path) == [tmp_path / "album.jpg" / "1.png"]


def test_a_hidden_folder_above_does_not_hide_its_pictures(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "pictures"
    root.mkdir(parents=True)
    (root / "1.png").touch()
    assert find_images(root) == [root / "1.png"]
