"""CACHE_DIR stays within CACHE_MAX_GB, whatever is kept there, and nothing in it is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.cache_folder import CacheFolder
from backend.pictures import Pictures
from backend.services import Services
from backend.settings import Settings
from model.config import DetectorConfig
from model.embedding import Embedding
from tests.conftest import PROJECT, PictureServer

LIMIT = 100_000
ENTRY = bytes(5_000)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_embeddings_and_thumbnails_share_one_limit_and_the_longest_unused_go_first(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, LIMIT)
    names = [f"{('embeddings/lite2/ab', 'thumbnails/2')[number % 2]}/{number}" for number in range(60)]
    for age, name in enumerate(names[:17]):
        folder.write(name, ENTRY)
        os.utime(tmp_path / name, (age, age))
    assert folder.read(names[1]) == ENTRY
    for name in names[17:27]:
        folder.write(name, ENTRY)
        assert size_of(tmp_path) <= LIMIT
    assert [folder.read(name) for name in (names[0], names[2], names[3])] == [None, None, None]
    assert folder.read(names[1]) == folder.read(names[26]) == ENTRY
    for name in names[27:]:
        folder.write(name, ENTRY)
        assert size_of(tmp_path) <= LIMIT


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    foreign = [tmp_path / "letter.txt", tmp_path / "pip" / "wheel"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(2 * LIMIT))
    folder = CacheFolder(tmp_path, LIMIT)
    folder.write("embeddings/lite2/ab/1", ENTRY)
    assert all(path.exists() for path in foreign)
    assert folder.read("embeddings/lite2/ab/1") == ENTRY


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_entry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "embeddings").write_text("in the way")
    folder = CacheFolder(tmp_path, LIMIT)
    for number in range(5):
        folder.write(f"embeddings/lite2/ab/{number}", ENTRY)
    assert folder.read("embeddings/lite2/ab/1") is None
    assert caplog.text.count("cannot be written") == 1  # however many pictures there are
    (tmp_path / "embeddings").unlink()
    folder.write("embeddings/lite2/ab/1", ENTRY)
    assert folder.read("embeddings/lite2/ab/1") == ENTRY


def test_thumbnails_are_kept_by_project_and_by_address(
    services: Services, picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    for number in (0, 1):
        picture_server.contents[f"/data/upload/{number}.jpg"] = normal_pictures[number].read_bytes()
    shown = [services.thumbnails.plain(f"/data/upload/{number}.jpg", PROJECT, 7) for number in (0, 1, 0)]
    assert shown[0] == shown[2] != shown[1]
    assert len(picture_server.asked) == 2
    assert len(list((services.settings.cache_dir / "thumbnails" / str(PROJECT)).iterdir())) == 2


@pytest.mark.parametrize("folder", ["", "/studio"])
def test_an_upload_is_fetched_once_also_where_label_studio_is_below_a_path(
    folder: str, settings: Settings, picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    uri = f"{folder}/data/upload/1.jpg"
    picture_server.contents[uri] = normal_pictures[0].read_bytes()
    below = settings.model_copy(update={"label_studio_url": f"{picture_server.url}{folder}"})
    for _ in range(2):
        (found,) = Pictures(below).embed_each([(uri, 1)], DetectorConfig())
        assert isinstance(found, Embedding)
    assert len(picture_server.asked) == 1
