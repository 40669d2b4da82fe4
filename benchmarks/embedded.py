"""A data set whose pictures are embedded once, so that many detectors can be fitted to parts of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.datasets import DataSet
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.errors import ImageUnreadable
from model.evaluation import auroc

Indices = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddedSet:
    """data: its pictures are meant by index, the normal ones first. untrained: its config and embedder serve all."""

    data: DataSet
    untrained: AnomalyDetector
    embeddings: list[Embedding]
    _altered: dict[int, list[Embedding]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: DataSet, untrained: AnomalyDetector) -> Self:
        """Embeds all pictures of `data`. Raises ImageUnreadable."""
        reading = untrained.embedder.embed(data.pictures)
        shown = tqdm(reading, total=len(data.pictures), desc=f"{data.name}: embedding", leave=False)
        return cls(data, untrained, list(readable(shown)))

    def fit(self, learned: Indices) -> AnomalyDetector:
        """A detector that has learned these pictures, the first of them altered too, whatever they really are."""
        names = [str(index) for index in learned]
        return AnomalyDetector(self.untrained.config, embedder=self.untrained.embedder).fit_embeddings(
            [self.embeddings[index] for index in learned],
            names,
            altered={str(index): self.altered(int(index)) for index in learned[: self.untrained.config.most_altered]},
        )

    def altered(self, index: int) -> list[Embedding]:
        """A picture in other light, focus and position, embedded when first asked for."""
        if index not in self._altered:
            found = self.untrained.embed_altered([self.data.pictures[index]], ["it"], most=1)
            self._altered[index] = found["it"]
        return self._altered[index]

    def raw_scores(self, trained: AnomalyDetector, judged: Indices) -> NDArray[np.float64]:
        return raw_scores(trained, [self.embeddings[index] for index in judged])

    def abnormal(self, indices: Indices) -> NDArray[np.bool_]:
        """Which of these pictures are abnormal."""
        return np.asarray(indices) >= len(self.data.normal)

    def auroc(self, trained: AnomalyDetector, judged: Indices) -> float:
        return auroc(self.raw_scores(trained, judged), self.abnormal(judged))


def raw_scores(trained: AnomalyDetector, judged: Iterable[Embedding]) -> NDArray[np.float64]:
    return np.array([trained.raw_score(embedding) for embedding in judged])


def called_abnormal(scores: NDArray[np.float64], trained: AnomalyDetector) -> float:
    """The share of raw scores above the threshold."""
    return float(np.mean(scores > trained.calibration.threshold))


def readable(found: Iterable[Embedding | ImageUnreadable]) -> Iterator[Embedding]:
    """The embeddings. Raises ImageUnreadable: a benchmark leaves no picture out in silence."""
    for item in found:
        if isinstance(item, ImageUnreadable):
            raise item
        yield item
