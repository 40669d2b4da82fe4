"""A trainer's decisions that a real Label Studio cannot be brought to in reasonable time."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from backend import configs
from backend.actions import put_in_charge
from backend.comparing import changes
from backend.deciding import OPEN_TIME, SHIFT
from backend.errors import AreaUnusable, PicturesUnreadable, StudioRefused
from backend.labels import EXAMPLE_CONFIG
from backend.services import Services
from backend.settings import WEBHOOK_HEADER
from backend.status import project_status
from backend.training import Trainer
from model.errors import NotEnoughNormals
from tests.conftest import PROJECT, PictureServer
from tests.model.test_orientation import board


class FakeStudio:
    """Keeps tasks in memory and answers as Label Studio does."""

    def __init__(self) -> None:
        self.label_config = EXAMPLE_CONFIG
        self.labelled: list[dict[str, Any]] = []
        self.connected: list[dict[str, Any]] = []
        self.titles: dict[int, str] = {}
        self.renamed: list[str] = []
        self.pushed: list[int] = []
        self.imported: list[dict[str, Any]] = []
        self.emptied: list[int] = []
        self.deleted: list[int] = []
        self.hooks: list[dict[str, Any]] = []
        self.clock = None

    def label(self, task_id: int, verdict: str) -> None:
        result = [{"from_name": "verdict", "type": "choices", "value": {"choices": [verdict]}}]
        annotation = {"result": result, "completed_by": 1, "created_at": "2026-01-01T00:00:00Z"}
        data = {"image": f"/data/upload/{task_id}.jpg"}
        self.labelled.append({"id": task_id, "data": data, "annotations": [annotation], "is_labeled": True})

    def wait_with(self, task_id: int, **prediction: object) -> None:
        """A task that nobody has judged."""
        known = {"result": [{"from_name": "verdict"}], "created_at": "2026-01-01T00:00:00Z"}
        predictions = [known | prediction] if prediction else []
        data = {"image": f"/data/upload/{task_id}.jpg"}
        self.labelled.append({"id": task_id, "data": data, "predictions": predictions, "is_labeled": False})

    def wait_replaced(self, task_id: int, made: Sequence[datetime], newest: dict[str, Any]) -> None:
        """A task that was predicted at these times: by an earlier version, at last as `newest`."""
        self.wait_with(task_id)
        predictions: list[dict[str, Any]] = [
            {"id": 10 * task_id + number, "model_version": "normal-5-0000aaaa", "created_at": time.isoformat()}
            for number, time in enumerate(made)
        ]
        predictions[-1] |= newest
        self.labelled[-1]["predictions"] = predictions

    def delete(self, *task_ids: int) -> None:
        self.labelled = [task for task in self.labelled if task["id"] not in task_ids]

    def project(self, project_id: int) -> dict[str, Any]:
        return {
            "id": project_id,
            "label_config": self.label_config,
            "model_version": self.renamed[-1] if self.renamed else "",
        }

    def tasks(self, project_id: int, ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        return [task for task in self.labelled if ids is None or task["id"] in ids]

    def import_predictions(self, project_id: int, predictions: Sequence[dict[str, Any]]) -> int:
        unknown = {row["task"] for row in predictions} - {task["id"] for task in self.labelled}
        if unknown:
            raise StudioRefused(f"tasks {unknown} are not in the project", 400)
        self.pushed += [row["task"] for row in predictions]
        self.imported += predictions
        return len(predictions)

    def delete_predictions(self, project_id: int, task_ids: Sequence[int]) -> None:
        self.emptied += task_ids

    def delete_prediction(self, prediction_id: int) -> None:
        self.deleted.append(prediction_id)

    def backends(self, project_id: int) -> list[dict[str, Any]]:
        return self.connected

    def rename_backend(self, backend: dict[str, Any], title: str, user: str, password: str) -> None:
        self.titles[backend["id"]] = title

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        return self.hooks

    def set_webhook_headers(self, webhook_id: int, headers: dict[str, str]) -> None:
        next(hook for hook in self.hooks if hook["id"] == webhook_id)["headers"] = headers

    def delete_webhook(self, webhook_id: int) -> None:
        self.hooks = [hook for hook in self.hooks if hook["id"] != webhook_id]

    def set_model_version(self, project_id: int, version: str) -> None:
        self.renamed.append(version)


@pytest.fixture
def studio(picture_server: PictureServer, normal_pictures: list[Path]) -> FakeStudio:
    fake = FakeStudio()
    for task_id, path in enumerate(normal_pictures, 1):
        picture_server.contents[f"/data/upload/{task_id}.jpg"] = path.read_bytes()
    for task_id in range(1, 7):
        fake.label(task_id, "normal")
    return fake


@pytest.fixture
def trainer(studio: FakeStudio, services: Services) -> Trainer:
    small = services.settings.model_copy(update={"image_size": 128})  # learned sooner
    return Trainer(small, studio, services.registry, services.pictures, services.jobs.board)  # type: ignore[arg-type]


def test_a_model_that_does_worse_is_kept_but_neither_promoted_nor_trained_again(
    trainer: Trainer, studio: FakeStudio, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.sync(PROJECT)
    first = services.registry.current(PROJECT)
    monkeypatch.setattr("backend.training.worse_on_test", lambda candidate, current: True)
    studio.label(7, "normal")
    studio.label(8, "normal")
    trainer.sync(PROJECT)
    outcome = services.jobs.board.news(PROJECT)["last_training"]
    assert "worse than" in outcome["result"]
    assert services.registry.current(PROJECT) == first
    assert len(services.registry.versions(PROJECT)) == 2
    trainer.sync(PROJECT)
    assert services.jobs.board.news(PROJECT)["last_training"] == outcome
    monkeypatch.setattr("backend.training.worse_on_test", lambda candidate, current: False)
    trainer.sync(PROJECT, force=True)
    assert services.registry.current(PROJECT) == outcome["version"]


def test_a_version_that_people_passed_over_is_better_than_none(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    first = str(services.registry.current(PROJECT))
    studio.label(7, "normal")
    studio.label(8, "normal")
    trainer.sync(PROJECT)
    second = str(services.registry.current(PROJECT))
    put_in_charge(PROJECT, first, services, "ada")
    trainer.sync(PROJECT)
    assert services.registry.current(PROJECT) == first
    services.registry.store.remove(PROJECT, "versions", first, "model.safetensors")
    trainer.sync(PROJECT)
    assert services.registry.current(PROJECT) == second


def test_a_model_that_cannot_be_read_is_not_told_to_be_in_charge(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    name = str(services.registry.current(PROJECT))
    services.registry.store.write(b"damaged", PROJECT, "versions", name, "model.safetensors")
    studio.delete(5, 6)
    studio.wait_with(8)
    trainer.sync(PROJECT)
    services.jobs.board.post(PROJECT, progress=None)  # as the job does at its end
    status = project_status(PROJECT, services)
    assert (status["state"], status["model_version"]) == ("waiting", name)
    assert status["message"] == (
        f"{name} was lost or is of another release. Tag 1 more picture as normal to get a new model."
    )
    studio.label(7, "normal")
    trainer.sync(PROJECT)
    services.jobs.board.post(PROJECT, progress=None)
    assert project_status(PROJECT, services)["state"] == "ready"
    assert services.registry.promotions(PROJECT)[-1]["reason"] == f"{name} was lost or is of another release"


def test_the_rate_that_people_chose_survives_retraining(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    for task_id in range(7, 12):
        studio.label(task_id, "normal")
    trainer.sync(PROJECT)
    first = services.registry.current(PROJECT)
    services.registry.set_alarm_rate(PROJECT, 0.2)
    trainer.sync(PROJECT, force=True)
    second = services.registry.current(PROJECT)
    assert second != first
    for task_id in range(12, 16):
        studio.label(task_id, "normal")
    trainer.sync(PROJECT)
    third = services.registry.current(PROJECT)
    assert len({first, second, third}) == 3
    rates = {version.name: version.alarm_rate for version in services.registry.versions(PROJECT)}
    assert rates == {first: 0.05, second: 0.2, third: 0.2}
    services.registry.set_alarm_rate(PROJECT, None)
    trainer.sync(PROJECT, force=True)
    last = services.registry.version(PROJECT, str(services.registry.current(PROJECT)))
    assert last.alarm_rate == 0.05


def test_another_rate_is_in_charge_without_learning_anew(
    trainer: Trainer, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.sync(PROJECT)
    first = services.registry.current(PROJECT)
    with monkeypatch.context() as patch:
        patch.setattr("backend.learning.Learner.fit", lambda *args: pytest.fail("it learned anew"))
        services.registry.set_alarm_rate(PROJECT, 0.2)
        trainer.sync(PROJECT)
    second = str(services.registry.current(PROJECT))
    assert second != first
    kept = services.registry.detector(PROJECT, second).to_bytes()
    trainer.sync(PROJECT, force=True)  # learns anew what is the same
    assert services.registry.current(PROJECT) == second
    assert services.registry.detector(PROJECT, second, anew=True).to_bytes() == kept


def test_a_new_version_says_which_confirmed_pictures_it_judges_otherwise(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    for task_id in range(7, 25):
        studio.label(task_id, "normal")
    trainer.sync(PROJECT)
    first = services.registry.current(PROJECT)
    services.registry.set_alarm_rate(PROJECT, 0.9)
    studio.label(25, "abnormal")
    trainer.sync(PROJECT, force=True)
    before = services.registry.evaluation(PROJECT, str(first))
    assert before is not None
    assert 25 in [case["task_id"] for case in before["cases"]]
    for force in (False, True):  # the review that follows must keep it, and a training with nothing new
        evaluation = services.registry.evaluation(PROJECT, str(services.registry.current(PROJECT)))
        assert evaluation is not None
        assert evaluation["changes"] == changes(before, evaluation)
        assert evaluation["changes"]["since"] == first
        assert evaluation["changes"]["worse"]
        assert evaluation["changes"]["better"] == [25]
        trainer.sync(PROJECT, force=force)
    again = services.registry.evaluation(PROJECT, str(services.registry.current(PROJECT)))
    assert again is not None
    assert again["changes"] == evaluation["changes"]


def test_when_most_normal_pictures_cannot_be_read_nothing_is_trained(
    trainer: Trainer, services: Services, picture_server: PictureServer
) -> None:
    picture_server.contents.clear()
    with pytest.raises(Exception, match="6 of the 6 normal pictures cannot be read"):
        trainer.sync(PROJECT)
    assert services.registry.current(PROJECT) is None
    assert len(services.jobs.board.problems(PROJECT)) == 6


def test_what_was_tagged_is_not_suggested_even_where_training_fails(
    trainer: Trainer, studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    tagged, studio.labelled = studio.labelled, []
    for copy in (1, 2):
        picture_server.contents[f"/data/upload/{copy}.jpg"] = picture_server.contents["/data/upload/3.jpg"]
    for task_id in range(1, 10):
        studio.wait_with(task_id)
    trainer.sync(PROJECT)
    assert {row["task_id"] for row in services.jobs.board.suggested(PROJECT)} == set(range(1, 10))
    studio.labelled = [*tagged, *studio.labelled[len(tagged) :]]
    with pytest.raises(NotEnoughNormals):
        trainer.sync(PROJECT, force=True)
    assert {row["task_id"] for row in services.jobs.board.suggested(PROJECT)} == {7, 8, 9}


def test_start_training_takes_in_pictures_that_were_replaced_under_their_addresses(
    trainer: Trainer, studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    for task in studio.labelled:
        picture_server.contents[f"/line/{task['id']}.jpg"] = picture_server.contents[task["data"]["image"]]
        task["data"]["image"] = f"{picture_server.url}/line/{task['id']}.jpg"
    trainer.sync(PROJECT)
    first = str(services.registry.current(PROJECT))
    trainer.sync(PROJECT, force=True)
    assert services.registry.current(PROJECT) == first  # nothing is new
    replaced = picture_server.contents["/line/3.jpg"]
    picture_server.contents["/line/3.jpg"] = picture_server.contents["/data/upload/7.jpg"]
    trainer.sync(PROJECT, force=True)
    second = str(services.registry.current(PROJECT))
    assert second != first  # so that every server loads it, and every task gets its predictions
    for _ in range(2):
        assert trainer.sync(PROJECT, force=True) is not None
        assert services.registry.current(PROJECT) == second
    picture_server.contents["/line/3.jpg"] = replaced
    trainer.sync(PROJECT, force=True)
    assert services.registry.current(PROJECT) == first
    assert len(services.registry.versions(PROJECT)) == 2


def test_unreadable_normals_are_left_out(trainer: Trainer, services: Services, picture_server: PictureServer) -> None:
    del picture_server.contents["/data/upload/3.jpg"]
    trainer.sync(PROJECT)
    version = services.registry.versions(PROJECT)[0]
    assert version.normals == 5
    assert version.unread_tasks == (3,)
    assert version.name.startswith("normal-5-")
    assert [problem["task_id"] for problem in services.jobs.board.problems(PROJECT)] == [3]


def test_normals_that_can_be_read_again_are_learned(
    trainer: Trainer, services: Services, picture_server: PictureServer
) -> None:
    picture = picture_server.contents.pop("/data/upload/3.jpg")
    for _ in range(2):  # looking again in vain changes nothing
        trainer.sync(PROJECT)
        assert services.jobs.board.news(PROJECT)["last_training"]["why"].endswith("no model yet")
    picture_server.contents["/data/upload/3.jpg"] = picture
    trainer.sync(PROJECT)
    version = services.registry.version(PROJECT, str(services.registry.current(PROJECT)))
    assert (version.normals, version.unread_tasks) == (6, ())
    assert "can be read now" in services.jobs.board.news(PROJECT)["last_training"]["why"]
    assert services.registry.detector(PROJECT, version.name).calibration.threshold == version.threshold
    assert not services.jobs.board.problems(PROJECT)


def test_where_too_few_normals_are_left_because_some_cannot_be_read_it_says_so(
    trainer: Trainer, picture_server: PictureServer
) -> None:
    for lost in (1, 2):
        del picture_server.contents[f"/data/upload/{lost}.jpg"]
    with pytest.raises(PicturesUnreadable, match="2 of the 6 normal pictures cannot be read"):
        trainer.sync(PROJECT)


def test_pictures_that_were_saved_anew_count_as_one_part_with_the_original(
    trainer: Trainer, studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    trainer.sync(PROJECT)
    assert "advice" not in services.jobs.board.news(PROJECT)
    for task_id in range(7, 13):
        save_anew(picture_server, task_id - 6, task_id, quality=90)
        studio.label(task_id, "normal")
    trainer.sync(PROJECT)
    version = services.registry.current(PROJECT)
    assert version is not None
    assert services.registry.detector(PROJECT, version).calibration.parts == 6
    assert services.jobs.board.news(PROJECT)["advice"].startswith(
        "12 of the 12 normal pictures learned are so like another that they count as one part with it. To be sure, name"
        " the part in the task data and set GROUP_KEY"
    )


def test_it_says_that_all_lie_one_way(trainer: Trainer, services: Services, picture_server: PictureServer) -> None:
    for task_id in range(1, 7):
        content = io.BytesIO()
        board(task_id).save(content, "PNG")
        picture_server.contents[f"/data/upload/{task_id}.jpg"] = content.getvalue()
    trainer.sync(PROJECT)
    assert services.jobs.board.news(PROJECT)["advice"] == (
        "All normal pictures show the product lying one way, so that one which is mirrored or flipped or turned is"
        " called abnormal. Where it may lie so, set ORIENTATION=free"
    )


def test_where_most_pictures_have_a_twin_of_another_name_it_says_what_to_do(
    studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    settings = services.settings.model_copy(update={"image_size": 128, "group_key": "image"})
    for task_id in range(7, 13):
        save_anew(picture_server, task_id - 6, task_id, quality=90)
        studio.label(task_id, "normal")
    Trainer(settings, studio, services.registry, services.pictures, services.jobs.board).sync(PROJECT)  # type: ignore[arg-type]
    assert "name the part in the task data and set GROUP_KEY" in services.jobs.board.news(PROJECT)["advice"]


def save_anew(picture_server: PictureServer, task_id: int, into: int, *, quality: int) -> None:
    with Image.open(io.BytesIO(picture_server.contents[f"/data/upload/{task_id}.jpg"])) as picture:
        again = io.BytesIO()
        picture.save(again, "JPEG", quality=quality)
    picture_server.contents[f"/data/upload/{into}.jpg"] = again.getvalue()


def test_copies_count_once(trainer: Trainer, services: Services, picture_server: PictureServer) -> None:
    for copy in (1, 2):
        picture_server.contents[f"/data/upload/{copy}.jpg"] = picture_server.contents["/data/upload/3.jpg"]
    with pytest.raises(NotEnoughNormals, match="4 usable normal pictures, copies counted once, 5 needed"):
        trainer.sync(PROJECT)


def test_a_held_out_copy_of_a_learned_picture_is_scored_as_if_it_were_not_learned(
    trainer: Trainer, studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    for task_id in range(7, 25):
        studio.label(task_id, "normal")
    trainer.sync(PROJECT)
    version = services.registry.versions(PROJECT)[0]
    evaluation = services.registry.evaluation(PROJECT, version.name)
    assert evaluation is not None
    held_out, learned = evaluation["cases"][0]["task_id"], version.training_tasks[0]
    picture_server.contents["/data/upload/99.jpg"] = picture_server.contents[f"/data/upload/{learned}.jpg"]
    studio.labelled[held_out - 1]["data"] = {"image": "/data/upload/99.jpg"}
    trainer.sync(PROJECT)
    evaluation = services.registry.evaluation(PROJECT, version.name)
    assert evaluation is not None
    case = next(case for case in evaluation["cases"] if case["task_id"] == held_out)
    detector = services.registry.detector(PROJECT, version.name)
    assert case["raw_score"] == next(one.raw_score for one in detector.training if one.name == str(learned))
    assert case["cross_fitted"]


def test_predictions_of_other_models_and_of_judged_tasks_are_left_alone(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    studio.wait_with(7, id=70, model_version="normal-5-0000aaaa", score=0.9)
    studio.wait_with(8, id=80, model_version="customers-own-yolo", score=0.9)
    studio.wait_with(9, id=90, model_version="normal-5-0000aaaa", score=0.9)
    studio.labelled[-1]["predictions"].append({"id": 91, "model_version": "customers-own-yolo"})
    studio.wait_with(10)
    studio.labelled[-1]["annotations"] = studio.labelled[0]["annotations"]  # the first of two that the project wants
    due = trainer.sync(PROJECT)
    trainer.backfill(PROJECT, str(services.registry.current(PROJECT)), due)
    assert sorted(studio.pushed) == [7, 8, 9, 10]
    assert (studio.emptied, studio.deleted) == ([], [])  # people may have them open


def in_charge(services: Services, studio: FakeStudio) -> dict[str, Any]:
    """What a prediction of the version in charge holds, made for the labelling config as it is; for long in charge."""
    in_charge_since(services, datetime.now(UTC) - 3 * SHIFT)
    filled = services.settings.label_config(studio.label_config).verdict_id
    version = str(services.registry.current(PROJECT))
    verdict = {"id": filled, "from_name": "verdict", "value": {"choices": ["normal"]}}
    return {"model_version": version, "score": 0.2, "result": [verdict]}


def in_charge_since(services: Services, time: datetime) -> None:
    store = services.registry.store
    pointer = store.read_json(PROJECT, "current.json") or {}
    store.write_json(pointer | {"promoted_at": time.isoformat()}, PROJECT, "current.json")


def test_what_a_new_version_replaced_is_deleted_once_nobody_can_have_it_open(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    newest, at = in_charge(services, studio), datetime.now(UTC)
    for task_id, made_at in ((7, at), (8, at - OPEN_TIME), (9, at - OPEN_TIME)):
        studio.wait_replaced(task_id, [at - timedelta(days=1), made_at], newest)
    studio.labelled[-1]["predictions"].append({"id": 95, "model_version": "customers-own-yolo", "result": []})
    due = trainer.sync(PROJECT)
    assert due == [8, 9]
    trainer.backfill(PROJECT, newest["model_version"], due)
    assert studio.emptied == [8]
    assert studio.imported == [{"task": 8} | newest]
    assert studio.deleted == [90]
    studio.labelled[0]["annotations"][0]["updated_at"] = at.isoformat()  # somebody is at work
    assert trainer.sync(PROJECT) == []


def test_what_a_rollback_replaced_is_kept_while_somebody_may_have_it_open(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    first, at = in_charge(services, studio), datetime.now(UTC)
    studio.label(7, "normal")
    studio.label(8, "normal")
    trainer.sync(PROJECT)
    second = in_charge(services, studio)
    studio.wait_replaced(9, [at - timedelta(days=1), at - timedelta(hours=1)], second)
    studio.labelled[-1]["predictions"][0] |= first
    put_in_charge(PROJECT, first["model_version"], services, "ada")
    assert trainer.sync(PROJECT) == []
    trainer.backfill(PROJECT, first["model_version"], [9])
    assert studio.emptied == []
    in_charge_since(services, at - OPEN_TIME)
    assert trainer.sync(PROJECT) == [9]
    trainer.backfill(PROJECT, first["model_version"], [9])
    assert studio.imported == [{"task": 9} | first]


def test_what_has_no_prediction_yet_is_due_before_what_has_an_old_one(trainer: Trainer, studio: FakeStudio) -> None:
    studio.wait_with(7, id=70, model_version="normal-5-0000aaaa", score=0.9)
    studio.wait_with(8)
    studio.wait_with(9, id=90, model_version="customers-own-yolo", score=0.9)
    assert trainer.sync(PROJECT) == [8, 9, 7]


def test_what_was_replaced_a_shift_ago_is_deleted_though_somebody_is_always_at_work(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    newest, at = in_charge(services, studio), datetime.now(UTC)
    studio.wait_replaced(7, [at - 2 * SHIFT, at - SHIFT, at - OPEN_TIME], newest)
    studio.wait_replaced(8, [at - SHIFT, at - OPEN_TIME], newest)
    studio.labelled[0]["annotations"][0]["updated_at"] = at.isoformat()
    due = trainer.sync(PROJECT)
    assert due == [7]
    trainer.backfill(PROJECT, newest["model_version"], due)
    assert studio.deleted == [70]
    assert (studio.emptied, studio.imported) == ([], [])  # somebody may have one of the others open


def test_a_task_that_awaits_another_judgement_keeps_what_was_predicted_before_the_last_and_the_newest(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    newest, at = in_charge(services, studio), datetime.now(UTC)

    def judged(task_id: int, *hours_ago: float, judged_ago: float) -> None:
        studio.wait_replaced(task_id, [at - timedelta(hours=ago) for ago in hours_ago], newest)
        time = (at - timedelta(hours=judged_ago)).isoformat()
        studio.labelled[-1]["annotations"] = [{"result": [], "created_at": time, "parent_prediction": 10 * task_id + 1}]

    judged(7, 9, 8, 6, 5, 4, judged_ago=7)  # 70 and 71 came before the judgement
    judged(8, 9, 8, judged_ago=7)
    judged(9, 3, 2, 0.1, judged_ago=7)  # somebody may have one of the others open
    judged(10, 9, 8, judged_ago=10)
    due = trainer.sync(PROJECT)
    assert due == [7, 10]
    trainer.backfill(PROJECT, newest["model_version"], due)
    assert sorted(studio.deleted) == [72, 73, 100]
    assert (studio.emptied, studio.imported) == ([], [])  # no annotation loses the prediction that it began from


def test_another_backend_of_the_project_is_left_alone(trainer: Trainer, studio: FakeStudio, services: Services) -> None:
    other = {"id": 1, "url": "http://sam:9091", "title": "SAM", "model_version": "sam-1"}
    ours = {"id": 2, "url": "http://anomaly:9090", "title": "Anomaly", "model_version": "untrained"}
    studio.connected = [other, ours]
    trainer.sync(PROJECT)
    assert studio.titles == {2: services.registry.current(PROJECT)}
    studio.titles.clear()
    for one in (other, ours):  # connected twice, by two addresses
        one["model_version"] = services.registry.current(PROJECT)
    trainer.sync(PROJECT, force=True)
    assert studio.titles == {1: services.registry.current(PROJECT)}
    other["model_version"], ours["model_version"] = "sam-1", "sam-2"  # neither is this one
    studio.titles.clear()
    trainer.sync(PROJECT, force=True)
    assert studio.titles == {}


def test_a_project_that_has_another_backend_instead_is_left_alone(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    studio.wait_with(7)
    studio.connected = [{"id": 1, "url": "http://anomaly:9090", "title": "Anomaly", "model_version": "untrained"}]
    studio.hooks = [{"id": n, "url": f"http://{host}/webhook"} for n, host in ((1, "anomaly:9090"), (2, "sam:9091"))]
    assert trainer.sync(PROJECT) == [7]
    studio.titles.clear()
    studio.connected = [{"id": 2, "url": "http://sam:9091", "title": "SAM", "model_version": "sam-1"}]
    assert trainer.sync(PROJECT, force=True) == []
    assert studio.titles == {}
    assert [hook["id"] for hook in studio.hooks] == [2]


def test_the_webhook_of_another_backend_does_not_get_the_secret(studio: FakeStudio, services: Services) -> None:
    studio.hooks = [{"id": n, "url": f"http://{host}/webhook"} for n, host in ((1, "sam:9091"), (2, "anomaly:9090"))]
    studio.connected = [
        {"id": 1, "url": "http://sam:9091", "model_version": "sam-1"},
        {"id": 2, "url": "http://anomaly:9090", "model_version": "untrained"},
    ]
    studio.labelled.clear()
    guarded = services.settings.model_copy(update={"webhook_secret": SecretStr("an-event-secret")})
    trainer = Trainer(guarded, studio, services.registry, services.pictures, services.jobs.board)  # type: ignore[arg-type]
    trainer.sync(PROJECT)
    assert [hook.get("headers") for hook in studio.hooks] == [None, {WEBHOOK_HEADER: "an-event-secret"}]


def test_pictures_that_cannot_be_used_are_told_of_while_their_task_is_there_with_that_address(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    for task_id in (7, 8):
        studio.wait_with(task_id)
    studio.label(9, "abnormal")
    board = services.jobs.board
    board.note_pictures(PROJECT, {99: ("/data/upload/99.jpg", "the task was deleted since")})
    board.note_pictures(PROJECT, {7: ("/data/upload/wrong.jpg", "the address was put right since")})
    board.note_pictures(PROJECT, {8: ("/data/upload/8.jpg", "damaged")})
    board.note_pictures(PROJECT, {9: ("/data/upload/9.jpg", "can be read now that it is labelled")})
    trainer.sync(PROJECT)
    assert [problem["task_id"] for problem in board.problems(PROJECT)] == [8]


def test_a_task_without_a_picture_is_told_once(trainer: Trainer, studio: FakeStudio, services: Services) -> None:
    trainer.sync(PROJECT)
    task = {"id": 7, "data": {}, "annotations": [], "predictions": [], "is_labeled": False}
    studio.labelled.append(task)

    def told() -> tuple[list[int], list[int]]:
        services.predictor.predict(PROJECT, [task], EXAMPLE_CONFIG)  # as Label Studio asks for it
        status = project_status(PROJECT, services)
        return [problem["task_id"] for problem in status["problems"]], status["without_image"]

    assert told() == ([7], [])
    trainer.sync(PROJECT)
    assert told() == ([], [7])


def test_labels_that_a_renamed_choice_cost_are_told_of(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    assert services.jobs.board.news(PROJECT).get("advice") is None
    studio.label_config = EXAMPLE_CONFIG.replace('value="normal"', 'value="good"')
    trainer.sync(PROJECT)
    advice = services.jobs.board.news(PROJECT)["advice"]
    assert advice.startswith("6 tasks (1, 2, 3 ...) were submitted without a choice of the labelling config")
    assert "give it the old name as its alias" in advice
    studio.label_config = EXAMPLE_CONFIG.replace('value="normal"', 'value="good" alias="normal"')
    trainer.sync(PROJECT)
    assert services.jobs.board.news(PROJECT).get("advice") is None


def test_the_report_knows_learned_pictures_whose_labels_people_took_back(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    studio.label(7, "abnormal")
    trainer.sync(PROJECT)
    first = str(services.registry.current(PROJECT))
    for task in (studio.labelled[0], studio.labelled[-1]):
        task |= {"annotations": [], "is_labeled": False}
    trainer.sync(PROJECT)
    second = str(services.registry.current(PROJECT))
    services.registry.promote(PROJECT, first, "put in charge by hand")
    services.registry.pass_over(PROJECT, second)
    trainer.sync(PROJECT)
    evaluation = services.registry.evaluation(PROJECT, first)
    assert services.registry.current(PROJECT) == first
    assert evaluation is not None
    assert sorted(evaluation["pictures"]) == ["1", "2", "3", "4", "5", "6"]


def test_a_new_version_tells_drift_before_its_predictions_are_pushed(
    trainer: Trainer,
    studio: FakeStudio,
    services: Services,
    picture_server: PictureServer,
    normal_pictures: list[Path],
) -> None:
    for task_id in range(7, 28):
        studio.label(task_id, "normal")
    for task_id in range(28, 51):
        picture_server.contents[f"/data/upload/{task_id}.jpg"] = normal_pictures[task_id - 28].read_bytes()
        studio.wait_with(task_id)
    studio.wait_with(99)  # its picture cannot be read
    trainer.sync(PROJECT)
    version = str(services.registry.current(PROJECT))
    evaluation = services.registry.evaluation(PROJECT, version)
    assert evaluation is not None
    assert [row["task_id"] for row in evaluation["newest"]] == [*range(50, 27, -1)]
    assert services.registry.summary(PROJECT, version)["drift_p_value"] == evaluation["drift"]["p_value"]


def test_a_training_deletes_what_a_killed_process_left_half_written(trainer: Trainer, services: Services) -> None:
    folder = Path(services.settings.model_dir) / str(PROJECT)
    folder.mkdir(parents=True)
    old, fresh = folder / "project.json.1.2.partial", folder / "project.json.3.4.partial"
    for left in (old, fresh):
        left.write_bytes(b"{")
    os.utime(old, (0, 0))
    trainer.sync(PROJECT)
    assert not old.exists()
    assert fresh.exists()  # another process may be writing it


def test_before_a_model_the_pictures_that_stand_for_most_are_suggested(
    trainer: Trainer, studio: FakeStudio, services: Services, picture_server: PictureServer
) -> None:
    studio.labelled.clear()
    for task_id in range(1, 13):
        studio.wait_with(task_id)
    del picture_server.contents["/data/upload/4.jpg"]
    trainer.sync(PROJECT)
    suggested = services.jobs.board.suggested(PROJECT)
    assert sorted(row["task_id"] for row in suggested) == [1, 2, 3, *range(5, 13)]
    studio.labelled = [task for task in studio.labelled if task["id"] != suggested[0]["task_id"]]
    studio.label(suggested[0]["task_id"], "normal")
    trainer.sync(PROJECT)
    assert services.jobs.board.suggested(PROJECT) == suggested[1:]


def test_with_a_model_the_doubtful_pictures_are_suggested(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.sync(PROJECT)
    version = services.registry.current(PROJECT)
    for task_id, score in {7: 0.9, 8: 0.45, 9: 0.52, 10: None}.items():
        studio.wait_with(task_id, model_version=version, score=score)
    studio.wait_with(11, model_version="another", score=0.5)
    trainer.sync(PROJECT)
    assert [row["task_id"] for row in services.jobs.board.suggested(PROJECT)] == [9, 8, 7]


def test_a_task_that_is_deleted_while_it_is_judged_costs_no_other_its_prediction(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    for task_id in (7, 8, 9):
        studio.wait_with(task_id)
    trainer.sync(PROJECT)
    version = str(services.registry.current(PROJECT))
    trainer.backfill(PROJECT, version, [7, 8, 9], check=lambda: studio.delete(8))
    assert studio.pushed == [7, 9]
    trainer.backfill(PROJECT, version, [7, 9], check=lambda: studio.delete(7, 9))
    assert studio.pushed == [7, 9]


def test_a_refusal_for_another_reason_is_told(
    trainer: Trainer, studio: FakeStudio, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.wait_with(7)
    trainer.sync(PROJECT)

    def refuse(*args: object) -> int:
        raise StudioRefused("something else", 400)

    monkeypatch.setattr(studio, "import_predictions", refuse)
    with pytest.raises(StudioRefused, match="something else"):
        trainer.backfill(PROJECT, str(services.registry.current(PROJECT)), [7])


def test_what_was_pushed_is_taken_in_without_another_event(
    trainer: Trainer, studio: FakeStudio, services: Services
) -> None:
    trainer.look_again(PROJECT)
    assert services.jobs.board.suggested(PROJECT) == []
    studio.wait_with(7)
    trainer.sync(PROJECT)
    version = str(services.registry.current(PROJECT))
    assert services.jobs.board.suggested(PROJECT) == []
    studio.labelled.pop()
    studio.wait_with(7, model_version=version, score=0.4)
    trainer.look_again(PROJECT)
    assert [row["task_id"] for row in services.jobs.board.suggested(PROJECT)] == [7]
    evaluation = services.registry.evaluation(PROJECT, version)
    assert evaluation is not None
    assert evaluation["newest"] == []  # no verdict
    assert [found.name for found in services.registry.versions(PROJECT)] == [version]


def test_what_people_draw_is_where_the_next_model_looks_instead_of_where_the_settings_say(
    studio: FakeStudio, services: Services
) -> None:
    settings = services.settings.model_copy(update={"image_size": 128, "roi": "0,0,100,90"})
    trainer = Trainer(settings, studio, services.registry, services.pictures, services.jobs.board)  # type: ignore[arg-type]
    studio.label_config = (configs.FOLDER / "verdict_regions_area.xml").read_text()

    def area() -> tuple[str, str]:
        trainer.sync(PROJECT)
        config = services.registry.detector(PROJECT, str(services.registry.current(PROJECT))).config
        return config.roi, config.ignore

    assert area() == ("0,0,100,90", "")
    drawn = {"x": 10, "y": 10, "width": 80, "height": 80, "rotation": 0, "rectanglelabels": ["region of interest"]}
    result = studio.labelled[2]["annotations"][0]["result"]
    result.append({"from_name": "place", "type": "rectanglelabels", "value": drawn})
    assert area() == ("10.00,10.00,80.00,80.00", "")
    assert services.jobs.board.news(PROJECT)["area_task"] == 3
    assert "the area to look at" in services.jobs.board.news(PROJECT)["last_training"]["why"]
    drawn["rectanglelabels"] = ["ignore"]
    drawn |= {"x": 0, "y": 0, "width": 100, "height": 100}
    with pytest.raises(AreaUnusable):
        trainer.sync(PROJECT)
    result.pop()
    assert area() == ("0,0,100,90", "")
    assert "area_task" not in services.jobs.board.news(PROJECT)


def test_a_forgotten_project_leaves_no_thumbnails(trainer: Trainer, studio: FakeStudio, services: Services) -> None:
    def gone(project_id: int) -> dict[str, Any]:
        raise StudioRefused("no such project", 404)

    for project_id in (PROJECT, PROJECT + 1):
        services.thumbnails.plain("/data/upload/1.jpg", project_id, 1)
    services.registry.remember(PROJECT)
    services.registry.note(PROJECT, missing_since="2026-01-01T00:00:00+00:00")
    studio.project = gone  # type: ignore[method-assign]
    assert trainer.sync(PROJECT) is None
    left = [folder.name for folder in (services.settings.cache_dir / "thumbnails").iterdir()]
    assert left == [str(PROJECT + 1)]
