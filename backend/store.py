"""Files of projects below one folder or bucket: MODEL_DIR, which may be anything that fsspec knows."""

from __future__ import annotations

import json
import logging
import os
import posixpath
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from backend.errors import StoreUnreachable, StoreUnwritable, UnknownProject

log = logging.getLogger(__name__)

Json = dict[str, Any]

HIGHEST_ID = 2**63 - 1
PARTIAL = ".partial"
LEFT_SECONDS = 3600
"""No file takes so long to write."""


class Store:
    """Reads and writes whole files, each named by its project and its path."""

    def __init__(self, root: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(root)
        except (ImportError, ValueError) as error:
            raise StoreUnwritable(
                f"MODEL_DIR={root} cannot be used: {error}. For s3:// install label-studio-anomaly[s3]"
            ) from error

    def projects(self) -> list[int]:
        """The ids of all projects that have files."""
        return sorted(int(name) for name in self._list(self._root) if name.isdecimal())

    def names(self, project_id: int, *parts: str) -> list[str]:
        """What a folder of a project holds; nothing where there is no such folder."""
        return self._list(self._path(project_id, *parts))

    def has(self, project_id: int, *parts: str) -> bool:
        path = self._path(project_id, *parts)
        with _reading(path):
            return bool(self._fs.exists(path))

    def read(self, project_id: int, *parts: str) -> bytes | None:
        path = self._path(project_id, *parts)
        try:
            with _reading(path):
                return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return None

    def read_json(self, project_id: int, *parts: str) -> Json | None:
        content = self.read(project_id, *parts)
        return None if content is None else self.parse(content, project_id, *parts)

    def parse(self, content: bytes, project_id: int, *parts: str) -> Json | None:
        """What a file holds that was read already; None where it is damaged."""
        try:
            found: Json = json.loads(content)
            return found
        except ValueError:
            log.error("%s is damaged and counts as missing", self._path(project_id, *parts))
            return None

    def write_json(self, content: Json, project_id: int, *parts: str) -> None:
        self.write(json.dumps(content, indent=1, sort_keys=True).encode(), project_id, *parts)

    def write(self, content: bytes, project_id: int, *parts: str) -> None:
        """All or nothing: in a folder the whole file is moved into place; object stores do so by nature."""
        path = self._path(project_id, *parts)
        with _writing(path):
            if isinstance(self._fs, LocalFileSystem):
                _replace(Path(path), content)
            else:
                self._fs.pipe_file(path, content)

    def remove(self, project_id: int, *parts: str) -> None:
        """Deletes a file, or a folder with all that is in it, if it is there."""
        path = self._path(project_id, *parts)
        with _writing(path), suppress(FileNotFoundError):
            self._fs.rm(path, recursive=True)
        self._fs.invalidate_cache()

    def move(self, project_id: int, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Moves a file, or a folder with all that is in it. Safe to repeat where it was cut short."""
        old, new = self._path(project_id, *source), self._path(project_id, *target)
        with _writing(new):
            for path in self._fs.find(old):
                moved = new + path[len(old) :]
                if isinstance(self._fs, LocalFileSystem):
                    Path(moved).parent.mkdir(parents=True, exist_ok=True)
                self._fs.cp_file(path, moved)
                self._fs.rm_file(path)
        self.remove(project_id, *source)

    def sweep(self, project_id: int) -> None:
        """Deletes what killed processes left half written in a folder; object stores leave nothing."""
        if not isinstance(self._fs, LocalFileSystem):
            return
        for left in Path(self._path(project_id)).rglob(f"*{PARTIAL}"):
            with suppress(OSError):  # it was finished in this moment
                if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()

    def _list(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            with _reading(folder):
                return [posixpath.basename(path.rstrip("/")) for path in self._fs.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _path(self, project_id: int, *parts: str) -> str:
        if not 0 <= project_id <= HIGHEST_ID:
            raise UnknownProject(f"{str(project_id)[:20]} is not a project's id")
        return posixpath.join(self._root, str(project_id), *parts)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Every kind of store fails in its own way. Raises StoreUnreachable, or FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StoreUnreachable(f"{path} cannot be read: {error}; check MODEL_DIR and what it stands on") from error


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Likewise. Raises StoreUnwritable."""
    try:
        yield
    except Exception as error:
        raise StoreUnwritable(
            f"{path} cannot be written: {error}; make room, or check MODEL_DIR and the right to write there"
        ) from error


def _replace(path: Path, content: bytes) -> None:
    """On the disk before it is in place, so that not even a power cut leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{path}.{os.getpid()}.{threading.get_ident()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
