"""Small pictures for the galleries: as they are, or with the anomaly map over them."""

from __future__ import annotations

import hashlib
import io

from anyio import CapacityLimiter

from backend.addresses import unsigned
from backend.cache_folder import THUMBNAILS
from backend.pictures import Pictures, Place
from backend.report.originals import Originals
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.heatmap import overlay
from model.images import read_image

SIDE = 360
AT_ONCE = 8


class Thumbnails:
    """Makes each thumbnail once and keeps it in the cache folder.

    uri: as it is saved with evaluations; an edited task has another. threads: to make them in, so that pictures that
    hang leave the server's other threads to everything else.
    """

    def __init__(self, pictures: Pictures, originals: Originals) -> None:
        self._pictures = pictures
        self._originals = originals
        self.threads = CapacityLimiter(AT_ONCE)

    def plain(self, uri: str, project_id: int, task_id: int) -> bytes:
        """JPEG. Raises AnomalyError when the picture cannot be had."""
        name = f"{project_id}/{task_id}-{_short(uri)}.jpg"
        return self._kept(name) or self._keep(name, self._small(self._place(uri, project_id, task_id)))

    def heat(self, uri: str, project_id: int, task_id: int, version: str, detector: AnomalyDetector) -> bytes:
        """JPEG with the places that the version's detector finds strange."""
        name = f"{project_id}/{task_id}-{version}-{_short(uri)}.jpg"
        kept = self._kept(name)
        if kept:
            return kept
        place = self._place(uri, project_id, task_id)
        prediction = detector.judge(self._embedding(place, detector))
        small = read_image(self._small(place)).image
        shown = overlay(small, prediction.anomaly_map, prediction.pixel_threshold)
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=85)
        return self._keep(name, buffer.getvalue())

    def nearest(self, uri: str, project_id: int, task_id: int, version: str, detector: AnomalyDetector) -> int:
        """The task of the picture that the version learned and that is most like this one."""
        name = f"{project_id}/{task_id}-{version}-{_short(uri)}.nearest"
        kept = self._kept(name)
        if kept:
            return int(kept)
        embedding = self._embedding(self._place(uri, project_id, task_id), detector)
        found = detector.nearest_normal(embedding, besides=str(task_id))
        return int(self._keep(name, found.encode()))

    def _place(self, uri: str, project_id: int, task_id: int) -> Place:
        return self._originals.address(uri, project_id, task_id), task_id

    def _embedding(self, place: Place, detector: AnomalyDetector) -> Embedding:
        found = next(self._pictures.embed_each([place], detector.config))
        if not isinstance(found, Embedding):
            raise found
        return found

    def _small(self, place: Place) -> bytes:
        image = read_image(self._pictures.fetch(*place), enough=SIDE).image
        image.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    def _kept(self, name: str) -> bytes | None:
        return self._pictures.cache.read(f"{THUMBNAILS}/{name}")

    def _keep(self, name: str, content: bytes) -> bytes:
        self._pictures.cache.write(f"{THUMBNAILS}/{name}", content)
        return content


def _short(uri: str) -> str:
    return hashlib.sha256(unsigned(uri).encode()).hexdigest()[:16]
