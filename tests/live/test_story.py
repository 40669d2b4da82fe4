"""One project from its first tag to its retraining, as people live it. These tests run in order."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from backend import configs
from tests.backend.test_jobs import eventually
from tests.live.conftest import PATIENCE, TOKEN, LiveBackend, LiveStudio

CONFIG = (configs.FOLDER / "verdict_regions_score_reason.xml").read_text()

Json = dict[str, Any]


@dataclass
class Story:
    """Where the story stands."""

    studio: LiveStudio
    backend: LiveBackend
    project: int
    ml_id: int = 0
    versions: list[str] = field(default_factory=list)

    def tasks(self, kind: str, *, finished: bool | None = None) -> list[Json]:
        """The tasks whose file name starts with `kind`."""
        found = [task for task in self.studio.tasks(self.project) if _file(task).startswith(kind)]
        return [task for task in found if finished is None or task["is_labeled"] == finished]

    def settle(self, reached: Callable[[Json], Any] = bool, what: str = "calm") -> Json:
        return self.backend.wait(self.project, reached, what)


def newest(task: Json) -> Json:
    """The prediction that people are shown."""
    found: Json = max(task["predictions"], key=lambda prediction: prediction["id"])
    return found


def _file(task: Json) -> str:
    """The name that the picture had when it was uploaded."""
    return str(task["data"]["image"].rpartition("/")[2].partition("-")[2])


@pytest.fixture(scope="module")
def story(
    studio: LiveStudio,
    start_backend: Callable[..., LiveBackend],
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
) -> Story:
    backend = start_backend(
        LABEL_STUDIO_API_KEY=studio.personal_token(),
        BASIC_AUTH_USER="studio",
        BASIC_AUTH_PASS="pa:ss",
        WEBHOOK_SECRET="an-event-secret",
    )
    project = studio.create_project("The story", CONFIG)
    pictures = [(f"whole{path.stem[-2:]}.jpg", path.read_bytes()) for path in normal_pictures]
    pictures += [(f"cracked{path.stem[-2:]}.jpg", path.read_bytes()) for path in abnormal_pictures]
    pictures.append(("truncated.jpg", normal_pictures[0].read_bytes()[:3000]))
    studio.upload(project, pictures)
    return Story(studio, backend, project)


def connect(story: Story, project: int) -> Any:
    body = {
        "project": project,
        "url": story.backend.url,
        "title": "anomalies",
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": "studio",
        "basic_auth_pass": "pa:ss",
    }
    return story.studio.api.post("/api/ml", json=body)


def test_a_config_that_does_not_fit_is_refused_with_one_that_does(story: Story) -> None:
    other = story.studio.create_project(
        "Text", '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    )
    answer = connect(story, other)
    assert answer.status_code >= 400
    assert (
        "set NORMAL_LABELS and ABNORMAL_LABELS to the names you use. They must be Choices on an Image with a value, no"
        " Taxonomy, no perRegion. A config that fits: <View>"
    ) in answer.text


def test_connecting(story: Story) -> None:
    answer = connect(story, story.project)
    assert answer.status_code == 201, answer.text
    story.ml_id = answer.json()["id"]
    status = story.settle(lambda status: status["tasks"] == 46, "the first look at the project")
    assert (status["state"], status["normals_needed"], status["model_version"]) == ("waiting", 5, None)
    assert status["message"] == "Tag 5 pictures as normal to get the first model."


def test_before_there_is_a_model_predictions_are_empty(story: Story) -> None:
    task = story.tasks("whole")[0]
    opened = story.studio.call("GET", f"/api/tasks/{task['id']}", params={"project": story.project})
    assert all(not prediction["result"] for prediction in opened["predictions"])


def test_drafts_and_skipped_tasks_do_not_count(story: Story) -> None:
    tasks = story.tasks("whole")
    for task in tasks[:4]:
        story.studio.annotate(task, "normal")
    story.studio.annotate(tasks[4], "normal", was_cancelled=True)
    draft = {
        "result": [{"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}}]
    }
    story.studio.call("POST", f"/api/tasks/{tasks[5]['id']}/drafts", json=draft)
    status = story.settle(lambda status: status["normals"] == 4, "four normal pictures")
    assert status["normals_needed"] == 1
    assert status["model_version"] is None


def test_the_fifth_normal_picture_makes_a_provisional_model(story: Story) -> None:
    story.studio.annotate(story.tasks("whole", finished=False)[-1], "normal")
    status = story.settle(lambda status: status["model_version"], "the first model")
    assert status["provisional"]
    story.versions.append(status["model_version"])


def check_backfill(story: Story, version: str) -> None:
    unfinished = [task for task in story.studio.tasks(story.project) if not task["is_labeled"]]
    readable = [task for task in unfinished if _file(task) != "truncated.jpg"]
    assert readable
    for task in readable:
        [prediction] = [said for said in task["predictions"] if said["model_version"] == version]
        assert prediction["result"], _file(task)
        assert task["predictions_score"] == pytest.approx(prediction["score"])


def test_every_unfinished_task_is_pre_annotated_once(story: Story) -> None:
    check_backfill(story, story.versions[-1])


def test_a_broken_picture_costs_its_own_task_a_reason(story: Story) -> None:
    broken = story.tasks("truncated")[0]
    assert not any(prediction["result"] for prediction in broken["predictions"])
    problems = story.backend.status(story.project)["problems"]
    assert [problem["task_id"] for problem in problems] == [broken["id"]]
    assert "damaged or incomplete" in problems[0]["reason"]


def test_imported_annotations_count_although_no_event_tells_of_them(story: Story) -> None:
    verdict = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}}
    sources = story.tasks("whole", finished=False)[:5]
    body = [{"data": task["data"], "annotations": [{"result": [verdict]}]} for task in sources]
    story.studio.call("POST", f"/api/projects/{story.project}/import", json=body)
    for task in sources:
        story.studio.call("DELETE", f"/api/tasks/{task['id']}")
    status = story.settle(lambda status: status["model_normals"] == 10, "ten normal pictures learned")
    assert not status["provisional"]
    story.versions.append(status["model_version"])
    check_backfill(story, status["model_version"])


def test_the_data_manager_sorts_by_score(story: Story) -> None:
    view = {"ordering": ["-tasks:predictions_score"], "filters": {"conjunction": "and", "items": []}}
    view_id = story.studio.call("POST", "/api/dm/views/", json={"project": story.project, "data": view})["id"]
    answer = story.studio.call("GET", "/api/tasks", params={"view": view_id, "fields": "all", "page_size": 100})
    scores = [task["predictions_score"] for task in answer["tasks"] if task["predictions_score"] is not None]
    assert len(scores) > 20
    assert scores == sorted(scores, reverse=True)
    top = [_file(task) for task in answer["tasks"][:8]]
    assert sum(name.startswith("cracked") for name in top) >= 6


def test_tabs_for_reviewing_are_added_once(story: Story) -> None:
    environment = {**os.environ, "LABEL_STUDIO_URL": story.studio.url, "LABEL_STUDIO_API_KEY": TOKEN}
    command = [sys.executable, "-m", "backend", "tabs", str(story.project)]
    first, second = (subprocess.check_output(command, env=environment, text=True) for _ in range(2))
    assert "Most abnormal first, Close to the threshold" in first
    assert "there already" in second
    unknown = subprocess.run([*command[:-1], "999999"], env=environment, capture_output=True, text=True)
    assert "sees no such project" in unknown.stderr
    views = story.studio.call("GET", "/api/dm/views/", params={"project": story.project})
    tab = next(view for view in views if view["data"].get("title") == "Close to the threshold")
    shown = story.studio.call("GET", "/api/tasks", params={"view": tab["id"], "fields": "all", "page_size": 100})
    close = [task for task in story.tasks("") if 0.35 <= (task["predictions_score"] or 0) <= 0.65]
    expected = {task["id"] for task in close if not task["is_labeled"]}
    assert expected
    assert {task["id"] for task in shown["tasks"]} == expected


def test_retrieving_predictions_again_duplicates_nothing(story: Story) -> None:
    ids = [task["id"] for task in story.studio.tasks(story.project)]
    params = {"id": "retrieve_tasks_predictions", "project": story.project}
    body = {"selectedItems": {"all": False, "included": ids}}
    story.studio.call("POST", "/api/dm/actions", params=params, json=body)
    check_backfill(story, story.versions[-1])


def test_a_new_picture_is_pre_annotated_without_being_asked_for(story: Story, abnormal_pictures: list[Path]) -> None:
    strangest = max(story.tasks("cracked", finished=False), key=lambda task: task["predictions_score"])
    picture = next(path for path in abnormal_pictures if f"cracked{path.stem[-2:]}.jpg" == _file(strangest))
    story.studio.upload(story.project, [("crackednew.jpg", picture.read_bytes())])
    story.settle(lambda _: story.tasks("crackednew")[0]["predictions"], "a prediction for the new picture")
    new = story.tasks("crackednew")[0]
    assert [prediction["model_version"] for prediction in new["predictions"]] == [story.versions[-1]]
    choice = next(item for item in new["predictions"][0]["result"] if item["type"] == "choices")
    assert choice["value"]["choices"] == ["abnormal"]


def test_a_person_sees_the_verdict_the_score_and_the_place(story: Story, page: Page, screenshots: Path) -> None:
    task = story.tasks("crackednew")[0]
    page.goto(f"{story.studio.url}/projects/{story.project}/data?task={task['id']}")
    checked = page.locator(".lsf-choices input:checked, input[type=checkbox]:checked, input[type=radio]:checked")
    expect(checked).to_have_count(1, timeout=60_000)
    expect(page.get_by_text("none of them is this unusual")).to_be_visible()
    score = round(newest(task)["score"], 3)
    expect(page.locator("input[type=number]")).to_have_value(f"{score:g}")
    places = [item for item in newest(task)["result"] if item["type"] == "rectanglelabels"]
    assert places
    expect(page.locator(".lsf-outliner-item__title, .lsf-outliner").get_by_text("anomaly", exact=True)).to_have_count(
        len(places)
    )
    page.wait_for_timeout(2000)  # the picture itself is drawn on a canvas, which tells nobody when it is done
    page.screenshot(path=screenshots / "task.png")


def test_confirmed_verdicts_are_compared_with_what_was_said_before(story: Story) -> None:
    cracked = story.tasks("cracked", finished=False)
    for task in cracked[:5]:
        story.studio.annotate(task, "abnormal")
    for task in cracked[5:8]:
        story.studio.annotate(task, "abnormal", parent_prediction=newest(task)["id"])
    story.settle(lambda status: status["abnormals"] == 8, "eight abnormal pictures")
    evaluation = story.backend.evaluation(story.project)
    assert evaluation["model_version"] == story.versions[-1]
    assert evaluation["held_out"]["abnormals"] == 8
    assert evaluation["held_out"]["not_independent"] == 3
    assert evaluation["held_out"]["independent"]["abnormals"] == 5
    assert evaluation["dev"]["abnormals"] + evaluation["test"]["abnormals"] == 8
    before = evaluation["before_confirmation"]
    said = [newest(item)["result"][0]["value"]["choices"] for item in cracked[:8]]
    assert before["true_positives"] == said.count(["abnormal"])
    assert evaluation["held_out"]["recall"]["low"] <= evaluation["held_out"]["recall"]["value"]


def test_many_labels_at_once_make_one_training(story: Story) -> None:
    known = story.backend.api.get("/versions").json()["versions"]
    tasks = story.tasks("whole", finished=False)[:14]
    threads = [threading.Thread(target=story.studio.annotate, args=(task, "normal")) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = story.settle(lambda status: status["normals"] >= 24, "24 normal pictures")
    now_known = story.backend.api.get("/versions").json()["versions"]
    assert len(now_known) == len(known) + 1
    story.versions.append(status["model_version"])
    check_backfill(story, status["model_version"])
    assert status["held_out"] > 8
    evaluation = story.backend.evaluation(story.project)
    assert evaluation["held_out"]["normals"] + evaluation["held_out"]["abnormals"] == status["held_out"]
    assert evaluation["held_out"]["auroc"]["value"] > 0.7


def test_the_report_is_read_in_a_browser(story: Story, browser: Browser, screenshots: Path) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_extra_http_headers({"Authorization": "Basic " + base64.b64encode(b"studio:pa:ss").decode()})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: faults.append(request.url) if story.backend.url not in request.url else None)
    page.goto(f"{story.backend.url}/")
    page.get_by_role("link", name="The story").click()
    expect(page.get_by_role("heading", name="How well it does")).to_be_visible()
    expect(page.get_by_role("row", name="False alarms normal")).to_contain_text(" of ")
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True, timeout=30_000)
        assert image.evaluate("image => image.naturalWidth") > 0, image.get_attribute("src")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=screenshots / "report.png", full_page=True)
    assert faults == []


def test_while_it_trains_the_server_answers(story: Story) -> None:
    before = story.backend.status(story.project)["last_training"]["finished_at"]
    time.sleep(1.1)  # the time of a training is kept in whole seconds
    story.studio.call("POST", f"/api/ml/{story.ml_id}/train")
    task = story.tasks("whole")[0]
    slowest, answers = 0.0, []
    while story.backend.status(story.project)["pending"]:
        started = time.monotonic()
        assert story.backend.api.get("/health").is_success
        slowest = max(slowest, time.monotonic() - started)
        body = {"project": str(story.project), "label_config": CONFIG, "tasks": [task]}
        answers.append(story.backend.api.post("/predict", json=body).json()["results"][0])
    assert slowest < 1.0
    assert answers
    assert {answer["model_version"] for answer in answers} == {story.versions[-1]}
    status = story.settle()
    assert status["last_training"]["finished_at"] > before
    assert status["last_training"]["why"] == "someone asked for it"


def test_a_changed_training_label_makes_it_forget(story: Story) -> None:
    changed = _trained_task(story)
    annotation = changed["annotations"][0]
    verdict = {**annotation["result"][0], "value": {"choices": ["abnormal"]}}
    story.studio.call("PATCH", f"/api/annotations/{annotation['id']}/", json={"result": [verdict]})
    status = story.settle(lambda status: status["model_version"] != story.versions[-1], "a new version")
    assert "changed" in status["last_training"]["why"]
    story.versions.append(status["model_version"])
    evaluation = story.backend.evaluation(story.project)
    assert changed["id"] in {case["task_id"] for case in evaluation["cases"]}


def test_a_deleted_training_label_makes_it_forget(story: Story) -> None:
    removed = _trained_task(story)
    story.studio.call("DELETE", f"/api/annotations/{removed['annotations'][0]['id']}/")
    status = story.settle(lambda status: status["model_version"] != story.versions[-1], "a new version")
    assert "deleted" in status["last_training"]["why"]
    check_backfill(story, status["model_version"])


def _trained_task(story: Story) -> Json:
    """A finished task that the model in charge has learned from."""
    tested = {case["task_id"] for case in story.backend.evaluation(story.project)["cases"]}
    return next(task for task in story.tasks("whole", finished=True) if task["id"] not in tested)


def test_events_without_the_secret_are_refused_and_label_studio_knows_it(story: Story) -> None:
    event = {"action": "ANNOTATION_CREATED", "project": {"id": story.project}}
    assert httpx.post(f"{story.backend.url}/webhook", json=event).status_code == 401
    assert _webhook_headers(story) == [{"X-Anomaly-Secret": "an-event-secret"}]


def _webhook_headers(story: Story) -> list[Json]:
    hooks = story.studio.call("GET", "/api/webhooks/", params={"project": story.project})
    return [hook["headers"] for hook in hooks]


def test_a_removed_backend_leaves_no_webhook_behind_and_signs_the_next_one(story: Story) -> None:
    """Label Studio itself keeps the webhook: its next event is the last."""
    version = story.settle()["model_version"]
    story.studio.call("DELETE", f"/api/ml/{story.ml_id}")
    story.studio.call("PATCH", f"/api/projects/{story.project}", json={"description": "no backend any more"})
    eventually(lambda: not _webhook_headers(story), 60)
    assert story.backend.status(story.project)["model_version"] == version
    assert connect(story, story.project).is_success
    eventually(lambda: _webhook_headers(story) == [{"X-Anomaly-Secret": "an-event-secret"}], 60)


def test_a_deleted_project_without_a_model_is_forgotten(story: Story) -> None:
    project = story.studio.create_project("Short-lived", CONFIG)
    assert connect(story, project).is_success
    story.settle()
    story.studio.call("DELETE", f"/api/projects/{project}")
    event = {"action": "PROJECT_UPDATED", "project": {"id": project}}
    secret = {"X-Anomaly-Secret": "an-event-secret"}
    assert httpx.post(f"{story.backend.url}/webhook", json=event, headers=secret).is_success
    deadline = time.monotonic() + PATIENCE
    while story.backend.api.get(f"/api/projects/{project}").status_code != 404:
        assert time.monotonic() < deadline, story.backend.status(project)
        time.sleep(0.2)
