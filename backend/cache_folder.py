"""CACHE_DIR: files that can all be lost, which together stay within CACHE_MAX_GB. The longest unused go first."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backend.outages import Outage

log = logging.getLogger(__name__)

EMBEDDINGS = "embeddings"
THUMBNAILS = "thumbnails"
FILL = 0.9
"""Share of the limit that is left standing, so that a few processes may write until each looks again."""
STEP = 0.02
"""Share of the limit that a process writes before it looks again at how much there is."""


class CacheFolder:
    """Reads and writes whole files by their paths. Nothing but our own folders is ever counted or deleted."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._outage = Outage("the cache")
        self._left = 0.0  # bytes to write before the next look

    def read(self, name: str) -> bytes | None:
        """A file's content; reading counts as use."""
        path = self._root / name
        try:
            content = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the cache cannot be read: %s", error)
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keeps a file; a full or read-only disk costs the next reader the work, nothing else."""
        path = self._root / name
        partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
            self._outage.over()
        except OSError as error:
            self._outage.tell(f"the cache cannot be written: {error}; make room, or check CACHE_DIR")
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._left -= len(content)
        if self._left < 0:
            self._left = STEP * self._max_bytes
            self._shrink()

    def drop(self, name: str) -> None:
        with suppress(OSError):
            (self._root / name).unlink(missing_ok=True)

    def forget(self, project_id: int) -> None:
        """Deletes what shows the pictures of a project. Embeddings are kept by content, and go when they are old."""
        shutil.rmtree(self._root / THUMBNAILS / str(project_id), ignore_errors=True)

    def _shrink(self) -> None:
        entries = sorted(self._entries())
        excess = sum(size for _, size, _ in entries) - FILL * self._max_bytes
        for _, size, path in entries:
            if excess <= 0:
                return
            with suppress(OSError):
                path.unlink()
                excess -= size

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of every file; those that vanish meanwhile are left out."""
        for kind in (EMBEDDINGS, THUMBNAILS):
            for folder, _, names in os.walk(self._root / kind):
                for path in (Path(folder, name) for name in names):
                    with suppress(OSError):
                        stat = path.stat()
                        yield stat.st_mtime, stat.st_size, path
