"""The pages that people look at, as a browser without JavaScript gets them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from backend.app import create_app
from backend.registry import now
from backend.report.routes import pages
from backend.report.view import galleries, next_step, worse_since
from backend.services import Services
from model.detector import AnomalyDetector
from tests.backend.stories import tell_small_story
from tests.conftest import PROJECT, PictureServer

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def client(services: Services) -> TestClient:
    return TestClient(create_app(services), headers=BROWSER)


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story") / "told"


@pytest.fixture
def story(
    services: Services,
    detector: AnomalyDetector,
    picture_server: PictureServer,
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
    told: Path,
) -> None:
    tell_small_story(services, picture_server, detector, normal_pictures, abnormal_pictures, told)


def test_before_anything_is_connected_it_says_how(client: TestClient) -> None:
    page = client.get("/")
    assert "No project is connected yet" in page.text
    assert client.get("/", headers={"Accept": "*/*"}).json() == {"status": "UP"}


@pytest.mark.parametrize(
    ("path", "code", "home", "says"),
    [
        ("/projects/99", 404, "../", "Project 99 is not connected"),
        (f"/projects/{PROJECT}/compare?first=v1", 400, "../../", "The request cannot be understood: second"),
        (f"/projects/{PROJECT}/compare?first=v1&second=%3Cb%3E", 404, "../../", "has no model version"),
        ("/nowhere", 404, "./", "There is nothing at this address"),
    ],
)
def test_a_browser_is_told_of_faults_on_a_page(
    client: TestClient, story: None, path: str, code: int, home: str, says: str
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "text/html; charset=utf-8")
    assert says in answer.text
    assert f'href="{home}"' in answer.text
    assert "<b>" not in answer.text
    assert set(client.get(path, headers={"Accept": "application/json"}).json()) == {"error"}


@pytest.mark.parametrize("form", ["promote", "rule"])
def test_a_page_that_is_too_old_leads_to_the_project_as_it_is_now(client: TestClient, story: None, form: str) -> None:
    answer = client.post(f"/projects/{PROJECT}/{form}", data={"token": "of another time"})
    assert answer.status_code == 403
    assert "too old" in answer.text
    assert f'<a href="../../projects/{PROJECT}">' in answer.text
    assert "Load the project" not in client.get("/projects/99").text


def test_before_there_is_a_model_it_says_what_is_missing(client: TestClient, services: Services) -> None:
    services.registry.remember(PROJECT)
    page = client.get(f"/projects/{PROJECT}").text
    assert "Tag 5 pictures as normal" in page
    assert "How well it does" not in page


def test_before_there_is_a_model_it_shows_what_to_tag_first(
    client: TestClient, services: Services, picture_server: PictureServer, normal_pictures: list[Path]
) -> None:
    picture_server.contents["/data/upload/5.jpg"] = normal_pictures[0].read_bytes()
    services.registry.remember(PROJECT)
    services.jobs.board.post(PROJECT, suggested=[{"task_id": 5, "uri": "/data/upload/5.jpg"}])
    page = client.get(f"/projects/{PROJECT}").text
    assert "Tag these first" in page
    assert f"/projects/{PROJECT}/data?task=5" in page
    picture = client.get(f"/projects/{PROJECT}/pictures/5.jpg?kind=plain")
    assert Image.open(io.BytesIO(picture.content)).format == "JPEG"
    assert client.get(f"/projects/{PROJECT}/pictures/6.jpg?kind=plain").status_code == 404


def test_with_a_model_it_shows_what_is_worth_judging_next(client: TestClient, story: None) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    section = page[page.index("Worth judging next") :]
    assert section.index("task 2003") < section.index("task 2001") < section.index("task 2006")


@pytest.mark.parametrize(
    ("known", "section"),
    [
        ({"found": 0.9}, ""),
        ({"found": 0.9, "suggested": [{"task_id": 3}]}, "suggested"),
        ({"found": 0.4}, "recheck"),
        ({"found": 0.4, "abnormals": 9}, ""),
        ({"found": 0.4, "problems": ["a picture is damaged"]}, "unusable"),
        ({"set_aside": True}, "recheck"),
        ({"set_aside": True, "disputed": [7]}, "disputed"),
        ({"normals_needed": 5, "suggested": [{"task_id": 3}]}, "suggested"),
        ({"error": "4 of the 5 normal pictures cannot be read", "problems": ["a picture is damaged"]}, "unusable"),
    ],
)
def test_what_to_do_next_is_what_helps_most(known: dict[str, Any], section: str) -> None:
    nothing: dict[str, Any] = {"problems": [], "disputed": [], "suggested": []}
    status = {"error": None, "normals_needed": 0, "normals": 30} | nothing | known
    evaluation = {
        "recheck": [{"task_id": 1, "raw_score": 2.0, "set_aside": known.get("set_aside", False)}],
        "held_out": {"abnormals": known.get("abnormals", 10), "recall": {"value": known.get("found", 1.0)}},
    }
    assert next_step(status, evaluation)[1] == section


def test_only_what_is_close_to_the_threshold_is_called_so() -> None:
    cases = [
        {"task_id": task_id, "score": score, "confirmed": "normal", "predicted": "normal"}
        for task_id, score in enumerate((0.1, 0.39, 0.45, 0.59, 0.874), 1)
    ]
    close = next(gallery for gallery in galleries(cases) if gallery["id"] == "close")
    assert ([case["task_id"] for case in close["cases"]], close["total"]) == ([3, 4], 2)


def become_worse(services: Services, worse: int, *, rate: float) -> None:
    """As if v2 had been asked for `rate`, like v1, and judged so many pictures worse than that."""
    saved = services.registry.evaluation(PROJECT, "v2")
    assert saved is not None
    found = {"since": "v1", "compared": 14, "better": [1], "worse": list(range(10, 10 + worse))}
    services.registry.store.write_json(saved | {"changes": found}, PROJECT, "versions", "v2", "evaluation.json")
    manifest = services.registry.store.read_json(PROJECT, "versions", "v2", "manifest.json")
    services.registry.store.write_json(manifest | {"alarm_rate": rate}, PROJECT, "versions", "v2", "manifest.json")


@pytest.mark.parametrize(("worse", "rate", "warns"), [(8, 0.5, True), (3, 0.5, False), (8, 0.05, False)])
def test_a_version_that_judges_clearly_worse_than_the_one_before_is_told_of(
    client: TestClient, story: None, services: Services, worse: int, rate: float, warns: bool
) -> None:
    become_worse(services, worse, rate=rate)
    page = client.get(f"/projects/{PROJECT}").text
    card = page[page.index('<section class="card"') : page.index("</section>")]
    assert (f"{worse} got worse" in card) is warns
    assert (f'href="{PROJECT}/compare?first=v1&amp;second=v2"' in card) is warns
    assert ("put v1 back in charge" in card) is warns


def test_a_version_that_is_gone_cannot_be_put_back() -> None:
    evaluation = {"model_version": "v2", "changes": {"since": "v1", "better": [], "worse": list(range(9))}}
    assert worse_since(evaluation, [{"name": "v2", "alarm_rate": 0.05}]) is None


def test_what_was_learned_is_not_said_to_be_unseen(client: TestClient, story: None, services: Services) -> None:
    assert "that the model has not learned" in client.get(f"/projects/{PROJECT}").text
    saved = services.registry.evaluation(PROJECT, "v2")
    assert saved is not None
    learned = {side: saved[side] | {"learned": 3} for side in ("dev", "held_out")}
    services.registry.save_evaluation(PROJECT, "v2", saved | learned)
    page = client.get(f"/projects/{PROJECT}").text
    assert "that the model has not learned" not in page
    assert "3 of them learned, each scored as if it had not" in page
    assert "Of these pictures" in page[page.index('<h2 id="versions">') :]


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0, "0 %"), (0.004, "0.4 %"), (0.052, "5 %"), (0.996, "99.6 %"), (1.0, "100 %"), (None, "–")]
)
def test_a_rate_is_not_rounded_to_none_or_all(rate: float | None, text: str) -> None:
    assert pages.get_template("macros.html").module.percent(rate) == text  # type: ignore[attr-defined]


def test_no_precision_is_told_where_nothing_abnormal_was_confirmed(
    client: TestClient, story: None, services: Services
) -> None:
    evaluation = services.registry.evaluation(PROJECT, "v2")
    assert evaluation is not None
    for side in ("dev", "test", "held_out"):
        evaluation[side] |= {"abnormals": 0, "precision": {"k": 0, "n": 1, "value": 0.0, "low": 0.0, "high": 0.8}}
    services.registry.save_evaluation(PROJECT, "v2", evaluation)
    page = client.get(f"/projects/{PROJECT}").text
    row = page[page.index("Right when it says abnormal") :].partition("</tr>")[0]
    assert row.count("needs both kinds") == 3


def test_a_project_in_trouble_stands_out_among_all(client: TestClient, story: None, services: Services) -> None:
    assert 'class="bad"' not in client.get("/").text
    services.jobs.board.post(PROJECT, error="Label Studio is gone")
    assert '<td class="bad">Label Studio is gone</td>' in client.get("/").text


def test_the_pictures_that_two_versions_judge_differently_are_shown_whatever_is_in_charge(
    client: TestClient, story: None, promote: Callable[..., str]
) -> None:
    promote(name="v3")  # of which none of them is confirmed any more
    page = client.get(f"/projects/{PROJECT}/compare?first=v1&second=v2").text
    sources = re.findall(r'<img[^>]+src="([^"]+)"', page)
    assert f"Pictures judged differently ({len(sources)})" in page
    assert len(sources) > 3
    for source in sources:
        assert client.get(f"/projects/{PROJECT}/{unescape(source)}").status_code == 200, source
    assert client.get(f"/projects/{PROJECT}/pictures/1.jpg?version=..").status_code == 404


def test_two_versions_are_compared(client: TestClient, story: None) -> None:
    page = client.get(f"/projects/{PROJECT}/compare?first=v1&second=v2").text
    assert "On the 14 confirmed pictures that both judged and neither had learned" in page
    assert "v1 learned from 10 normal pictures and was asked for 50 % false alarms at most" in page
    assert "v2 learned from 10 normal pictures and was asked for 5 % false alarms at most" in page
    report = client.get(f"/projects/{PROJECT}").text
    assert "of 14 confirmed pictures that both judged and neither had learned" in report


def test_of_many_versions_the_older_ones_are_folded_away_but_not_the_one_in_charge(
    client: TestClient, promote: Callable[..., str], services: Services
) -> None:
    for number in range(1, 9):
        promote(name=f"v{number}", created_at=f"2026-01-0{number}T00:00:00")
    assert ">v4<" in client.get(f"/projects/{PROJECT}").text
    services.registry.promote(PROJECT, "v2", "put in charge by hand")
    page = client.get(f"/projects/{PROJECT}").text
    recent, older = page[page.index('<h2 id="versions">') :].split("<summary>Older versions (2)</summary>")
    listed = [re.findall(r'<td class="whole">(v\d)', part) for part in (recent, older)]
    assert listed == [["v8", "v7", "v6", "v5", "v4", "v2"], ["v3", "v1"]]
    assert 'aria-label="Put v1 in charge"' in older


@pytest.mark.parametrize(
    "path", [f"/projects/{PROJECT}/{page}" for page in ("cases.csv", "model")] + ["/health", "/nowhere"]
)
def test_who_asks_for_the_head_first_gets_that_of_the_page(
    client: TestClient, promote: Callable[..., str], path: str
) -> None:
    promote()
    page, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers, head.content) == (page.status_code, page.headers, b"")


def test_all_normal_pictures_to_check_again_are_named(client: TestClient, story: None, services: Services) -> None:
    saved = services.registry.evaluation(PROJECT, "v2")
    assert saved is not None
    listed = [{"task_id": 100 + number, "raw_score": 2.0, "set_aside": False} for number in range(15)]
    services.registry.store.write_json(saved | {"recheck": listed}, PROJECT, "versions", "v2", "evaluation.json")
    page = client.get(f"/projects/{PROJECT}").text
    start = page.index('<h2 id="recheck">')
    named = set(re.findall(r"data\?task=(\d+)", page[start : page.index("<h2", start + 1)]))
    assert named == {str(item["task_id"]) for item in listed}


def test_all_projects_on_one_page(client: TestClient, story: None) -> None:
    page = client.get("/").text
    assert f'href="projects/{PROJECT}"' in page
    assert "&lt;b&gt;Tiles&lt;/b&gt; &amp; co" in page
    assert "1 of 7" in page


def test_one_project(client: TestClient, story: None, services: Services) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    assert "<b>Tiles" not in page
    assert "v2 is in charge" in page
    for heading in ("How well it does", "False alarms (", "Misses (", "Close to the threshold ("):
        assert heading in page, heading
    assert "People disagree (1)" in page
    assert "damaged or incomplete" in page
    assert f"{services.settings.label_studio_url}/projects/{PROJECT}/data?task=77" in page
    assert not re.findall(r'(?:src|href)="https?://(?!127\.0\.0\.1)', page)


def test_sentences_beside_each_other_are_apart(client: TestClient, story: None, services: Services) -> None:
    training = {
        "version": "v2",
        "why": "someone asked for it",
        "result": "promoted",
        "seconds": 1,
        "finished_at": now(),
    }
    services.jobs.board.post(PROJECT, last_training=training, area_task=7, advice="More of them improve little")
    page = client.get(f"/projects/{PROJECT}").text
    assert re.search(r"put in charge\.\s+It looks where", page)
    assert "<p>More of them improve little.</p>" in page


def test_its_pictures_and_plots_are_there(client: TestClient, story: None) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    sources = {source.replace("&amp;", "&") for source in re.findall(r'<img[^>]+src="([^"]+)"', page)}
    assert len(sources) > 10
    for source in sources:
        answer = client.get(f"/projects/{source}")
        assert answer.status_code == 200, source
        if source.endswith(".svg"):
            assert answer.text.lstrip().startswith("<?xml")
        elif ".jpg" in source:
            assert max(Image.open(io.BytesIO(answer.content)).size) <= 360


def test_the_address_of_the_script_changes_with_it(client: TestClient, story: None) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    ((address, mark),) = re.findall(r'<script src="\.\.(/static/page\.js\?([0-9a-f]{12}))"', page)
    assert sha256(client.get(address).content).hexdigest().startswith(mark)


def test_only_confirmed_pictures_are_shown(client: TestClient, story: None) -> None:
    assert client.get(f"/projects/{PROJECT}/pictures/5000.jpg").status_code == 404


def test_another_version_is_put_in_charge_and_the_old_one_does_not_come_back(
    client: TestClient, story: None, services: Services
) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    token = re.findall(r'name="token" value="([^"]+)"', page)[0]
    form = {"token": token, "version": "v1"}
    answer = client.post(f"/projects/{PROJECT}/promote", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert services.registry.current(PROJECT) == "v1"
    assert services.registry.is_passed_over(PROJECT, "v2")
    assert services.jobs.board.is_pending(PROJECT)


@pytest.mark.parametrize("token", ["", "guessed"])
def test_another_site_cannot_change_anything(client: TestClient, story: None, services: Services, token: str) -> None:
    client.get(f"/projects/{PROJECT}")
    answer = client.post(f"/projects/{PROJECT}/promote", data={"token": token, "version": "v1"})
    assert answer.status_code == 403
    assert "WWW-Authenticate" not in answer.headers
    assert services.registry.current(PROJECT) == "v2"


def token_of(client: TestClient) -> str:
    found: str = re.findall(r'name="token" value="([^"]+)"', client.get(f"/projects/{PROJECT}").text)[0]
    return found


def test_a_rate_is_chosen_and_taken_back(client: TestClient, story: None, services: Services) -> None:
    for rate in ("0.02", "0.1"):
        form = {"token": token_of(client), "alarm_rate": rate}
        answer = client.post(f"/projects/{PROJECT}/rule", data=form, follow_redirects=False)
        assert answer.status_code == 303
    assert services.registry.alarm_rate(PROJECT) == 0.1
    assert "10 % was chosen" in client.get(f"/projects/{PROJECT}").text
    client.post(f"/projects/{PROJECT}/rule", data={"token": token_of(client), "alarm_rate": "0.3", "undo": "1"})
    assert services.registry.alarm_rate(PROJECT) == 0.02
    assert services.jobs.board.is_pending(PROJECT)


@pytest.mark.parametrize("rate", ["", "much", "7", "-1", "nan"])
def test_a_rate_that_makes_no_sense_is_refused(client: TestClient, story: None, services: Services, rate: str) -> None:
    answer = client.post(f"/projects/{PROJECT}/rule", data={"token": token_of(client), "alarm_rate": rate})
    assert answer.status_code == 400
    assert "false-alarm rate" in answer.text
    assert services.registry.alarm_rate(PROJECT) is None


def test_the_choices_count_what_is_confirmed(client: TestClient, story: None) -> None:
    page = client.get(f"/projects/{PROJECT}").text
    options = re.findall(r"<option[^>]*>([^<]+)</option>", page)
    assert len(options) >= 10
    assert sum("(now)" in option for option in options) == 1
    assert all("of 7 normal ones abnormal" in option and "of 7 abnormal ones found" in option for option in options)


def test_events_tell_the_progress_until_all_is_done(client: TestClient, story: None, services: Services) -> None:
    board = services.jobs.board
    board.post(PROJECT, progress={"phase": "reading pictures", "done": 3, "total": 9})
    with client.stream("GET", f"/projects/{PROJECT}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: status"
        assert "reading pictures, 3 of 9" in next(lines)
        board.post(PROJECT, progress=None)
        assert "event: done" in list(lines)


def test_an_unknown_version_is_refused(client: TestClient, story: None, services: Services) -> None:
    token = re.findall(r'name="token" value="([^"]+)"', client.get(f"/projects/{PROJECT}").text)[0]
    answer = client.post(f"/projects/{PROJECT}/promote", data={"token": token, "version": "v9"})
    assert answer.status_code == 404
    assert services.registry.current(PROJECT) == "v2"


def test_downloads(client: TestClient, story: None, normal_pictures: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get(f"/projects/{PROJECT}/cases.csv").text)))
    assert len(rows) == 14
    assert {row["cross_fitted"] for row in rows} == {"False"}
    assert {row["confirmed"] for row in rows} == {"normal", "abnormal"}
    model = AnomalyDetector.from_bytes(client.get(f"/projects/{PROJECT}/model").content)
    assert model.predict(normal_pictures[:1])[0].raw_score > 0


def test_everything_asks_for_the_password(settings: object, story: None, services: Services) -> None:
    from dataclasses import replace

    guarded = services.settings.model_copy(update={"basic_auth_user": "u"})
    client = TestClient(create_app(replace(services, settings=guarded)), headers=BROWSER)
    for path in ("/", f"/projects/{PROJECT}", f"/projects/{PROJECT}/model", f"/projects/{PROJECT}/pictures/1.jpg"):
        assert client.get(path).status_code == 401, path


def test_a_model_that_nobody_has_tested_yet_has_a_page(promote: Callable[..., str], client: TestClient) -> None:
    promote()
    assert client.get(f"/projects/{PROJECT}").status_code == 200
