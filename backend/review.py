"""Re-evaluation: a model's verdicts compared with what people confirmed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.addresses import saved, unsigned
from backend.board import Board
from backend.choices import choices
from backend.dataset import Dataset, LabelledImage
from backend.pictures import Pictures
from backend.registry import now
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.evaluation import evaluate, significantly_worse
from model.fitted import TrainingImage
from model.prediction import Verdict
from model.probability import fit_probability
from model.splits import Split

Json = dict[str, Any]

ENOUGH_OF_EACH = 10
RECHECK_SHARE = 0.2
SCORES_TOLD = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out picture: what people confirmed and how the model scores it without having learned it.

    cross_fitted: the picture was learned, for want of others or as a copy; its score is by a memory that had not
    seen it.
    """

    image: LabelledImage
    score: float
    raw_score: float
    p_value: float
    predicted: Verdict
    cross_fitted: bool
    nearest_normal: str | None = None

    def to_json(self) -> Json:
        prior = self.image.prior
        return {
            "task_id": self.image.task_id,
            "uri": saved(self.image.uri),
            "split": self.image.split.value,
            "confirmed": self.image.verdict.value,
            "predicted": self.predicted.value,
            "score": self.score,
            "raw_score": self.raw_score,
            "p_value": self.p_value,
            "independent": self.image.independent,
            "cross_fitted": self.cross_fitted,
            "nearest_normal": self.nearest_normal and int(self.nearest_normal),
            "before_confirmation": prior
            and {"model_version": prior.model_version, "score": prior.score, "verdict": prior.verdict.value},
        }


def held_out_cases(
    project_id: int,
    detector: AnomalyDetector,
    dataset: Dataset,
    pictures: Pictures,
    board: Board,
    judged: Mapping[int, Json] | None = None,
) -> list[Case]:
    """Scores every confirmed picture of dev and test that can be read.

    judged: by task, the cases that this detector has judged before, as they were saved.
    """
    learned = {image.name: image.raw_score for image in detector.training}
    wanted = [image for image in dataset.labelled if image.split is not Split.TRAIN]
    cases = [_case(detector, image, learned[str(image.task_id)]) for image in wanted if str(image.task_id) in learned]
    others = [image for image in wanted if str(image.task_id) not in learned]
    again = {image.task_id: case for image in others if (case := _known(image, judged or {}))}
    cases += again.values()
    unseen = [image for image in others if image.task_id not in again]
    failed: dict[int, tuple[str, str]] = {}
    embeddings = pictures.embed_each(((image.uri, image.task_id) for image in unseen), detector.config)
    for image, embedding in zip(unseen, embeddings, strict=True):
        if isinstance(embedding, Embedding) and (original := detector.copy_of(embedding)):
            cases.append(_case(detector, image, learned[original]))
        elif isinstance(embedding, Embedding):
            nearest = detector.nearest_normal(embedding)
            cases.append(_case(detector, image, detector.raw_score(embedding), nearest_normal=nearest))
        else:
            failed[image.task_id] = (image.uri, str(embedding))
    board.note_pictures(project_id, failed, solved=[image.task_id for image in wanted if image.task_id not in failed])
    return sorted(cases, key=lambda case: case.image.task_id)


def _known(image: LabelledImage, judged: Mapping[int, Json]) -> Case | None:
    """The picture's saved case, unless its address was changed."""
    row = judged.get(image.task_id)
    if row is None or unsigned(row["uri"]) != unsigned(saved(image.uri)) or row["cross_fitted"]:
        return None
    return Case(
        image=image,
        score=row["score"],
        raw_score=row["raw_score"],
        p_value=row["p_value"],
        predicted=Verdict(row["predicted"]),
        cross_fitted=False,
        nearest_normal=str(row["nearest_normal"]),
    )


def _case(
    detector: AnomalyDetector, image: LabelledImage, raw_score: float, *, nearest_normal: str | None = None
) -> Case:
    calibration = detector.calibration
    return Case(
        image=image,
        score=calibration.score(raw_score),
        raw_score=raw_score,
        p_value=calibration.p_value(raw_score),
        predicted=calibration.verdict(raw_score),
        cross_fitted=nearest_normal is None,
        nearest_normal=nearest_normal,
    )


def report(project_id: int, version: str, detector: AnomalyDetector, dataset: Dataset, cases: Sequence[Case]) -> Json:
    """The evaluation of one version, as it is saved with it and served."""
    calibration = detector.calibration
    probability, rows = with_probability([case.to_json() for case in cases])
    return {
        "project_id": project_id,
        "model_version": version,
        "evaluated_at": now(),
        "threshold": {
            "raw_score": calibration.threshold,
            "alarm_rate": calibration.alarm_rate,
            "attainable_alarm_rate": calibration.attainable_rate,
            "provisional": calibration.provisional,
            "normals": len(calibration.scores),
        },
        "dev": _section([case for case in cases if case.image.split is Split.DEV]),
        "test": _section([case for case in cases if case.image.split is Split.TEST]),
        "held_out": _section(cases),
        "before_confirmation": _before_confirmation(dataset.labelled),
        "recheck": _recheck(detector, dataset),
        "disputes": [asdict(dispute) | {"uri": saved(dispute.uri)} for dispute in dataset.disputed],
        "probability": probability,
        "cases": rows,
        "choices": choices(calibration, rows),
        "pictures": {str(image.task_id): saved(image.uri) for image in dataset.labelled},
    }


def with_probability(rows: list[Json]) -> tuple[Json | None, list[Json]]:
    """The curve from score to probability of abnormal, learned on dev and measured on test, and each row's own.

    None while dev has too few of either kind.
    """
    dev, test = ([row for row in rows if row["split"] == side] for side in ("dev", "test"))
    curve = fit_probability(np.array([row["score"] for row in dev]), _are_abnormal(dev))
    if curve is None:
        return None, rows
    errors = np.array([curve(row["score"]) for row in test]) - _are_abnormal(test)
    summary = {
        "normals": int((~_are_abnormal(dev)).sum()),
        "abnormals": int(_are_abnormal(dev).sum()),
        "at": [{"score": score, "probability": curve(score)} for score in SCORES_TOLD],
        "brier_on_test": float((errors**2).mean()) if test else None,
        "test_cases": len(test),
    }
    return summary, [row | {"probability": curve(row["score"])} for row in rows]


def _are_abnormal(rows: Sequence[Json]) -> NDArray[np.bool_]:
    return np.array([row["confirmed"] == Verdict.ABNORMAL.value for row in rows], dtype=bool)


def worse_on_test(candidate: Sequence[Case], current: Sequence[Case]) -> bool:
    """Whether the candidate orders the same test pictures worse, beyond chance; False with too few to tell."""
    before = {case.image.task_id: case for case in current if case.image.split is Split.TEST}
    pairs = [(case, before[case.image.task_id]) for case in candidate if case.image.task_id in before]
    abnormal = np.array([case.image.verdict is Verdict.ABNORMAL for case, _ in pairs], dtype=bool)
    if min(abnormal.sum(), (~abnormal).sum()) < ENOUGH_OF_EACH:
        return False
    return significantly_worse(
        np.array([case.raw_score for case, _ in pairs]),
        np.array([case.raw_score for _, case in pairs]),
        abnormal,
    )


def _section(cases: Sequence[Case]) -> Json:
    """Metrics, and how many of the pictures the model learned, if only for want of others."""
    judged = [_Judged(case.image, case.raw_score, case.predicted) for case in cases]
    return _metrics(judged) | {"learned": sum(case.cross_fitted for case in cases)}


def _before_confirmation(labelled: Iterable[LabelledImage]) -> Json:
    """What the models in charge had predicted when people confirmed the tasks."""
    return _metrics([_Judged(image, image.prior.score, image.prior.verdict) for image in labelled if image.prior])


@dataclass(frozen=True, slots=True)
class _Judged:
    """A confirmed picture, how strange a model found it, and its verdict."""

    image: LabelledImage
    score: float
    verdict: Verdict


def _metrics(judged: Sequence[_Judged]) -> Json:
    """Over all of the pictures, and over those that people judged without starting from a prediction."""
    own = [one for one in judged if one.image.independent]
    return _compared(judged) | {"independent": _compared(own), "not_independent": len(judged) - len(own)}


def _compared(judged: Sequence[_Judged]) -> Json:
    return evaluate(
        [one.score for one in judged],
        [one.image.verdict is Verdict.ABNORMAL for one in judged],
        [one.verdict is Verdict.ABNORMAL for one in judged],
    ).to_json()


def _recheck(detector: AnomalyDetector, dataset: Dataset) -> list[Json]:
    """Pictures tagged normal that a person should look at again, but for those that people vouch for."""
    trusted = {str(image.task_id) for image in dataset.labelled if image.ground_truth}
    return [
        {"task_id": int(image.name), "raw_score": image.raw_score, "set_aside": image.suspect}
        for image in to_check([image for image in detector.training if image.name not in trusted])
    ]


def to_check(training: Sequence[TrainingImage]) -> list[TrainingImage]:
    """The pictures that look least like the others, the strangest first: a fifth of them, rounded up."""
    ordered = sorted(training, key=lambda image: -image.raw_score)
    return ordered[: math.ceil(RECHECK_SHARE * len(ordered))]
