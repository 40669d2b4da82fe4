"""Patch embeddings kept on the local disk, so that a retrain costs only the new pictures.

An embedding is found by the picture's content, or by its address where the address can only ever mean that
content, and by everything else that it depends on. Losing it loses nothing but time.
"""

from __future__ import annotations

import hashlib
import logging

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from backend.cache_folder import EMBEDDINGS, CacheFolder
from model.embedding import Embedding

log = logging.getLogger(__name__)

UPLOADS = "/data/upload/"


class EmbeddingCache:
    """The embeddings that one embedder has made."""

    def __init__(self, folder: CacheFolder, embedder_key: str) -> None:
        self._folder = folder
        self._below = f"{EMBEDDINGS}/{embedder_key}"

    def get(self, name: str) -> Embedding | None:
        path = self._path(name)
        content = self._folder.read(path)
        if content is None:
            return None
        try:
            tensors = load(content)
            width, height = tensors.pop("size").tolist()
        except (SafetensorError, KeyError, ValueError):
            log.warning("dropping a damaged cache entry: %s", path)
            self._folder.drop(path)
            return None
        return Embedding(tuple(tensors[name] for name in sorted(tensors)), width, height)

    def put(self, name: str, embedding: Embedding) -> None:
        size = torch.tensor([embedding.width, embedding.height])
        layers = {f"layer{number}": layer.contiguous() for number, layer in enumerate(embedding.layers)}
        self._folder.write(self._path(name), save(layers | {"size": size}))

    def _path(self, name: str) -> str:
        return f"{self._below}/{name[:2]}/{name}"


def name_of_content(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def name_of_address(studio_url: str, uri: str) -> str | None:
    """A name for a picture that Label Studio itself stores, whose address never gets another content."""
    return hashlib.sha256(f"{studio_url} {uri}".encode()).hexdigest() if uri.startswith(UPLOADS) else None
