"""From a project's tasks to what people confirmed, and to the pictures that a model may learn from.

Label Studio is the source of truth: the same tasks always give the same dataset, on every machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.addresses import unsigned
from backend.labels import LabelConfig
from backend.naming import is_ours
from backend.task_data import filled
from model.prediction import Verdict
from model.splits import Split, split_of

Task = dict[str, Any]

HOLD_OUT_FROM = 20
FEWEST_LEFT = 10
NAMED = "group "


@dataclass(frozen=True, slots=True)
class Prior:
    """What the model in charge said about a task before people confirmed it."""

    model_version: str
    score: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture with the verdict that people confirmed.

    split: its side, decided once and for good. independent: whether someone judged it without starting from a
    prediction. prior: what was predicted before, if anything. ground_truth: marked so by someone.
    """

    task_id: int
    uri: str
    verdict: Verdict
    group: str
    split: Split
    independent: bool
    prior: Prior | None
    ground_truth: bool = False

    @property
    def part(self) -> str | None:
        """The physical part that it shows, where the task data names it."""
        return self.group if self.group.startswith(NAMED) else None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A task on which annotators disagree, and how many say what."""

    task_id: int
    uri: str
    normal: int
    abnormal: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A project's confirmed pictures.

    disputed: tasks on which annotators disagree; without_image: tasks whose data lacks a picture. undecided: tasks
    that people submitted without a choice that the labelling config has. unread: tasks whose pictures cannot be read
    now, and are not learned.
    """

    labelled: tuple[LabelledImage, ...]
    disputed: tuple[Dispute, ...]
    without_image: tuple[int, ...]
    undecided: tuple[int, ...] = ()
    unread: frozenset[int] = frozenset()

    @property
    def normals(self) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.labelled if image.verdict is Verdict.NORMAL)

    @property
    def abnormals(self) -> tuple[LabelledImage, ...]:
        return tuple(image for image in self.labelled if image.verdict is Verdict.ABNORMAL)

    @property
    def holds_out(self) -> bool:
        """Whether there are normal pictures enough to keep some for testing; until then all are trained on.

        Those of parts that have abnormal pictures too are all kept: enough others must be left.
        """
        left = sum(image.split is Split.TRAIN for image in self.normals)
        return len(self.normals) >= HOLD_OUT_FROM and left >= FEWEST_LEFT

    @property
    def training(self) -> tuple[LabelledImage, ...]:
        """The normal pictures that the model learns from."""
        readable = (image for image in self.normals if image.task_id not in self.unread)
        return tuple(image for image in readable if image.split is Split.TRAIN or not self.holds_out)

    @property
    def fingerprint(self) -> str:
        """Names exactly this set of training pictures, and their parts where people name them."""
        members = sorted(
            f"{image.task_id} {unsigned(image.uri)} {image.ground_truth}{f' {image.part}' if image.part else ''}"
            for image in self.training
        )
        return hashlib.sha256("\n".join(members).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Confirmed:
    task: Task
    uri: str
    verdict: Verdict
    group: str
    independent: bool
    prior: Prior | None
    ground_truth: bool


def build_dataset(tasks: Iterable[Task], config: LabelConfig, group_key: str = "") -> Dataset:
    """Reads every task's annotations.

    group_key: the key of task.data that names the physical part, if any; pictures of one part stay together.
    """
    confirmed: list[_Confirmed] = []
    disputed: list[Dispute] = []
    without_image: list[int] = []
    undecided: list[int] = []
    for task in tasks:
        uri = image_uri(task, config)
        if uri is None:
            without_image.append(task["id"])
            continue
        verdict, deciding = _verdict(task, config)
        if verdict is not None:
            confirmed.append(_confirm(task, uri, verdict, deciding, config, group_key))
        elif deciding:
            disputed.append(_dispute(task, uri, deciding, config))
        elif any(config.leaves_open(annotation.get("result") or ()) for annotation in judgements(task)):
            undecided.append(task["id"])
    mixed = {item.group for item in confirmed if item.verdict is Verdict.ABNORMAL}
    labelled = tuple(
        LabelledImage(
            task_id=item.task["id"],
            uri=item.uri,
            verdict=item.verdict,
            group=item.group,
            split=split_of(item.group, has_abnormal=item.group in mixed),
            independent=item.independent,
            prior=item.prior,
            ground_truth=item.ground_truth,
        )
        for item in confirmed
    )
    return Dataset(labelled, tuple(disputed), tuple(without_image), tuple(undecided))


def image_uri(task: Task, config: LabelConfig) -> str | None:
    """The address of a task's picture, or None if its data has none where the config looks."""
    data = task.get("data") if isinstance(task, dict) else None
    uri = filled(config.image_value, data) if isinstance(data, dict) else None
    return uri if uri and uri.strip() else None


def is_finished(task: Task) -> bool:
    """Whether people have completed the task."""
    return bool(task.get("is_labeled"))


def is_judged(task: Task) -> bool:
    """Whether someone has submitted an annotation of the task, which may want more than one."""
    return bool(judgements(task))


def judgements(task: Task) -> list[dict[str, Any]]:
    """The annotations that people have submitted, without those by which they skipped the task."""
    return [annotation for annotation in task.get("annotations") or () if not annotation.get("was_cancelled")]


def _verdict(task: Task, config: LabelConfig) -> tuple[Verdict | None, Sequence[dict[str, Any]]]:
    """The task's confirmed verdict and the annotations behind it; no verdict but annotations: a dispute."""
    voices = _voices(task, config)
    truths = [annotation for annotation in voices if annotation.get("ground_truth")]
    deciding = truths or voices
    verdicts = Counter(config.verdict_of(annotation["result"]) for annotation in deciding)
    if len(verdicts) == 1:
        return next(iter(verdicts)), deciding
    return None, deciding


def _dispute(task: Task, uri: str, voices: Sequence[dict[str, Any]], config: LabelConfig) -> Dispute:
    said = Counter(config.verdict_of(annotation["result"]) for annotation in voices)
    return Dispute(task["id"], uri, said[Verdict.NORMAL], said[Verdict.ABNORMAL])


def _voices(task: Task, config: LabelConfig) -> list[dict[str, Any]]:
    """Each annotator's submitted annotation that has a verdict: the ground truth, otherwise the one changed last."""
    newest: dict[Any, dict[str, Any]] = {}
    for annotation in sorted(judgements(task), key=lambda item: (bool(item.get("ground_truth")), changed_at(item))):
        if config.verdict_of(annotation.get("result") or ()) is not None:
            newest[annotator(annotation)] = annotation
    return list(newest.values())


def changed_at(annotation: dict[str, Any]) -> str:
    """When an annotation was changed last, in ISO 8601; empty where nothing is told."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def annotator(annotation: dict[str, Any]) -> Any:
    """Who made an annotation: Label Studio tells the id alone, or in a record with the name."""
    who = annotation.get("completed_by")
    return who.get("id") if isinstance(who, dict) else who


def _confirm(
    task: Task,
    uri: str,
    verdict: Verdict,
    deciding: Sequence[dict[str, Any]],
    config: LabelConfig,
    group_key: str,
) -> _Confirmed:
    named = task["data"].get(group_key) if group_key else None
    return _Confirmed(
        task=task,
        uri=uri,
        verdict=verdict,
        group=f"{NAMED}{named}" if named not in (None, "") else f"task {task['id']}",
        independent=any(annotation.get("parent_prediction") is None for annotation in deciding),
        ground_truth=any(annotation.get("ground_truth") for annotation in deciding),
        prior=_prior(task, min(_time(annotation) for annotation in deciding), config),
    )


def _prior(task: Task, confirmed_at: datetime, config: LabelConfig) -> Prior | None:
    """The newest scored prediction of ours made before people confirmed the task."""
    ours = [
        prediction
        for prediction in task.get("predictions") or ()
        if isinstance(prediction, dict)
        and is_ours(prediction.get("model_version"))
        and prediction.get("score") is not None
    ]
    earlier = [prediction for prediction in ours if _time(prediction) < confirmed_at]
    for prediction in sorted(earlier, key=_time, reverse=True):
        verdict = config.verdict_of(prediction.get("result") or ())
        if verdict is not None:
            return Prior(str(prediction.get("model_version")), float(prediction["score"]), verdict)
    return None


def _time(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["created_at"])
