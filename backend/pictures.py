"""The pictures of tasks as embeddings: from the cache, or fetched and embedded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from backend.cache import EmbeddingCache, name_of_address, name_of_content
from backend.media import Media
from backend.settings import Settings
from model.detector import DetectorConfig
from model.embedding import Embedder, Embedding
from model.errors import AnomalyError

CHUNK = 16

Place = tuple[str, int]
"""A picture's address and its task's id."""


class Pictures:
    """Fetches and embeds; a picture that cannot be had costs only its own place."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._media = Media(settings)
        self._sources: dict[str, tuple[Embedder, EmbeddingCache]] = {}

    def embedder(self, config: DetectorConfig) -> Embedder:
        """The embedder that detectors of this config need."""
        return self._source(config)[0]

    def fetch(self, uri: str, task_id: int) -> bytes:
        """The picture's bytes. Raises MediaUnavailable."""
        return self._media.fetch(uri, task_id)

    def embed_each(
        self, places: Iterable[Place], config: DetectorConfig, *, alteration: str | None = None
    ) -> Iterator[Embedding | AnomalyError]:
        """One embedding as `config` needs it, or the reason why there is none, for each place in turn.

        alteration: what to do to the pictures first, see model.alterations.
        """
        remaining = iter(places)
        while chunk := list(islice(remaining, CHUNK)):
            yield from self._embed_chunk(chunk, *self._source(config), alteration)

    def _source(self, config: DetectorConfig) -> tuple[Embedder, EmbeddingCache]:
        embedder = config.embedder(
            weights=self._settings.backbone_weights,
            device=self._settings.device,
            max_pixels=self._settings.media_max_pixels,
        )
        if embedder.key not in self._sources:
            limit = int(self._settings.cache_max_gb * 1e9)
            self._sources[embedder.key] = embedder, EmbeddingCache(self._settings.cache_dir, limit, embedder.key)
        return self._sources[embedder.key]

    def _embed_chunk(
        self, chunk: Sequence[Place], embedder: Embedder, cache: EmbeddingCache, alteration: str | None
    ) -> list[Embedding | AnomalyError]:
        suffix = f"-{alteration}" if alteration else ""
        names = [name_of_address(self._settings.label_studio_url, uri) for uri, _ in chunk]
        found: list[Embedding | AnomalyError | None] = [cache.get(name + suffix) if name else None for name in names]
        missing = [index for index, item in enumerate(found) if item is None]
        fetched = dict(zip(missing, self._media.fetch_each([chunk[i] for i in missing]), strict=True))
        unseen: dict[int, bytes] = {}
        for index, content in fetched.items():
            if isinstance(content, AnomalyError):
                found[index] = content
                continue
            names[index] = names[index] or name_of_content(content)
            found[index] = cache.get(f"{names[index]}{suffix}")
            if found[index] is None:
                unseen[index] = content
        for index, embedding in zip(unseen, embedder.embed(unseen.values(), alteration=alteration), strict=True):
            found[index] = embedding
            if isinstance(embedding, Embedding):
                cache.put(f"{names[index]}{suffix}", embedding)
        return [item for item in found if item is not None]
