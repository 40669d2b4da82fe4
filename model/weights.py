"""Which weights file a network was made from."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def fingerprint(weights: Path | None) -> str:
    """The SHA-256 of a weights file, empty for the published weights. Read once, and again when it was changed."""
    if weights is None:
        return ""
    found = weights.stat()
    return _digest(weights, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
