"""AnomalyDetector: learns what normal looks like and judges pictures against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice, tee
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from model.alterations import FIXED
from model.calibration import Calibration, suspects
from model.config import DetectorConfig
from model.copies import first_copies, same, seem_paired
from model.embedding import Embedder, Embedding
from model.errors import AnomalyError, ArtifactInvalid, ImageUnreadable, NotEnoughNormals
from model.fitted import Fitted, TrainingImage, pack, unpack
from model.images import ImageSource, ImageSources, pictures_in, read_size
from model.memory_bank import MemoryBank
from model.orientation import could_be_normal
from model.parts import guessed, places, shown_parts
from model.patch_memory import Maps, PatchMemory, measure, remember
from model.prediction import Prediction, Verdict, explain
from model.regions import find_regions
from model.tiling import AUTO, choose_tiles
from model.weights import fingerprint

FEWEST_NORMALS = 2
SIZED = 10
Progress = Callable[[str, int, int], None]


class AnomalyDetector:
    """Learns from normal pictures alone; calls others normal or abnormal, with a score and the place.

    Pictures are a folder, one picture or many: paths, bytes, open files, Pillow images or arrays. Here five grey ones,
    and one with a dark corner:

    >>> import numpy as np
    >>> from PIL import Image
    >>> pixels = np.random.default_rng(0).normal(128, 8, (6, 96, 96, 3)).astype(np.uint8)
    >>> pixels[5, 64:88, 64:88] = 20
    >>> *normal, dark = [Image.fromarray(picture) for picture in pixels]
    >>> detector = AnomalyDetector(DetectorConfig(image_size=96)).fit(normal)
    >>> detector
    AnomalyDetector(efficientnet_lite2, learned from 5 normal pictures)
    >>> print(detector.predict([dark])[0].reason)
    Unlike the 5 normal pictures: none of them is this unusual. The most unusual place is at the bottom right.

    `save` and `load` keep a trained one in a file.
    """

    def __init__(self, config: DetectorConfig | None = None, *, embedder: Embedder | None = None) -> None:
        self.config = config or DetectorConfig()
        self.embedder = embedder or self.config.embedder()
        self._fitted: Fitted | None = None
        self._searched: tuple[PatchMemory, torch.device, PatchMemory] | None = None

    def __repr__(self) -> str:
        learned = f"learned from {len(self._fitted.names)} normal pictures" if self._fitted else "learned nothing yet"
        return f"AnomalyDetector({self.config.backbone}, {learned})"

    # Learning

    def fit(self, images: ImageSources, *, trusted: Container[str] = (), progress: Progress | None = None) -> Self:
        """Learns from normal pictures.

        trusted: names of pictures, as `training` has them, that are normal beyond doubt and never set aside.
        progress: called with (phase, done, total). Raises ImageUnreadable at the first picture that cannot be
        read and NotEnoughNormals below two; use `embedder.embed` and `fit_embeddings` to go on without it.
        """
        sources = list(pictures_in(images))
        names = _names(sources)
        self.settle_tiles(sources)
        embeddings = self._embed(sources, names, progress)
        altered = self.embed_altered(sources, names)
        return self.fit_embeddings(embeddings, names, altered=altered, trusted=trusted, progress=progress)

    def _embed(
        self, sources: Sequence[ImageSource], names: Sequence[str], progress: Progress | None
    ) -> list[Embedding]:
        embeddings: list[Embedding] = []
        for name, item in zip(names, self.embedder.embed(sources), strict=True):
            if isinstance(item, ImageUnreadable):
                raise ImageUnreadable(f"{name}: {item}") from item
            embeddings.append(item)
            _report(progress, "reading pictures", len(embeddings), len(sources))
        return embeddings

    def settle_tiles(self, sources: Sequence[ImageSource]) -> None:
        """Chooses the tiles by the size of the first pictures, where the config leaves it open."""
        if self.config.tiles != AUTO:
            return
        sizes = [*self._sizes(sources[:SIZED])]
        if sizes:
            grid = choose_tiles(sizes, self.config.image_size)
            self.config = replace(self.config, tiles=str(grid))
            self.embedder = self.embedder.with_grid(grid)

    def _sizes(self, sources: Sequence[ImageSource]) -> Iterator[tuple[float, float]]:
        """Width and height of the area's frame in each, in pixels."""
        frame = self.config.area.frame
        for source in sources:
            with suppress(ImageUnreadable):
                width, height = read_size(source, max_pixels=self.embedder.max_pixels)
                yield width * frame.width, height * frame.height

    def embed_altered(
        self, sources: Sequence[ImageSource], names: Sequence[str], *, most: int | None = None
    ) -> dict[str, list[Embedding]]:
        """By name, the first pictures in the other light, focus and position that the config allows.

        most: how many; as many as the config says. Raises ImageUnreadable.
        """
        most = self.config.most_altered if most is None else most
        return {
            name: self.embedder.embed_altered(source, self.config.alterations)
            for source, name in zip(sources[:most], names, strict=False)
        }

    def fit_embeddings(
        self,
        embeddings: Sequence[Embedding],
        names: Sequence[str],
        *,
        altered: Mapping[str, Sequence[Embedding]] | None = None,
        parts: Mapping[str, str] | None = None,
        trusted: Container[str] = (),
        fewest: int = FEWEST_NORMALS,
        progress: Progress | None = None,
    ) -> Self:
        """Learns from pictures that are embedded already; `names` tells them apart. Copies count once.

        altered: by name, embeddings of a picture under the config's alterations, in their order; normal then too, but
        for those that lay items as in no normal picture (`abnormal_turns`).
        parts: by name, which physical part a picture shows, where people say so; where they do not, pictures that are
        nearly the same place by place are taken for one part (`shown_parts`). A picture is measured by what was learned
        of other parts, as a new part will be.
        trusted: names of pictures that are normal beyond doubt, and never set aside, however unusual.
        fewest: pictures, at least two, below which NotEnoughNormals is raised.
        """
        firsts = first_copies([embedding.look for embedding in embeddings])
        different = sorted(set(firsts))
        if len(different) < fewest:
            raise NotEnoughNormals(len(different), fewest)
        fitted = self._fit_different(
            [embeddings[index] for index in different],
            [names[index] for index in different],
            altered or {},
            parts or {},
            {names[first] for first, name in zip(firsts, names, strict=True) if name in trusted},
            progress,
        )
        measured = dict(zip(different, fitted.training, strict=True))
        training = tuple(replace(measured[first], name=name) for first, name in zip(firsts, names, strict=True))
        self._fitted = replace(fitted, training=training, weights=fingerprint(self.embedder.weights))
        return self

    def _fit_different(
        self,
        embeddings: Sequence[Embedding],
        names: Sequence[str],
        altered: Mapping[str, Sequence[Embedding]],
        parts: Mapping[str, str],
        trusted: Container[str],
        progress: Progress | None,
    ) -> Fitted:
        """What is learned from pictures of which none is a copy of another. Arguments are those of `fit_embeddings`."""
        named = [parts.get(name) for name in names]
        what_is_where = torch.stack([places(embedding.of_network) for embedding in embeddings])
        shown = shown_parts(what_is_where, named)
        groups = [self._by_alteration(altered.get(name, ())) for name in names]
        abnormal_turns = self._abnormal_turns(what_is_where, groups)
        one_way = self.config.orientation == FIXED or bool(abnormal_turns)
        variants = [[one for name, one in group.items() if name not in abnormal_turns] for group in groups]
        banks = self._remember(embeddings, variants, shown)
        memory, maps = self._measure(banks, embeddings, shown, one_way, progress)
        scores = np.array([self._raw_score(unseen.score) for unseen in maps])
        doubtful = suspects(scores) & np.array([name not in trusted for name in names])
        kept = [index for index in range(len(embeddings)) if not doubtful[index]]
        kept_parts = [shown[index] for index in kept]
        if len(kept) < len(embeddings):
            without = [bank.of(kept_parts) for bank in banks]
            memory, maps = self._measure(without, [embeddings[index] for index in kept], kept_parts, one_way, progress)
            scores[kept] = [self._raw_score(unseen.score) for unseen in maps]
        peaks = np.sort([float(unseen.place.max()) for unseen in maps])
        independent = len(set(kept_parts))
        return Fitted(
            memory=memory,
            calibration=Calibration(
                np.sort(scores[kept]), self.config.alarm_rate, independent if independent < len(kept) else None
            ),
            peaks=peaks,
            peak_parts=independent,
            looks=torch.stack([embeddings[index].look for index in kept]),
            names=tuple(names[index] for index in kept),
            parts=tuple(kept_parts),
            guessed=guessed(kept_parts, [named[index] for index in kept]),
            abnormal_turns=abnormal_turns,
            training=tuple(
                TrainingImage(name, float(score), bool(suspect))
                for name, score, suspect in zip(names, scores, doubtful, strict=True)
            ),
        )

    def _by_alteration(self, altered: Sequence[Embedding]) -> dict[str, Embedding]:
        return dict(zip(self.config.alterations, altered, strict=False))

    def _abnormal_turns(self, shown: Tensor, altered: Sequence[Mapping[str, Embedding]]) -> tuple[str, ...]:
        """The alterations that lay items as in no normal picture. shown, altered: of each normal picture."""
        turned = {
            turn: {index: places(group[turn].of_network) for index, group in enumerate(altered) if turn in group}
            for turn in self.config.doubtful_turns
        }
        return tuple(turn for turn, pictures in turned.items() if not could_be_normal(shown, pictures))

    def extend(self, images: ImageSources, *, trusted: Container[str] = (), progress: Progress | None = None) -> Self:
        """Also learns from these normal pictures; takes as long as judging them. Arguments are those of `fit`.

        Raises ImageUnreadable at the first that cannot be read, and then has learned none of them.
        """
        self._check_weights()
        sources = list(pictures_in(images))
        names = _names(sources, after=len(self._known.training))
        return self.extend_embeddings(self._embed(sources, names, progress), names, trusted=trusted)

    @torch.inference_mode()
    def extend_embeddings(
        self, embeddings: Sequence[Embedding], names: Sequence[str], *, trusted: Container[str] = ()
    ) -> Self:
        """As `extend`, from pictures that are embedded already. Arguments are those of `fit_embeddings`.

        What was learned before is not measured again: its out-of-sample scores stay, a little too high, and the
        pixel threshold with them. Once a good tenth has been added, fitting all of them anew pays.
        """
        known = self._known
        before = len(known.names)
        firsts = first_copies([*known.looks, *(embedding.look for embedding in embeddings)], after=before)
        fresh = [index for index, first in enumerate(firsts) if first == before + index]
        fitted = self._extended([embeddings[index] for index in fresh], [names[index] for index in fresh], trusted)
        measured = {image.name: image for image in fitted.training}
        originals = (*known.names, *names)
        added = tuple(replace(measured[originals[first]], name=name) for first, name in zip(firsts, names, strict=True))
        self._fitted = replace(fitted, training=(*known.training, *added))
        return self

    def _extended(self, embeddings: Sequence[Embedding], names: Sequence[str], trusted: Container[str]) -> Fitted:
        """What is known once these pictures, none of them a copy, are learned too."""
        known = self._known
        scores = np.array([self.raw_score(embedding) for embedding in embeddings])
        before = np.array([image.raw_score for image in known.training])
        doubtful = suspects(np.concatenate([before, scores]))[len(before) :]
        doubtful &= np.array([name not in trusted for name in names], dtype=bool)
        memory, kept = known.memory, np.flatnonzero(~doubtful)
        parts = range(max(known.parts) + 1, max(known.parts) + 1 + len(kept))
        for learned, (part, index) in enumerate(zip(parts, kept, strict=True), start=len(known.names)):
            memory = memory.with_picture(embeddings[index].layers, part, learned, area=self.config.area.inside)
        return replace(
            known,
            memory=memory,
            calibration=replace(
                known.calibration,
                scores=np.sort(np.concatenate([known.calibration.scores, scores[kept]])),
                parts=known.calibration.parts and known.calibration.parts + len(kept),
            ),
            looks=torch.cat([known.looks, *(embeddings[index].look[None] for index in kept)]),
            names=(*known.names, *(names[index] for index in kept)),
            parts=(*known.parts, *parts),
            training=(*known.training, *map(TrainingImage, names, scores.tolist(), doubtful.tolist())),
        )

    @torch.inference_mode()
    def _remember(
        self, embeddings: Sequence[Embedding], altered: Sequence[Sequence[Embedding]], parts: Sequence[int]
    ) -> list[MemoryBank]:
        return remember(
            [embedding.layers for embedding in embeddings],
            [[embedding.layers for embedding in group] for group in altered],
            parts,
            area=self.config.area.inside,
            rows=self.config.bank_rows,
            seed=self.config.seed,
            device=self.embedder.search_device,
        )

    @torch.inference_mode()
    def _measure(
        self,
        banks: Sequence[MemoryBank],
        embeddings: Sequence[Embedding],
        parts: Sequence[int],
        one_way: bool,
        progress: Progress | None,
    ) -> tuple[PatchMemory, list[Maps]]:
        weights = self.config.layer_weights
        steps, total = count(1), len(weights) * len(embeddings)
        return measure(
            banks,
            [embedding.layers for embedding in embeddings],
            parts,
            weights,
            area=self.config.area.inside,
            one_way=one_way,
            tick=lambda: _report(progress, "learning and measuring", next(steps), total),
        )

    def _raw_score(self, anomaly_map: Tensor) -> float:
        strangest = self.config.strangest(*anomaly_map.shape)
        return float(anomaly_map.flatten().topk(strangest).values.mean())

    # Judging

    def predict(self, images: ImageSources) -> list[Prediction]:
        """Judges pictures. Raises ImageUnreadable at the first that cannot be read; see `predict_each`."""
        sources, named = tee(pictures_in(images))
        predictions: list[Prediction] = []
        for source, item in zip(named, self.predict_each(sources), strict=True):
            if isinstance(item, ImageUnreadable):
                raise ImageUnreadable(f"{_name(source, len(predictions) + 1)}: {item}") from item
            predictions.append(item)
        return predictions

    def predict_each(self, images: ImageSources) -> Iterator[Prediction | ImageUnreadable]:
        """One prediction, or the reason why there is none, for each picture in turn.

        Raises ArtifactInvalid where the embedder's weights are not those that the model was learned with.
        """
        self._check_weights()
        embedded = self.embedder.embed(pictures_in(images))
        while batch := list(islice(embedded, self.embedder.batch)):
            judged = iter(self.judge_all([item for item in batch if isinstance(item, Embedding)]))
            yield from (item if isinstance(item, ImageUnreadable) else next(judged) for item in batch)

    def _check_weights(self) -> None:
        if self._known.weights not in (None, fingerprint(self.embedder.weights)):
            raise ArtifactInvalid(
                f"the model was learned with other weights of {self.config.backbone}: give the file that holds them"
            )

    def judge(self, embedding: Embedding) -> Prediction:
        """The verdict on one embedded picture."""
        return self.judge_all([embedding])[0]

    def judge_all(self, embeddings: Sequence[Embedding]) -> list[Prediction]:
        """The verdict on each embedded picture; on a GPU many take hardly longer than one."""
        return [self._conclude(*judged) for judged in zip(embeddings, self._maps(embeddings), strict=True)]

    def _conclude(self, embedding: Embedding, maps: Maps) -> Prediction:
        fitted, area = self._known, self.config.area
        raw_score = self._raw_score(maps.score)
        p_value = fitted.calibration.p_value(raw_score)
        verdict = fitted.calibration.verdict(raw_score)
        found = find_regions(maps.place.numpy(), fitted.pixel_threshold) if verdict is Verdict.ABNORMAL else ()
        regions = tuple(region.in_picture(area.frame) for region in found)
        return Prediction(
            score=fitted.calibration.score(raw_score),
            raw_score=raw_score,
            p_value=p_value,
            verdict=verdict,
            anomaly_map=area.in_picture(maps.place).numpy(),
            pixel_threshold=fitted.pixel_threshold,
            regions=regions,
            nearest_normal=self.nearest_normal(embedding),
            reason=explain(verdict, p_value, regions, len(fitted.calibration.scores)),
            width=embedding.width,
            height=embedding.height,
        )

    def raw_score(self, embedding: Embedding) -> float:
        """Only the raw score of an embedded picture; cheaper than a whole prediction."""
        return self._raw_score(self._maps([embedding])[0].score)

    @torch.inference_mode()
    def _maps(self, embeddings: Sequence[Embedding]) -> list[Maps]:
        """Of each picture its maps, on the CPU."""
        if not embeddings:
            return []
        layers = zip(*(embedding.layers for embedding in embeddings), strict=True)
        found = self._memory_to_search().maps(tuple(map(torch.stack, layers)))
        return [Maps(*pair) for pair in zip(found.score.cpu(), found.place.cpu(), strict=True)]

    def _memory_to_search(self) -> PatchMemory:
        """The memory where patches are searched for; it is taken there once."""
        memory, device = self._known.memory, self.embedder.search_device
        if self._searched is None or self._searched[0] is not memory or self._searched[1] != device:
            self._searched = memory, device, memory.to(device)
        return self._searched[2]

    def copy_of(self, embedding: Embedding) -> str | None:
        """The name of the remembered picture that this one is a copy of."""
        found = torch.nonzero(same(self._known.looks, embedding.look))
        return self._known.names[int(found[0])] if len(found) else None

    def nearest_normal(self, embedding: Embedding, *, besides: str | None = None) -> str:
        """The name of the remembered picture that is most like this one. besides: its own, where it was learned."""
        names = self._known.names
        distances = (self._known.looks - embedding.look).square().sum(dim=1)
        if besides in names:
            distances[names.index(besides)] = torch.inf
        return names[int(distances.argmin())]

    # What it knows

    @property
    def calibration(self) -> Calibration:
        return self._known.calibration

    @property
    def guessed(self) -> int:
        """How many pictures count as one part with another, though nobody said so, because they are nearly the same."""
        return self._known.guessed

    @property
    def abnormal_turns(self) -> tuple[str, ...]:
        """How no normal picture lies, so that an item which does is abnormal: names of ALTERATIONS, as `mirrored`."""
        return self._known.abnormal_turns

    @property
    def seems_paired(self) -> bool:
        """Whether most pictures resemble one that counts as another part so much that they may show the same.

        The threshold would be far too low then: each makes the other look known.
        """
        return seem_paired(self._known.looks, self._known.parts)

    @property
    def memory(self) -> PatchMemory:
        """What it remembers of normal pictures."""
        return self._known.memory

    @property
    def training(self) -> tuple[TrainingImage, ...]:
        """The pictures it was given, with their out-of-sample scores and which were set aside."""
        return self._known.training

    def with_alarm_rate(self, alarm_rate: float) -> AnomalyDetector:
        """As if it had been learned with another false-alarm rate, in (0, 1). Raises ValueError."""
        known = self._known
        other = AnomalyDetector(replace(self.config, alarm_rate=alarm_rate), embedder=self.embedder)
        other._fitted = replace(known, calibration=replace(known.calibration, alarm_rate=alarm_rate))
        return other

    @property
    def _known(self) -> Fitted:
        if self._fitted is None:
            raise AnomalyError("the detector has learned nothing yet: call fit with normal pictures first")
        return self._fitted

    # Keeping

    def to_bytes(self) -> bytes:
        """The trained detector as the content of one safetensors file."""
        return pack(self.config, self._known)

    @classmethod
    def from_bytes(cls, content: bytes, *, embedder: Embedder | None = None) -> AnomalyDetector:
        """The inverse of to_bytes. Raises ArtifactInvalid on a damaged or foreign file."""
        config, fitted = unpack(content)
        detector = cls(config, embedder=embedder)
        detector._fitted = fitted
        return detector

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the trained detector to one file, all or nothing."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        partial.write_bytes(self.to_bytes())
        partial.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, embedder: Embedder | None = None) -> AnomalyDetector:
        """Reads a file that `save` wrote. Raises ArtifactInvalid when it is missing, damaged or foreign."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ArtifactInvalid(f"{path} cannot be read: {error.strerror}") from error
        return cls.from_bytes(content, embedder=embedder)


def _names(sources: Sequence[ImageSource], *, after: int = 0) -> list[str]:
    """after: how many pictures came before."""
    return [_name(source, after + place) for place, source in enumerate(sources, start=1)]


def _name(source: ImageSource, place: int) -> str:
    """A path as it is; another picture by its place."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"picture {place}"


def _report(progress: Progress | None, phase: str, done: int, total: int) -> None:
    if progress is not None:
        progress(phase, done, total)
