"""The pictures of tasks as embeddings: from the cache, or fetched and embedded."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from urllib.parse import urlsplit

from backend.cache import EmbeddingCache, name_of_address, name_of_content
from backend.cache_folder import CacheFolder
from backend.errors import OutOfTime
from backend.media import Media, shown
from backend.settings import Settings
from model.config import DetectorConfig
from model.embedding import Embedder, Embedding
from model.errors import AnomalyError

log = logging.getLogger(__name__)

CHUNK = 16

Place = tuple[str, int]
"""A picture's address and its task's id."""


class Pictures:
    """Fetches and embeds; a picture that cannot be had costs only its own place."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._media = Media(settings)
        self.cache = CacheFolder(settings.cache_dir, int(settings.cache_max_gb * 1e9))
        self._sources: dict[str, tuple[Embedder, EmbeddingCache]] = {}

    def embedder(self, config: DetectorConfig) -> Embedder:
        """The embedder that detectors of this config need."""
        return self._source(config)[0]

    def fetch(self, uri: str, task_id: int) -> bytes:
        """The picture's bytes. Raises MediaUnavailable."""
        return self._media.fetch(uri, task_id)

    def embed_each(
        self, places: Iterable[Place], config: DetectorConfig, deadline: float = math.inf
    ) -> Iterator[Embedding | AnomalyError]:
        """One embedding as `config` needs it, or the reason why there is none, for each place in turn.

        deadline: in the seconds of time.monotonic(); what is not there by then gets OutOfTime.
        """
        remaining = iter(places)
        while chunk := list(islice(remaining, CHUNK)):
            if time.monotonic() < deadline:
                yield from self._embed_chunk(chunk, *self._source(config), deadline)
            else:
                yield from (OutOfTime(f"no time was left for {shown(uri)}") for uri, _ in chunk)

    def embed_altered(self, places: Iterable[Place], config: DetectorConfig) -> Iterator[list[Embedding]]:
        """Each picture in the other light, focus and position that `config` allows; none of one that is lost."""
        for place in places:
            try:
                yield self._embed_altered(place, config.alterations, *self._source(config))
            except AnomalyError as error:
                log.warning("%s is not remembered altered: %s", shown(place[0]), error)
                yield []

    def _source(self, config: DetectorConfig) -> tuple[Embedder, EmbeddingCache]:
        embedder = config.embedder(
            weights=self._settings.backbone_weights,
            device=self._settings.device,
            max_pixels=self._settings.media_max_pixels,
        )
        if embedder.key not in self._sources:
            self._sources[embedder.key] = embedder, EmbeddingCache(self.cache, embedder.key)
        return self._sources[embedder.key]

    def _embed_chunk(
        self, chunk: Sequence[Place], embedder: Embedder, cache: EmbeddingCache, deadline: float
    ) -> list[Embedding | AnomalyError]:
        names = [self._name(uri) for uri, _ in chunk]
        found: list[Embedding | AnomalyError | None] = [cache.get(name) if name else None for name in names]
        missing = [index for index, item in enumerate(found) if item is None]
        contents = self._media.fetch_each([chunk[i] for i in missing], deadline)
        fetched = dict(zip(missing, contents, strict=True))
        unseen: dict[int, bytes] = {}
        for index, content in fetched.items():
            if isinstance(content, AnomalyError):
                found[index] = content
                continue
            name = names[index] = names[index] or name_of_content(content)
            found[index] = cache.get(name)
            if found[index] is None:
                unseen[index] = content
        for index, embedding in zip(unseen, embedder.embed(unseen.values()), strict=True):
            found[index] = embedding
            if isinstance(embedding, Embedding):
                cache.put(str(names[index]), embedding)
        return [item for item in found if item is not None]

    def _embed_altered(
        self, place: Place, alterations: Sequence[str], embedder: Embedder, cache: EmbeddingCache
    ) -> list[Embedding]:
        name = self._name(place[0])
        content = None if name else self.fetch(*place)
        name = name or name_of_content(content or b"")
        found = {alteration: cache.get(f"{name}-{alteration}") for alteration in alterations}
        missing = [alteration for alteration, embedding in found.items() if embedding is None]
        if missing:
            content = content or self.fetch(*place)
            for alteration, embedding in zip(missing, embedder.embed_altered(content, missing), strict=True):
                found[alteration] = embedding
                cache.put(f"{name}-{alteration}", embedding)
        return [embedding for embedding in found.values() if embedding is not None]

    def _name(self, uri: str) -> str | None:
        folder = urlsplit(self._settings.public_studio_url).path
        return name_of_address(self._settings.label_studio_url, uri.removeprefix(folder))
