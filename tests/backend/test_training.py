"""When a model is trained, and what is promoted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.dataset import Dataset, Dispute, LabelledImage, Prior
from backend.deciding import needs_prediction, why_train
from backend.labels import EXAMPLE_CONFIG, LabelConfig, parse_config
from backend.naming import is_ours
from backend.pictures import Pictures
from backend.recipes import detector_config, recipe, version_name
from backend.registry import ModelVersion
from backend.review import ENOUGH_OF_EACH, Case, held_out_cases, report, to_check, worse_on_test
from backend.services import Services
from backend.settings import Settings
from backend.status import project_status
from model.detector import AnomalyDetector
from model.prediction import Verdict
from model.splits import Split
from tests.conftest import PROJECT, PictureServer, make_version

CONFIG = parse_config(EXAMPLE_CONFIG)
SCORE = '<Number name="score" toName="image"/></View>'


def image(task_id: int, verdict: str = "normal", split: Split = Split.TRAIN, **known: Any) -> LabelledImage:
    values = {"uri": f"/data/upload/{task_id}.jpg", "group": f"task {task_id}", "independent": True, "prior": None}
    return LabelledImage(task_id=task_id, verdict=Verdict(verdict), split=split, **{**values, **known})


def normals(count: int, **known: Any) -> Dataset:
    return Dataset(tuple(image(number, **known) for number in range(1, count + 1)), (), ())


def trained_on(dataset: Dataset) -> ModelVersion:
    return make_version(
        fingerprint=dataset.fingerprint, training_tasks=tuple(image.task_id for image in dataset.training)
    )


@pytest.mark.parametrize(("count", "due"), [(0, False), (4, False), (5, True)])
def test_the_first_model_waits_for_a_few_normals(settings: Settings, count: int, due: bool) -> None:
    assert bool(why_train(normals(count), None, settings, "r")) is due


def test_a_model_that_was_lost_is_not_called_the_first(settings: Settings) -> None:
    told = why_train(normals(8), None, settings, "r", unusable="normal-8-c0ffee00")
    assert told == "normal-8-c0ffee00 was lost or is of another release"


def test_nothing_new_needs_no_training(settings: Settings) -> None:
    assert why_train(normals(10), trained_on(normals(10)), settings, "r") is None


@pytest.mark.parametrize(("count", "due"), [(11, False), (12, True)])
def test_a_fifth_more_normals_are_worth_it(settings: Settings, count: int, due: bool) -> None:
    assert bool(why_train(normals(count), trained_on(normals(10)), settings, "r")) is due


def test_a_lost_training_label_always_is(settings: Settings) -> None:
    why = why_train(Dataset(normals(10).labelled[1:], (), ()), trained_on(normals(10)), settings, "r")
    assert why == "labels that it had learned were changed or deleted: 1"


def test_pictures_that_are_kept_for_testing_now_are_not_called_lost(settings: Settings) -> None:
    few = Dataset(tuple(image(number, split=Split.TEST if number < 4 else Split.TRAIN) for number in range(15)), (), ())
    more = Dataset((*few.labelled, *(image(number) for number in range(15, 25))), (), ())
    why = why_train(more, trained_on(few), settings, "r")
    assert why == "10 new normal pictures; 4 of the old ones are kept for testing now"


@pytest.mark.parametrize(("rate", "told"), [(0.1, "10 %"), (None, "5 %")])
def test_a_rate_that_people_chose_is_the_reason(settings: Settings, rate: float | None, told: str) -> None:
    current = trained_on(normals(10))
    earlier, later = ({"alarm_rate": rate, "set_at": f"{year}-01-01", "by": ""} for year in (2000, 3000))
    why = why_train(normals(10), current, settings, "other", force=True, chosen=later)
    assert why == f"the false-alarm rate was set to {told}"
    assert why_train(normals(10), current, settings, "r", force=True, chosen=later) == "someone asked for it"
    assert why_train(normals(10), current, settings, "other", force=True, chosen=earlier) == "someone asked for it"


def test_a_picture_that_is_vouched_for_is_learned_after_all(settings: Settings) -> None:
    current = trained_on(normals(10))
    vouched = Dataset((replace(normals(10).labelled[0], ground_truth=True), *normals(10).labelled[1:]), (), ())
    why = why_train(vouched, current, settings, "r")
    assert why is not None
    assert "ground truth" in why


def test_parts_that_are_named_later_are_learned_at_once(settings: Settings) -> None:
    named = normals(10, group="group 7")
    assert (
        why_train(named, trained_on(normals(10)), settings, "r") == "the task data names other pictures, or their parts"
    )
    assert why_train(named, trained_on(named), settings, "r") is None


def test_a_picture_that_is_no_longer_vouched_for_is_no_reason(settings: Settings) -> None:
    current = replace(trained_on(normals(10, ground_truth=True)), trusted_tasks=tuple(range(1, 11)))
    assert why_train(normals(10), current, settings, "r") is None


def test_changed_settings_and_a_wish_are_too(settings: Settings) -> None:
    current = trained_on(normals(10))
    why = why_train(normals(10), current, settings, "other")
    assert why == "the settings of the model or the area to look at changed"
    assert why_train(normals(10), current, settings, "r", force=True) == "someone asked for it"
    assert why_train(normals(3), current, settings, "r", force=True) is None


def test_a_versions_name_follows_from_its_content(settings: Settings) -> None:
    wanted = recipe(detector_config(settings), Pictures(settings))
    assert version_name(normals(7), wanted) == version_name(normals(7), wanted)
    assert version_name(normals(7), wanted) != version_name(normals(8), wanted)
    assert is_ours(version_name(normals(7), wanted))
    for name in (None, "", "undefined", "customers-own-yolo", "normal-7", "normal-7-latest"):
        assert not is_ours(name), name
    other = settings.model_copy(update={"alarm_rate": 0.01})
    assert recipe(detector_config(other), Pictures(other)) != wanted


OLD, NEW, FOREIGN = "normal-5-00000001", "normal-6-00000002", "customers-own-yolo"


def prediction(version: str, *choices: str, filled: LabelConfig = CONFIG) -> dict[str, Any]:
    verdict = {"id": filled.verdict_id, "from_name": filled.choices, "value": {"choices": [*choices]}}
    return {"model_version": version, "result": [verdict]}


def changed_config(old: str, new: str) -> LabelConfig:
    """The usual one, once people have changed it."""
    return parse_config(EXAMPLE_CONFIG.replace(old, new))


@pytest.mark.parametrize(
    ("known", "needed"),
    [
        ({"predictions": []}, True),
        ({"predictions": [prediction(OLD)]}, True),
        ({"predictions": [prediction(NEW, "normal")]}, False),
        ({"predictions": [prediction(NEW) | {"result": []}]}, True),
        ({"predictions": [prediction(NEW, "good", filled=changed_config('"normal"', '"good"'))]}, True),
        ({"predictions": [prediction(NEW, "normal", filled=changed_config("</View>", SCORE))]}, True),
        ({"predictions": [prediction(NEW, "normal", filled=changed_config("</View>", "<Header/></View>"))]}, False),
        ({"predictions": [prediction(OLD), prediction(NEW, "normal")]}, False),
        ({"predictions": [prediction(NEW, "normal"), prediction(NEW, "normal")]}, False),
        ({"predictions": [prediction(FOREIGN)]}, True),
        ({"predictions": [prediction(FOREIGN), prediction(NEW, "normal")]}, False),
        ({"predictions": [prediction(OLD)], "annotations": [{"id": 1}]}, False),
        ({"predictions": [prediction(OLD)], "annotations": [{"id": 1, "was_cancelled": True}]}, True),
        ({"predictions": [], "annotations": [{"id": 1}]}, True),
        ({"predictions": [], "is_labeled": True}, False),
        ({"predictions": [], "data": {}}, False),
    ],
)
def test_which_tasks_need_a_prediction(known: dict[str, Any], needed: bool) -> None:
    task = {"id": 1, "data": {"image": "/x.jpg"}, "is_labeled": False} | known
    assert needs_prediction(task, CONFIG, NEW) is needed


def cases(scores_normal: list[float], scores_abnormal: list[float], split: Split = Split.TEST) -> list[Case]:
    scored = [("normal", score) for score in scores_normal] + [("abnormal", score) for score in scores_abnormal]
    return [
        Case(image(number, verdict, split), score, score, 0.5, Verdict("abnormal" if score > 0.5 else "normal"), False)
        for number, (verdict, score) in enumerate(scored)
    ]


def test_only_a_model_that_is_clearly_worse_on_test_is_refused() -> None:
    many = 3 * ENOUGH_OF_EACH
    good = cases([0.1 + number / 1000 for number in range(many)], [0.9 - number / 1000 for number in range(many)])
    bad = cases([0.9 - number / 1000 for number in range(many)], [0.1 + number / 1000 for number in range(many)])
    assert worse_on_test(bad, good)
    assert not worse_on_test(good, bad)
    assert not worse_on_test(good, good)
    assert not worse_on_test(bad[:5], good[:5])
    assert not worse_on_test(cases([0.9] * many, [0.1] * many, Split.DEV), cases([0.1] * many, [0.9] * many, Split.DEV))


def test_the_report_counts_what_people_confirmed(
    services: Services,
    detector: AnomalyDetector,
    picture_server: PictureServer,
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
) -> None:
    prior = Prior("v0", 0.8, Verdict.ABNORMAL)
    shown = {**dict(enumerate(normal_pictures[20:24], 1)), **dict(enumerate(abnormal_pictures[:4], 11))}
    for task_id, path in shown.items():
        picture_server.contents[f"/data/upload/{task_id}.jpg"] = path.read_bytes()
    labelled = tuple(
        image(task_id, "normal" if task_id < 10 else "abnormal", Split.TEST, independent=task_id != 11, prior=prior)
        for task_id in shown
    )
    unreadable = image(99, "abnormal", Split.TEST)
    dispute = Dispute(7, "/data/upload/7.jpg", normal=1, abnormal=2)
    dataset = Dataset((*labelled, unreadable), (dispute,), ())
    found = held_out_cases(PROJECT, detector, dataset, services.pictures, services.jobs.board)
    told = report(PROJECT, "v1", detector, dataset, found)
    assert told["test"]["normals"] == told["test"]["abnormals"] == 4
    assert told["test"]["true_positives"] + told["test"]["false_negatives"] == 4
    assert told["test"]["auroc"]["value"] >= 0.75
    assert told["test"]["not_independent"] == 1
    assert told["dev"]["auroc"]["value"] is None
    assert told["before_confirmation"]["false_positives"] == 4
    assert told["disputes"] == [{"task_id": 7, "uri": "/data/upload/7.jpg", "normal": 1, "abnormal": 2}]
    assert {case["task_id"] for case in told["cases"]} == set(shown)
    assert [problem["task_id"] for problem in services.jobs.board.problems(PROJECT)] == [99]
    judged = {case["task_id"]: case | {"score": 0.125} for case in told["cases"]}
    moved = replace(labelled[0], uri=labelled[1].uri)
    changed = Dataset((moved, *labelled[1:]), (), ())
    again = held_out_cases(PROJECT, detector, changed, services.pictures, services.jobs.board, judged)
    assert [case.score == 0.125 for case in again] == [case.image.task_id != moved.task_id for case in found]


def test_the_last_training_is_told_while_a_model_of_the_project_is_in_charge(
    services: Services, promote: Callable[..., str]
) -> None:
    def told() -> object:
        return project_status(PROJECT, services)["last_training"]

    trained = {"version": promote()}
    services.jobs.board.post(PROJECT, last_training=trained)
    assert told() == trained
    services.registry.set_aside(PROJECT, 1795480240)
    assert told() is None


def test_the_list_to_check_again_begins_with_the_strangest_and_leaves_out_what_people_vouch_for(
    detector: AnomalyDetector,
) -> None:
    strangest, second = (int(image.name) for image in to_check(detector.training))

    def listed(vouched: set[int]) -> list[int]:
        learned = [
            image(int(known.name), ground_truth=int(known.name) in vouched, split=Split.TEST)
            for known in detector.training
        ]
        told = report(PROJECT, "v1", detector, Dataset(tuple(learned), (), ()), [])
        return [row["task_id"] for row in told["recheck"]]

    assert listed(set()) == [strangest, second]
    assert listed({strangest})[0] == second


def test_work_that_waits_for_want_of_a_worker_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(later: float) -> tuple[str, str | None]:
        monkeypatch.setattr("backend.board.time.time", lambda: at + later)
        status = project_status(PROJECT, services)
        return status["state"], status["error"]

    at = time.time()
    assert told(600) == told(0) == ("waiting", None)
    services.jobs.request_sync(PROJECT)
    assert told(5) == ("waiting", None)
    state, error = told(120)
    assert (state, str(error)[:43]) == ("error", "The server's worker has not been seen for a")
    services.jobs.look_after()  # as a worker does
    assert told(125) == ("waiting", None)


def test_a_worker_whose_clock_differs_is_not_called_missing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sees_one_at(later: float) -> bool:
        """A worker has just told that it is there, by its own clock."""
        monkeypatch.setattr("backend.board.time.time", lambda: at + later - 3600)
        services.jobs.board.note_worker()
        monkeypatch.setattr("backend.board.time.time", lambda: at + later)
        return project_status(PROJECT, services)["error"] is None

    at = time.time()
    services.jobs.request_sync(PROJECT)
    assert [sees_one_at(later) for later in (0, 70, 140)] == [True, True, True]
    monkeypatch.setattr("backend.board.WORKER_SECONDS", -1.0)
    assert "has not been seen" in str(project_status(PROJECT, services)["error"])  # its sign is the same as before


def test_a_training_whose_worker_is_gone_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.jobs.look_after()
    services.jobs.board.post(PROJECT, syncing=True, progress={"phase": "evaluating", "done": 0, "total": 1})
    assert project_status(PROJECT, services)["state"] == "training"
    at = time.time()
    monkeypatch.setattr("backend.board.time.time", lambda: at + 70)
    status = project_status(PROJECT, services)
    assert (status["state"], status["message"][:43]) == ("error", "The server's worker has not been seen for a")


def test_the_status_says_what_to_do_next(services: Services, promote: Callable[..., str]) -> None:
    def message() -> str:
        return str(project_status(PROJECT, services)["message"])

    services.registry.remember(PROJECT)
    assert message() == "Tag 5 pictures as normal to get the first model."
    services.jobs.board.post(PROJECT, tasks=2, normals_needed=4, training_normals=1, abnormals=1)
    assert message() == "Only 2 pictures are here: import at least 4 more, to be tagged as normal."
    services.jobs.board.post(PROJECT, tasks=400, pictures=2)
    assert message() == (
        "398 of 400 tasks have no picture where the labelling config looks: correct the value of its Image tag, or"
        " import at least 4 more pictures, to be tagged as normal."
    )
    services.jobs.board.post(PROJECT, tasks=6, pictures=6, normals_needed=1, training_normals=4, abnormals=1)
    assert message() == "Tag 1 more picture as normal to get the first model."
    services.jobs.board.post(PROJECT, progress={"phase": "reading pictures", "done": 3, "total": 9})
    assert message() == "Training: reading pictures, 3 of 9."
    services.jobs.board.post(PROJECT, progress=None, normals_needed=0)
    promote(provisional=True)
    assert "provisional" in message()
    promote(name="normal-14", normals=13, training_tasks=tuple(range(14)), attainable_rate=0.071)
    assert message() == (
        "normal-14 is in charge; it learned from 13 of 14 normal pictures. It aims at 5 % false alarms; with so few"
        " pictures no less than 7.1 % can be promised."
    )
    services.jobs.board.post(PROJECT, error="Label Studio is gone")
    assert message() == "Label Studio is gone"


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (0, "no normal picture is left to learn from. Tag 5 pictures as normal to get a new model."),
        (1, "only 1 normal picture is left to learn from. Tag 4 more pictures as normal to get a new model."),
        (4, "only 4 normal pictures are left to learn from. Tag 1 more picture as normal to get a new model."),
    ],
)
def test_where_too_few_normals_are_left_it_is_told_what_stays_in_charge(
    services: Services, promote: Callable[..., str], left: int, told: str
) -> None:
    name = promote()
    services.jobs.board.post(PROJECT, training_normals=left, normals_needed=5 - left, tasks=30)
    message = project_status(PROJECT, services)["message"]
    assert message == f"{name} is in charge; it learned from 10 normal pictures. It stays, as {told}"
