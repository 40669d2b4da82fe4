"""Model versions: immutable folders, one atomic pointer to the promoted one, rollback.

Layout below MODEL_DIR (see store):

    7/project.json                      what is known of project 7
    7/current.json                      the pointer: which version is promoted, since when, why, by whom
    7/earlier/<time>/                   the same of a project created then, which had this id before
    7/passed_over/<version>.json        since when a version is not to be put in charge on its own
    7/rule.json                         the false-alarm rate that people chose for it
    7/tasks/                            what the last look at its tasks saw (see snapshots)
    7/versions/<version>/model.safetensors, manifest.json, evaluation.json, summary.json

A version is complete once its manifest is there; the manifest is written last.
"""

from __future__ import annotations

import re
import threading
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TypeVar

from backend.errors import UnknownVersion
from backend.store import Json, Store
from model.detector import AnomalyDetector

EARLIER = "earlier"
MOST_PROMOTIONS = 100
MOST_IN_MEMORY = 16
"""Projects whose model and evaluation are kept there, some ten megabytes each; reading them takes a moment."""
SUMMARY = ("evaluated_at", "threshold", "dev", "test", "held_out")
Kept = TypeVar("Kept")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What is known of one trained model besides the model itself.

    name: content-derived, stable. fingerprint: of the training set. normals: pictures that it learned from.
    training_tasks: the tasks that it was given. trusted_tasks: those of them that are ground truth. unread_tasks: those
    that it would have been given, had their pictures been readable. recipe: of the settings that it depends on.
    learning_recipe: of those but the false-alarm rate; empty where an earlier release trained it.
    seconds: how long training took.
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
    unread_tasks: tuple[int, ...] = ()
    learning_recipe: str = ""


class Registry:
    """The versions of all projects below one folder or bucket."""

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self._loaded: dict[int, tuple[str, AnomalyDetector]] = {}
        self._parsed: dict[int, tuple[bytes, Json | None]] = {}
        self._lock = threading.Lock()

    # Projects

    def projects(self) -> list[int]:
        """The ids of all projects that have ever connected."""
        return self.store.projects()

    def knows(self, project_id: int) -> bool:
        return self.store.has(project_id, "project.json")

    def remember(self, project_id: int) -> Json:
        """Makes a project known unless it is; returns what is known of it."""
        known = self.project(project_id)
        if not known:
            known = {"connected_at": now()}
            self.store.write_json(known, project_id, "project.json")
        return known

    def project(self, project_id: int) -> Json:
        """What is known: connected_at, backends, removed, missing_since, created, set_aside (see leaving)."""
        return self.store.read_json(project_id, "project.json") or {}

    def note(self, project_id: int, **facts: object) -> None:
        """Adds to what is known of a project."""
        self.store.write_json(self.project(project_id) | facts, project_id, "project.json")

    def forget(self, project_id: int) -> None:
        """Deletes all that is kept of a project."""
        self.store.remove(project_id)
        with self._lock:
            self._loaded.pop(project_id, None)
            self._parsed.pop(project_id, None)

    def set_aside(self, project_id: int, created: int) -> None:
        """Keeps apart all of the project created then, in seconds since 1970: another has its id now."""
        kept = [name for name in self.store.names(project_id) if name not in ("project.json", EARLIER)]
        for name in sorted(kept):  # current.json first: nothing is in charge from then on
            self.store.move(project_id, (name,), (EARLIER, str(created), name))

    def bring_back(self, project_id: int, created: int) -> None:
        """The inverse of set_aside, where nothing is in charge."""
        aside = (EARLIER, str(created))
        for name in sorted(self.store.names(project_id, *aside), reverse=True):  # current.json last
            self.store.move(project_id, (*aside, name), (name,))
        self.forget_earlier(project_id, created)

    def forget_earlier(self, project_id: int, created: int) -> None:
        """Deletes what was set aside."""
        self.store.remove(project_id, EARLIER, str(created))

    # Versions

    def save(self, version: ModelVersion, detector: AnomalyDetector, evaluation: Json) -> None:
        """Stores a version. It is not promoted yet."""
        self.store.write(detector.to_bytes(), version.project_id, "versions", version.name, "model.safetensors")
        self.save_evaluation(version.project_id, version.name, evaluation)
        self.store.write_json(asdict(version), version.project_id, "versions", version.name, "manifest.json")

    def versions(self, project_id: int) -> list[ModelVersion]:
        """All complete versions, oldest first."""
        found = [self._manifest(project_id, name) for name in self.store.names(project_id, "versions")]
        return sorted((version for version in found if version), key=lambda version: version.created_at)

    def count(self, project_id: int) -> int:
        """How many versions there are, without a look into them."""
        return len(self.store.names(project_id, "versions"))

    def has_models(self, project_id: int) -> bool:
        """Whether there is any, be it of another release, or set aside."""
        return bool(self.count(project_id) or self.store.names(project_id, EARLIER))

    def prune(self, project_id: int, keep: int) -> list[str]:
        """Deletes all but the newest `keep` versions; returns the names of the deleted.

        Never the one in charge, the one that it replaced, and the one that its changes are told since.
        """
        names = [version.name for version in self.versions(project_id)]
        current = self.current(project_id)
        before = [row["version"] for row in self.promotions(project_id) if row["version"] != current][-1:]
        evaluation = (current and self.evaluation(project_id, current)) or {}
        needed = {current, *before, evaluation.get("changes", {}).get("since")}
        old = [name for name in names[: max(0, len(names) - keep)] if name not in needed]
        for name in old:
            # The manifest first: a version that is half deleted counts as none.
            self.store.remove(project_id, "versions", name, "manifest.json")
            self.store.remove(project_id, "versions", name)
        return old

    def version(self, project_id: int, name: str) -> ModelVersion:
        """One complete version of this release. Raises UnknownVersion."""
        found = self._manifest(project_id, name)
        if found is None:
            raise UnknownVersion(f"project {project_id} has no model version {name!r} that this release can use")
        return found

    def save_evaluation(self, project_id: int, name: str, evaluation: Json) -> None:
        summary = {key: evaluation[key] for key in SUMMARY if key in evaluation}
        summary["drift_p_value"] = (evaluation.get("drift") or {}).get("p_value")
        self.store.write_json(evaluation, project_id, "versions", name, "evaluation.json")
        self.store.write_json(summary, project_id, "versions", name, "summary.json")

    def evaluation(self, project_id: int, name: str) -> Json | None:
        """All of it, every picture included; not to be changed by the reader, because others read it too."""
        path = ("versions", name, "evaluation.json")
        content = self.store.read(project_id, *path)
        if content is None:
            return None
        known = self._parsed.get(project_id)
        if known is None or known[0] != content:
            known = (content, self.store.parse(content, project_id, *path))
        self._keep(self._parsed, project_id, known)
        return known[1]

    def summary(self, project_id: int, name: str) -> Json:
        """An evaluation's numbers, without the pictures: small, however many they are."""
        return self.store.read_json(project_id, "versions", name, "summary.json") or {}

    def names(self) -> list[str]:
        """The versions of all projects, the newest first."""
        found = [version for project in self.projects() for version in self.versions(project)]
        return [version.name for version in sorted(found, key=lambda version: version.created_at, reverse=True)]

    # The pointer

    def current(self, project_id: int) -> str | None:
        """The promoted version's name."""
        version = self._pointer(project_id)["version"]
        return None if version is None else str(version)

    def in_charge_since(self, project_id: int) -> datetime:
        """When the promoted version was put in charge."""
        return datetime.fromisoformat(self._pointer(project_id)["promoted_at"])

    def in_charge(self, project_id: int) -> ModelVersion | None:
        """The promoted version; None also where it was lost or is of an older release, and is to be trained again."""
        name = self.current(project_id)
        return self._manifest(project_id, name) if name else None

    def promote(self, project_id: int, name: str, reason: str, *, by: str = "") -> None:
        """Makes a complete version the one in charge, at once for every server, unless it is. Raises UnknownVersion."""
        self.version(project_id, name)
        pointer = self._pointer(project_id)
        if pointer["version"] == name and not self.is_passed_over(project_id, name):
            return
        promotion = {"version": name, "promoted_at": now(), "reason": reason, "by": by}
        self.store.write_json(
            promotion
            | {
                "passed_over": [other for other in pointer["passed_over"] if other != name],
                "history": [*pointer["history"], promotion][-MOST_PROMOTIONS:],
            },
            project_id,
            "current.json",
        )
        self.store.remove(project_id, *_passed_over(name))

    def pass_over(self, project_id: int, name: str) -> None:
        """Notes that a version is not to be put in charge on its own: it did worse, or people rolled it back.

        Each has a file of its own: the pointer is left alone, which someone else may be moving.
        """
        self.store.write_json({"passed_over_at": now()}, project_id, *_passed_over(name))

    def is_passed_over(self, project_id: int, name: str) -> bool:
        early = self._pointer(project_id)["passed_over"]  # the first release kept the names there
        return name in early or self.store.has(project_id, *_passed_over(name))

    def promotions(self, project_id: int) -> list[Json]:
        """The latest promotions, oldest first: version, promoted_at, reason, by (which early releases did not note)."""
        return [{"by": ""} | promotion for promotion in self._pointer(project_id)["history"]]

    def _pointer(self, project_id: int) -> Json:
        empty: Json = {"version": None, "passed_over": [], "history": []}
        return empty | (self.store.read_json(project_id, "current.json") or {})

    # The rule

    def alarm_rate(self, project_id: int) -> float | None:
        """The false-alarm rate that people chose for this project; None leaves it to the settings."""
        rules = self.rules(project_id)
        return rules[-1]["alarm_rate"] if rules else None

    def rules(self, project_id: int) -> list[Json]:
        """What people chose, oldest first: alarm_rate, set_at, by."""
        return list((self.store.read_json(project_id, "rule.json") or {"history": []})["history"])

    def set_alarm_rate(self, project_id: int, alarm_rate: float | None, *, by: str = "") -> None:
        """Keeps a choice; versions trained from now on follow it."""
        rule = {"alarm_rate": alarm_rate, "set_at": now(), "by": by}
        history = [*self.rules(project_id), rule][-MOST_PROMOTIONS:]
        self.store.write_json({"history": history}, project_id, "rule.json")

    # Models

    def detector(self, project_id: int, name: str, *, anew: bool = False) -> AnomalyDetector:
        """A version's detector; the last one asked for stays in memory. Raises UnknownVersion, ArtifactInvalid.

        anew: read it once more, to know that it is still whole.
        """
        loaded = self._loaded.get(project_id)
        if loaded and loaded[0] == name and not anew:
            self._keep(self._loaded, project_id, loaded)
            return loaded[1]
        self.version(project_id, name)
        content = self.store.read(project_id, "versions", name, "model.safetensors")
        if content is None:
            raise UnknownVersion(f"the model of project {project_id}'s version {name!r} is gone")
        detector = AnomalyDetector.from_bytes(content)
        self._keep(self._loaded, project_id, (name, detector))
        return detector

    def _keep(self, kept: dict[int, Kept], project_id: int, newest: Kept) -> None:
        """Remembers it in the place of what was not used for longest."""
        with self._lock:
            kept.pop(project_id, None)
            kept[project_id] = newest
            if len(kept) > MOST_IN_MEMORY:
                del kept[next(iter(kept))]

    # Files

    def _manifest(self, project_id: int, name: str) -> ModelVersion | None:
        if not VERSION_NAME.fullmatch(name):
            return None
        content = self.store.read_json(project_id, "versions", name, "manifest.json")
        if content is None:
            return None
        content.setdefault("unread_tasks", ())  # version 0.1.0 wrote none at first
        wanted = [field.name for field in fields(ModelVersion)]
        if not content.keys() >= set(wanted):  # an older release wrote less: the model is trained again
            return None
        known = {name: content[name] for name in wanted}  # a newer release may write more
        tasks = {name: tuple(content[name]) for name in ("training_tasks", "trusted_tasks", "unread_tasks")}
        return ModelVersion(**known | tasks)


def _passed_over(name: str) -> tuple[str, str]:
    return "passed_over", f"{name}.json"


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
