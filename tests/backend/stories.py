"""Projects with a past: one small, of real pictures, and one large, to see how fast the pages stay."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.comparing import changes
from backend.dataset import Dataset, Dispute, LabelledImage
from backend.drift import drift
from backend.review import Case, held_out_cases, report
from backend.services import Services
from model.detector import AnomalyDetector
from model.prediction import Verdict
from model.splits import Split
from tests.conftest import PROJECT, PictureServer, make_version

HUGE = 77
FIRST_LEARNED = 1001
SIDES = (Split.DEV, Split.TEST)


def uri_of(task_id: int) -> str:
    return f"/data/upload/{task_id}.jpg"


def labelled_image(task_id: int, verdict: Verdict, split: Split) -> LabelledImage:
    return LabelledImage(task_id, uri_of(task_id), verdict, f"task {task_id}", split, True, None)


def tell_small_story(
    services: Services,
    server: PictureServer,
    detector: AnomalyDetector,
    normal: Sequence[Path],
    abnormal: Sequence[Path],
    told: Path,
) -> None:
    """Two trainings and a rollback, fourteen confirmed pictures of which two were confirmed wrongly, a dispute, a
    broken picture, and newer pictures that nobody has looked at. told: keeps what takes long for the next telling."""
    shown = dict(enumerate(normal[:10], FIRST_LEARNED))
    shown |= dict(enumerate(normal[20:26], 1)) | dict(enumerate(abnormal[:6], 11))
    shown |= {7: abnormal[12], 17: normal[27], 77: normal[28]} | dict(enumerate(normal[10:16], 2001))
    for task_id, path in shown.items():
        server.contents[uri_of(task_id)] = path.read_bytes()
    models, cache = Path(services.settings.model_dir), services.settings.cache_dir
    if not told.exists():
        _train_twice(services, detector, shown)
        shutil.copytree(models, told / "models")
        shutil.copytree(cache, told / "cache")
    shutil.copytree(told / "models", models, dirs_exist_ok=True)
    shutil.copytree(told / "cache", cache, dirs_exist_ok=True)
    board = services.jobs.board
    suggested = [{"task_id": task_id, "uri": uri_of(task_id)} for task_id in (2003, 2001, 2006)]
    board.post(
        PROJECT, title="<b>Tiles</b> & co", normals=17, abnormals=7, tasks=40, disputed=[77], suggested=suggested
    )
    board.note_pictures(PROJECT, {99: ("/x.jpg", "damaged or incomplete")})


def _train_twice(services: Services, detector: AnomalyDetector, shown: dict[int, Path]) -> None:
    learned = [labelled_image(task_id, Verdict.NORMAL, Split.TRAIN) for task_id in shown if 1000 < task_id < 2000]
    kept = [
        labelled_image(task_id, Verdict.NORMAL if task_id < 10 else Verdict.ABNORMAL, SIDES[task_id % 2])
        for task_id in shown
        if task_id < 20
    ]
    dataset = Dataset((*learned, *kept), (Dispute(77, uri_of(77), normal=1, abnormal=2),), ())
    registry, board = services.registry, services.jobs.board
    lenient = detector.with_alarm_rate(0.5)
    first, second = (
        held_out_cases(PROJECT, version, dataset, services.pictures, board) for version in (lenient, detector)
    )
    fresh = range(2006, 2000, -1)
    said = detector.predict([shown[task_id] for task_id in fresh])
    newest = [
        {"task_id": task_id, "uri": uri_of(task_id), "score": one.score, "predicted": one.verdict.value}
        for task_id, one in zip(fresh, said, strict=True)
    ]
    registry.remember(PROJECT)
    before = report(PROJECT, "v1", lenient, dataset, first) | {"newest": newest}
    after = report(PROJECT, "v2", detector, dataset, second) | {"newest": newest}
    after["changes"] = changes(before, after)
    asked = make_version(name="v1", created_at="2026-01-01T00:00:00", alarm_rate=0.5)
    registry.save(asked, lenient, before)
    registry.save(make_version(name="v2", created_at="2026-01-02T00:00:00"), detector, after)
    registry.promote(PROJECT, "v1", "there are 10 normal pictures and no model yet")
    registry.promote(PROJECT, "v2", "2 new normal pictures")
    registry.promote(PROJECT, "v1", "put in charge by hand", by="ada")
    registry.promote(PROJECT, "v2", "put in charge by hand", by="ada")


def tell_huge_story(services: Services, detector: AnomalyDetector, *, tasks: int, versions: int) -> None:
    """A project of which every task is confirmed, after many trainings; its scores are drawn at random."""
    random = np.random.default_rng(0)
    verdicts = [Verdict.ABNORMAL if task_id % 10 == 0 else Verdict.NORMAL for task_id in range(tasks)]
    sides = [
        Split.TRAIN if verdict is Verdict.NORMAL and task_id % 3 else SIDES[task_id % 2]
        for task_id, verdict in enumerate(verdicts)
    ]
    labelled = tuple(
        labelled_image(task_id, verdict, side)
        for task_id, (verdict, side) in enumerate(zip(verdicts, sides, strict=True), 1)
    )
    dataset = Dataset(labelled, tuple(Dispute(n, uri_of(n), 1, 1) for n in range(1, 200)), ())
    threshold = detector.calibration.threshold
    services.registry.remember(HUGE)
    for number in range(versions):
        strangeness = {Verdict.NORMAL: 0.8, Verdict.ABNORMAL: 1.2 + 0.02 * number}
        cases = [
            drawn_case(image, detector, threshold * float(random.normal(strangeness[image.verdict], 0.15)))
            for image in labelled
            if image.split is not Split.TRAIN
        ]
        newest = [
            {"task_id": case.image.task_id, "uri": case.image.uri, "score": case.score, "predicted": case.predicted}
            for case in cases[-100:]
        ]
        name = f"normal-{number}"
        evaluation = report(HUGE, name, detector, dataset, cases)
        evaluation |= {"newest": newest, "drift": drift(detector.calibration, newest)}
        learned = tuple(image.task_id for image in labelled if image.split is Split.TRAIN)
        version = make_version(HUGE, name, created_at=f"2026-01-01T00:{number:02}:00", training_tasks=learned)
        services.registry.save(version, detector, evaluation)
        services.registry.promote(HUGE, name, "new normal pictures")
    counts = {"normals": verdicts.count(Verdict.NORMAL), "abnormals": verdicts.count(Verdict.ABNORMAL)}
    services.jobs.board.post(HUGE, title="Ten thousand", tasks=tasks, disputed=list(range(1, 200)), **counts)


def drawn_case(image: LabelledImage, detector: AnomalyDetector, raw_score: float) -> Case:
    calibration = detector.calibration
    return Case(
        image=image,
        score=calibration.score(raw_score),
        raw_score=raw_score,
        p_value=calibration.p_value(raw_score),
        predicted=calibration.verdict(raw_score),
        cross_fitted=False,
        nearest_normal=str(FIRST_LEARNED),
    )
