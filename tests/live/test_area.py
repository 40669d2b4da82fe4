"""Where to look, drawn by a person in a real Label Studio with a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from backend import configs
from tests.live.conftest import LiveBackend, LiveStudio


def test_the_model_looks_where_a_person_has_drawn_a_rectangle(
    studio: LiveStudio,
    start_backend: Callable[..., LiveBackend],
    page: Page,
    screenshots: Path,
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
) -> None:
    backend = start_backend()
    config = (configs.FOLDER / "verdict_regions_area.xml").read_text()
    project, before = studio.learned_project("area", config, backend, normal_pictures[:10], abnormal_pictures[:5])
    whole = [task for task in studio.tasks(project) if "whole-" in task["data"]["image"]]
    assert before["area_task"] is None

    page.goto(f"{studio.url}/projects/{project}/data?task={whole[0]['id']}")
    page.locator(".lsf-label").get_by_text("region of interest").click(timeout=60_000)
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas
    left, top = canvas["x"] + 5, canvas["y"] + 5
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + canvas["width"] / 2, 820, steps=5)  # just above the buttons
    page.mouse.up()
    page.screenshot(path=screenshots / "config-verdict_regions_area.png")
    page.get_by_text("Update", exact=True).click()

    status = backend.wait(project, lambda status: status["area_task"], "a model that looks there")
    assert status["area_task"] == whole[0]["id"]
    assert status["model_version"] != before["model_version"]
    assert "the area to look at" in status["last_training"]["why"]
    places = [
        item["value"]
        for task in studio.tasks(project)
        for prediction in task["predictions"]
        for item in prediction["result"]
        if item["type"] == "rectanglelabels" and prediction["model_version"] == status["model_version"]
    ]
    assert places
    assert all(place["x"] + place["width"] <= 60 for place in places)
    page.goto(f"{backend.url}/projects/{project}")
    expect(page.get_by_text("It looks where the rectangles drawn in")).to_be_visible()
