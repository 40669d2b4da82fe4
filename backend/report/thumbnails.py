"""Small pictures for the galleries: as they are, or with the anomaly map over them."""

from __future__ import annotations

import hashlib
import io

from backend.cache_folder import THUMBNAILS
from backend.pictures import Pictures
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.heatmap import overlay
from model.images import read_image

SIDE = 360


class Thumbnails:
    """Makes each thumbnail once and keeps it in the cache folder.

    key: begins with its project's folder there. The picture's address is added: an edited task has another.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def plain(self, uri: str, task_id: int, *, key: str) -> bytes:
        """JPEG. Raises AnomalyError when the picture cannot be had. key: names project and task."""
        name = f"{key}-{_short(uri)}.jpg"
        return self._kept(name) or self._keep(name, self._small(uri, task_id))

    def heat(self, uri: str, task_id: int, detector: AnomalyDetector, *, key: str) -> bytes:
        """JPEG with the places that `detector` finds strange. key: names project, task and version."""
        name = f"{key}-{_short(uri)}.jpg"
        kept = self._kept(name)
        if kept:
            return kept
        prediction = detector.judge(self._embedding(uri, task_id, detector))
        small = read_image(self._small(uri, task_id)).image
        shown = overlay(small, prediction.anomaly_map, prediction.pixel_threshold)
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=85)
        return self._keep(name, buffer.getvalue())

    def nearest(self, uri: str, task_id: int, detector: AnomalyDetector, *, key: str) -> int:
        """The task of the learned picture that is most like this one. key: names project, task and version."""
        name = f"{key}-{_short(uri)}.nearest"
        kept = self._kept(name)
        if kept:
            return int(kept)
        found = detector.nearest_normal(self._embedding(uri, task_id, detector), besides=str(task_id))
        return int(self._keep(name, found.encode()))

    def _embedding(self, uri: str, task_id: int, detector: AnomalyDetector) -> Embedding:
        found = next(self._pictures.embed_each([(uri, task_id)], detector.config))
        if not isinstance(found, Embedding):
            raise found
        return found

    def _small(self, uri: str, task_id: int) -> bytes:
        image = read_image(self._pictures.fetch(uri, task_id), enough=SIDE).image
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
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
