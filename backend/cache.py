"""Patch embeddings kept on the local disk, so that a retrain costs only the new pictures.

An embedding is found by the picture's content, or by its address where the address can only ever mean that
content, and by everything else that it depends on. Losing the folder loses nothing but time.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from model.embedding import Embedding

log = logging.getLogger(__name__)

UPLOADS = "/data/upload/"
CHECK_EVERY = 200


class EmbeddingCache:
    """A bounded folder of embeddings; the longest unused go first."""

    def __init__(self, folder: Path, max_bytes: int, embedder_key: str) -> None:
        self._folder = folder / "embeddings" / embedder_key
        self._max_bytes = max_bytes
        self._writes = 0

    def get(self, name: str) -> Embedding | None:
        path = self._path(name)
        try:
            content = path.read_bytes()
            tensors = load(content)
            width, height = tensors.pop("size").tolist()
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError):
            log.warning("dropping a damaged cache entry: %s", path)
            path.unlink(missing_ok=True)
            return None
        return Embedding(tuple(tensors[name] for name in sorted(tensors)), width, height)

    def put(self, name: str, embedding: Embedding) -> None:
        """Keeps an embedding; a full or read-only disk costs the entry, nothing else."""
        path = self._path(name)
        size = torch.tensor([embedding.width, embedding.height])
        layers = {f"layer{number}": layer.contiguous() for number, layer in enumerate(embedding.layers)}
        content = save(layers | {"size": size})
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            log.warning("the embedding cache cannot be written: %s", error)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._writes += 1
        if self._writes % CHECK_EVERY == 1:
            self._shrink()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _shrink(self) -> None:
        entries = sorted(_stats(self._folder.parent), key=lambda entry: entry[0])
        excess = sum(size for _, size, _ in entries) - self._max_bytes
        for _, size, path in entries:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def name_of_content(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def name_of_address(studio_url: str, uri: str) -> str | None:
    """A name for a picture that Label Studio itself stores, whose address never gets another content."""
    return hashlib.sha256(f"{studio_url} {uri}".encode()).hexdigest() if uri.startswith(UPLOADS) else None


def _stats(folder: Path) -> list[tuple[float, int, Path]]:
    """(last use, bytes, path) of every entry; entries that vanish meanwhile are left out."""
    found = []
    for path in folder.glob("*/*/*"):
        with suppress(OSError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    return found
