"""What is known of a project's tasks, so that one new label does not cost a look at all of them.

Label Studio stays the source of truth: it is asked for the tasks that were changed since, and for how many tasks,
annotations and predictions there are. Where the numbers differ, halves of the project are compared until the part
that differs is small enough to be read again. Every now and then everything is.

Kept beside the models, in 7/tasks/: snapshot.json.gz, and for each block of predictions that a worker has pushed
since, a file pushed-<time>-<name>.json. Both can be lost, and one of another release counts as lost.
"""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from backend.cutting import Cut
from backend.dataset import Task
from backend.errors import StoreUnwritable
from backend.store import Json, Store
from backend.studio import PAGE_SIZE, Counts, Studio

log = logging.getLogger(__name__)

Tasks = dict[int, Task]

FORMAT = 2
FOLDER = "tasks"
FILE = "snapshot.json.gz"
PUSHED = "pushed-"
OVERLAP = timedelta(seconds=60)
"""A change is dated when it is made and seen when it is committed, and machines' clocks differ a little."""
MUCH = 0.1
"""Share of the tasks from which on reading all of them is cheaper than finding those that differ."""
RARELY = 50
"""All is read only once that is so many times as long ago as it took: at most 2 % of the time goes there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A project's tasks, each cut down to what verdicts and predictions need.

    cut: names what they were cut down for. asked_at: Label Studio's time before the last look; None where it told
    none. read_at: our time of the last look at everything, in seconds since 1970, which took `seconds`.
    """

    cut: str
    asked_at: datetime | None
    read_at: float
    seconds: float
    tasks: Tasks


class Snapshots:
    """Looks at the tasks of projects. One process at a time looks at a project; any number note what they pushed."""

    def __init__(self, studio: Studio, store: Store, *, reconcile_seconds: float) -> None:
        self._studio = studio
        self._store = store
        self._reconcile_seconds = reconcile_seconds

    def look(self, project_id: int, cut: Cut, *, whole: bool = False) -> list[Task]:
        """All tasks as they are now, cut down, ordered by id. whole: read all of them, whatever is known."""
        blocks = sorted(name for name in self._store.names(project_id, FOLDER) if name.startswith(PUSHED))
        kept = None if whole else self._read(project_id, cut)
        if kept is None or self._is_due(kept):
            found = self._look_at_all(project_id, cut)
        else:
            found = self._look_again(project_id, cut, kept, self._pushed(project_id, cut, blocks))
        if found is not kept or blocks:
            self._keep(project_id, found, blocks)
        return [found.tasks[task_id] for task_id in sorted(found.tasks)]

    def note_predictions(self, project_id: int, cut: Cut, predictions: Mapping[int, Sequence[Json]]) -> None:
        """Keeps what was pushed: by task, all predictions that it has now."""
        known = {task_id: [cut.prediction(row) for row in rows] for task_id, rows in predictions.items()}
        name = f"{PUSHED}{time.time_ns()}-{uuid4().hex}.json"
        try:
            self._store.write_json({"cut": cut.name, "known": known}, project_id, FOLDER, name)
        except StoreUnwritable as error:
            log.warning("project %s: %s; the next look takes longer", project_id, error)

    # Looking

    def _is_due(self, kept: Snapshot) -> bool:
        """Whether all is to be read again: it is long ago, or Label Studio's clock was set back or tells nothing."""
        age, clock = time.time() - kept.read_at, self._studio.clock
        if clock is None or kept.asked_at is None or clock < kept.asked_at:
            return True
        return not 0 <= age <= max(self._reconcile_seconds, RARELY * kept.seconds)

    def _look_at_all(self, project_id: int, cut: Cut) -> Snapshot:
        asked_at, started = self._studio.clock, time.monotonic()
        tasks = _by_id(self._studio.tasks(project_id), cut)
        return Snapshot(cut.name, asked_at, time.time(), time.monotonic() - started, tasks)

    def _look_again(self, project_id: int, cut: Cut, kept: Snapshot, pushed: Tasks) -> Snapshot:
        """The snapshot brought up to date; the same object where nothing has changed."""
        assert kept.asked_at is not None
        asked_at = self._studio.clock
        tasks = kept.tasks | {key: kept.tasks[key] | new for key, new in pushed.items() if key in kept.tasks}
        changed = _by_id(self._studio.tasks(project_id, since=kept.asked_at - OVERLAP), cut)
        tasks |= changed
        self._settle(project_id, cut, tasks, sorted(tasks), (None, None))
        if tasks == kept.tasks and not changed:
            return kept
        return Snapshot(cut.name, asked_at, kept.read_at, kept.seconds, tasks)

    def _settle(
        self,
        project_id: int,
        cut: Cut,
        tasks: Tasks,
        ids: Sequence[int],
        between: tuple[int | None, int | None],
    ) -> None:
        """Reads again the parts in which there are not as many as Label Studio has.

        ids: of the known tasks between the first and the last id, both included, None being open.
        """
        known, there = _count(tasks[task_id] for task_id in ids), self._studio.counts(project_id, between)
        if known == there:
            return
        if len(ids) <= PAGE_SIZE or known.distance(there) > MUCH * there.tasks:
            found = _by_id(self._studio.tasks(project_id, between=between), cut)
            for task_id in ids:
                tasks.pop(task_id)
            tasks |= found
            return
        half = len(ids) // 2
        self._settle(project_id, cut, tasks, ids[:half], (between[0], ids[half] - 1))
        self._settle(project_id, cut, tasks, ids[half:], (ids[half], between[1]))

    # Keeping

    def _read(self, project_id: int, cut: Cut) -> Snapshot | None:
        content = self._store.read(project_id, FOLDER, FILE)
        try:
            kept = json.loads(gzip.decompress(content)) if content else {}
        except (OSError, EOFError, ValueError) as error:
            log.warning("project %s: the snapshot of its tasks is damaged (%s); all are read again", project_id, error)
            return None
        if (kept.get("format"), kept.get("cut")) != (FORMAT, cut.name):
            return None
        asked_at = kept["asked_at"] and datetime.fromisoformat(kept["asked_at"])
        tasks = {task["id"]: task for task in kept["tasks"]}
        return Snapshot(cut.name, asked_at, kept["read_at"], kept["seconds"], tasks)

    def _pushed(self, project_id: int, cut: Cut, blocks: Iterable[str]) -> Tasks:
        """By task, the predictions that it has now, since workers have pushed some. blocks: the oldest first."""
        read = [self._store.read_json(project_id, FOLDER, name) or {} for name in blocks]
        known = [block.get("known", {}) for block in read if block.get("cut") == cut.name]  # early releases wrote none
        return {int(key): {"predictions": rows} for block in known for key, rows in block.items()}

    def _keep(self, project_id: int, found: Snapshot, blocks: Iterable[str]) -> None:
        content = {
            "format": FORMAT,
            "cut": found.cut,
            "asked_at": found.asked_at and found.asked_at.isoformat(),
            "read_at": found.read_at,
            "seconds": found.seconds,
            "tasks": list(found.tasks.values()),
        }
        packed = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), compresslevel=1)
        try:
            self._store.write(packed, project_id, FOLDER, FILE)
        except StoreUnwritable as error:
            log.warning("project %s: %s; the next look takes longer", project_id, error)
            return
        for name in blocks:
            self._store.remove(project_id, FOLDER, name)


def _by_id(tasks: Iterable[Task], cut: Cut) -> Tasks:
    return {task["id"]: cut.task(task) for task in tasks}


def _count(tasks: Iterable[Task]) -> Counts:
    """As Label Studio counts them: skipped tasks' annotations do not count."""
    rows = list(tasks)
    annotations = sum(not annotation.get("was_cancelled") for task in rows for annotation in task["annotations"])
    return Counts(len(rows), annotations, sum(len(task["predictions"]) for task in rows))
