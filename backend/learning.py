"""From pictures that people tagged normal to a detector."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from backend.board import Board
from backend.dataset import Dataset, LabelledImage
from backend.deciding import trusted_of
from backend.errors import PicturesUnreadable
from backend.pictures import Pictures, Place
from backend.settings import Settings
from model.config import DetectorConfig
from model.detector import SIZED, AnomalyDetector
from model.embedding import Embedding
from model.tiling import AUTO, WHOLE, choose_tiles

log = logging.getLogger(__name__)


class Learner:
    """Fetches and embeds the pictures, and fits a detector to them. The board is told of progress and of failures."""

    def __init__(self, settings: Settings, pictures: Pictures, board: Board) -> None:
        self._settings = settings
        self._pictures = pictures
        self._board = board

    def fit(self, project_id: int, dataset: Dataset, config: DetectorConfig) -> tuple[AnomalyDetector, frozenset[int]]:
        """A detector that has learned the dataset, and the tasks whose pictures could not be read."""
        training = dataset.training
        config = self._settle_tiles(project_id, [(image.uri, image.task_id) for image in training], config)
        found, failed = self.embed(project_id, training, config, told="reading pictures")
        if failed and len(found) < max(len(training) / 2, self._settings.min_normals):
            reason = next(iter(failed.values()))[1]
            raise PicturesUnreadable(
                f"{len(failed)} of the {len(training)} normal pictures cannot be read, the first because: {reason}"
            )
        detector = AnomalyDetector(config, embedder=self._pictures.embedder(config)).fit_embeddings(
            list(found.values()),
            [str(task_id) for task_id in found],
            altered=self._altered([image for image in training if image.task_id in found], config),
            parts={str(image.task_id): image.part for image in training if image.part},
            trusted={str(task_id) for task_id in trusted_of(dataset)},
            fewest=self._settings.min_normals,
            progress=partial(self._board.post_progress, project_id),
        )
        return detector, frozenset(failed)

    def embed(
        self, project_id: int, images: Sequence[LabelledImage], config: DetectorConfig, *, told: str = ""
    ) -> tuple[dict[int, Embedding], dict[int, tuple[str, str]]]:
        """By task, the embeddings of pictures, and of those that cannot be read the address and the reason.

        told: what to call this on the progress bar, if it is to be told.
        """
        found: dict[int, Embedding] = {}
        failed: dict[int, tuple[str, str]] = {}
        places = [(image.uri, image.task_id) for image in images]
        for done, (image, item) in enumerate(zip(images, self._pictures.embed_each(places, config), strict=True)):
            if told:
                self._board.post_progress(project_id, told, done, len(images))
            if isinstance(item, Embedding):
                found[image.task_id] = item
            else:
                failed[image.task_id] = (image.uri, str(item))
        self._board.note_pictures(project_id, failed, solved=list(found))
        return found, failed

    def _settle_tiles(self, project_id: int, places: Sequence[Place], config: DetectorConfig) -> DetectorConfig:
        """Chooses the tiles by the size of the first pictures, where the settings leave it open."""
        if config.tiles != AUTO:
            return config
        found = [item for item in self._pictures.embed_each(places[:SIZED], config) if isinstance(item, Embedding)]
        if not found:
            return replace(config, tiles=str(WHOLE))
        grid = choose_tiles([(item.width, item.height) for item in found], config.image_size)
        log.info(
            "project %s: pictures of about %s x %s pixels: %s tiles", project_id, found[0].width, found[0].height, grid
        )
        return replace(config, tiles=str(grid))

    def _altered(self, images: Sequence[LabelledImage], config: DetectorConfig) -> dict[str, list[Embedding]]:
        """By task, embeddings of the first pictures in other light, focus and position."""
        places = [(image.uri, image.task_id) for image in images[: config.most_altered]]
        found = self._pictures.embed_altered(places, config)
        return {str(task_id): altered for (_, task_id), altered in zip(places, found, strict=True)}
