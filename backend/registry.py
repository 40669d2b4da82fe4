"""Model versions: immutable folders, one atomic pointer to the promoted one, rollback.

Layout below MODEL_DIR, which may be a folder or an object store that fsspec knows:

    7/project.json                      what is known of project 7
    7/current.json                      the pointer: which version is promoted, since when, why, by whom
    7/rule.json                         the false-alarm rate that people chose for it
    7/versions/<version>/model.safetensors, manifest.json, evaluation.json, summary.json

A version is complete once its manifest is there; the manifest is written last.
"""

from __future__ import annotations

import json
import logging
import os
import posixpath
import re
import threading
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from backend.errors import StoreUnwritable, UnknownProject, UnknownVersion
from model.detector import AnomalyDetector

log = logging.getLogger(__name__)

Json = dict[str, Any]

MOST_PROMOTIONS = 100
SUMMARY = ("evaluated_at", "threshold", "dev", "test", "held_out")
HIGHEST_ID = 2**63 - 1
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What is known of one trained model besides the model itself.

    name: content-derived, stable. fingerprint: of the training set. normals: pictures that it learned from.
    training_tasks: the tasks that it was given. trusted_tasks: those of them that are ground truth. recipe: of
    the settings that it depends on. seconds: how long training took.
    """

    name: str
    project_id: int
    created_at: str
    fingerprint: str
    normals: int
    training_tasks: tuple[int, ...]
    recipe: str
    seconds: float
    trusted_tasks: tuple[int, ...]
    provisional: bool
    threshold: float
    alarm_rate: float
    attainable_rate: float


class Registry:
    """The versions of all projects below one folder or bucket."""

    def __init__(self, root: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(root)
        self._loaded: dict[int, tuple[str, AnomalyDetector]] = {}
        self._parsed: dict[int, tuple[bytes, Json]] = {}
        self._lock = threading.Lock()

    # Projects

    def projects(self) -> list[int]:
        """The ids of all projects that have ever connected."""
        if not self._fs.exists(self._root):
            return []
        self._fs.invalidate_cache()
        names = [posixpath.basename(path.rstrip("/")) for path in self._fs.ls(self._root, detail=False)]
        return sorted(int(name) for name in names if name.isdecimal())

    def knows(self, project_id: int) -> bool:
        return bool(self._fs.exists(self._path(project_id, "project.json")))

    def remember(self, project_id: int) -> None:
        """Makes a project known; does nothing for one that is."""
        if not self.knows(project_id):
            self._write_json({"connected_at": now()}, project_id, "project.json")

    def project(self, project_id: int) -> Json:
        """What is known of a project: connected_at, backends, missing_since."""
        return self._read_json(project_id, "project.json") or {}

    def note(self, project_id: int, **facts: object) -> None:
        """Adds to what is known of a project."""
        self._write_json(self.project(project_id) | facts, project_id, "project.json")

    def forget(self, project_id: int) -> None:
        """Deletes all that is kept of a project."""
        self._fs.rm(self._path(project_id), recursive=True)
        self._fs.invalidate_cache()
        with self._lock:
            self._loaded.pop(project_id, None)

    # Versions

    def save(self, version: ModelVersion, detector: AnomalyDetector, evaluation: Json) -> None:
        """Stores a version. It is not promoted yet."""
        self._write(detector.to_bytes(), version.project_id, "versions", version.name, "model.safetensors")
        self.save_evaluation(version.project_id, version.name, evaluation)
        self._write_json(asdict(version), version.project_id, "versions", version.name, "manifest.json")

    def versions(self, project_id: int) -> list[ModelVersion]:
        """All complete versions, oldest first."""
        folder = self._path(project_id, "versions")
        self._fs.invalidate_cache()
        if not self._fs.exists(folder):
            return []
        names = [posixpath.basename(path.rstrip("/")) for path in self._fs.ls(folder, detail=False)]
        found = [self._manifest(project_id, name) for name in names]
        return sorted((version for version in found if version), key=lambda version: version.created_at)

    def prune(self, project_id: int, keep: int) -> list[str]:
        """Deletes all but the newest `keep` versions, never the one in charge; returns the names of the deleted."""
        names = [version.name for version in self.versions(project_id)]
        current = self.current(project_id)
        old = [name for name in names[: max(0, len(names) - keep)] if name != current]
        for name in old:
            # The manifest first: a version that is half deleted counts as none.
            self._fs.rm_file(self._path(project_id, "versions", name, "manifest.json"))
            self._fs.rm(self._path(project_id, "versions", name), recursive=True)
        return old

    def version(self, project_id: int, name: str) -> ModelVersion:
        """One version. Raises UnknownVersion."""
        found = self._manifest(project_id, name)
        if found is None:
            raise UnknownVersion(f"project {project_id} has no model version {name!r}")
        return found

    def save_evaluation(self, project_id: int, name: str, evaluation: Json) -> None:
        summary = {key: evaluation[key] for key in SUMMARY if key in evaluation}
        summary["drift_p_value"] = (evaluation.get("drift") or {}).get("p_value")
        self._write_json(evaluation, project_id, "versions", name, "evaluation.json")
        self._write_json(summary, project_id, "versions", name, "summary.json")

    def evaluation(self, project_id: int, name: str) -> Json | None:
        """All of it, every picture included; not to be changed by the reader, because others read it too."""
        content = self._read(project_id, "versions", name, "evaluation.json")
        if content is None:
            return None
        known = self._parsed.get(project_id)
        if known is None or known[0] != content:
            known = self._parsed[project_id] = (content, json.loads(content))
        return known[1]

    def summary(self, project_id: int, name: str) -> Json:
        """An evaluation's numbers, without the pictures: small, however many they are."""
        return self._read_json(project_id, "versions", name, "summary.json") or {}

    def names(self) -> list[str]:
        """The versions of all projects, the newest first."""
        found = [version for project in self.projects() for version in self.versions(project)]
        return [version.name for version in sorted(found, key=lambda version: version.created_at, reverse=True)]

    # The pointer

    def current(self, project_id: int) -> str | None:
        """The promoted version's name."""
        version = self._pointer(project_id)["version"]
        return None if version is None else str(version)

    def promote(self, project_id: int, name: str, reason: str, *, by: str = "") -> None:
        """Makes a complete version the one in charge, at once for every server. Raises UnknownVersion."""
        self.version(project_id, name)
        pointer = self._pointer(project_id)
        promotion = {"version": name, "promoted_at": now(), "reason": reason, "by": by}
        self._write_json(
            promotion
            | {
                "passed_over": [other for other in pointer["passed_over"] if other != name],
                "history": [*pointer["history"], promotion][-MOST_PROMOTIONS:],
            },
            project_id,
            "current.json",
        )

    def pass_over(self, project_id: int, name: str) -> None:
        """Notes that a version is not to be put in charge on its own: it did worse, or people rolled it back."""
        pointer = self._pointer(project_id)
        if name not in pointer["passed_over"]:
            self._write_json(pointer | {"passed_over": [*pointer["passed_over"], name]}, project_id, "current.json")

    def is_passed_over(self, project_id: int, name: str) -> bool:
        return name in self._pointer(project_id)["passed_over"]

    def promotions(self, project_id: int) -> list[Json]:
        """The latest promotions, oldest first: version, promoted_at, reason, by."""
        return list(self._pointer(project_id)["history"])

    def _pointer(self, project_id: int) -> Json:
        empty: Json = {"version": None, "passed_over": [], "history": []}
        return empty | (self._read_json(project_id, "current.json") or {})

    # The rule

    def alarm_rate(self, project_id: int) -> float | None:
        """The false-alarm rate that people chose for this project; None leaves it to the settings."""
        rules = self.rules(project_id)
        return rules[-1]["alarm_rate"] if rules else None

    def rules(self, project_id: int) -> list[Json]:
        """What people chose, oldest first: alarm_rate, set_at, by."""
        return list((self._read_json(project_id, "rule.json") or {"history": []})["history"])

    def set_alarm_rate(self, project_id: int, alarm_rate: float | None, *, by: str = "") -> None:
        """Keeps a choice; versions trained from now on follow it."""
        rule = {"alarm_rate": alarm_rate, "set_at": now(), "by": by}
        history = [*self.rules(project_id), rule][-MOST_PROMOTIONS:]
        self._write_json({"history": history}, project_id, "rule.json")

    def detector(self, project_id: int, name: str) -> AnomalyDetector:
        """A version's detector; the last one asked for stays in memory."""
        with self._lock:
            loaded = self._loaded.get(project_id)
            if loaded and loaded[0] == name:
                return loaded[1]
        content = VERSION_NAME.fullmatch(name) and self._read(project_id, "versions", name, "model.safetensors")
        if not content:
            raise UnknownVersion(f"project {project_id} has no model version {name!r}")
        detector = AnomalyDetector.from_bytes(content)
        with self._lock:
            self._loaded[project_id] = (name, detector)
        return detector

    # Files

    def _manifest(self, project_id: int, name: str) -> ModelVersion | None:
        if not VERSION_NAME.fullmatch(name):
            return None
        content = self._read_json(project_id, "versions", name, "manifest.json")
        if content is None:
            return None
        known = {field.name: content[field.name] for field in fields(ModelVersion)}  # a newer release may write more
        tasks = {name: tuple(content[name]) for name in ("training_tasks", "trusted_tasks")}
        return ModelVersion(**known | tasks)

    def _path(self, project_id: int, *parts: str) -> str:
        if not 0 <= project_id <= HIGHEST_ID:
            raise UnknownProject(f"{str(project_id)[:20]} is not a project's id")
        return posixpath.join(self._root, str(project_id), *parts)

    def _read(self, project_id: int, *parts: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(self._path(project_id, *parts)))
        except FileNotFoundError:
            return None

    def _read_json(self, project_id: int, *parts: str) -> Json | None:
        content = self._read(project_id, *parts)
        try:
            return None if content is None else json.loads(content)
        except ValueError:
            log.error("%s is damaged and counts as missing", self._path(project_id, *parts))
            return None

    def _write_json(self, content: Json, project_id: int, *parts: str) -> None:
        self._write(json.dumps(content, indent=1, sort_keys=True).encode(), project_id, *parts)

    def _write(self, content: bytes, project_id: int, *parts: str) -> None:
        """All or nothing: in a folder the whole file is moved into place; object stores do so by nature."""
        path = self._path(project_id, *parts)
        try:
            if isinstance(self._fs, LocalFileSystem):
                _replace(Path(path), content)
            else:
                self._fs.pipe_file(path, content)
        except OSError as error:
            raise StoreUnwritable(f"{path} cannot be written: {error}; make room or check MODEL_DIR") from error


def _replace(path: Path, content: bytes) -> None:
    """On the disk before it is in place, so that not even a power cut leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{path}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
