"""The labelling configs that come with it, each opened in a real Label Studio by a real browser.

That in which people draw where to look has a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend import configs
from tests.live.conftest import LiveBackend, LiveStudio


@pytest.fixture(scope="module")
def backend(start_backend: Callable[..., LiveBackend]) -> LiveBackend:
    return start_backend()


SHOWN = sorted(path for path in configs.FOLDER.glob("*.xml") if "area" not in path.stem)


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: path.stem)
def test_a_person_sees_what_the_config_asks_for(
    path: Path,
    studio: LiveStudio,
    backend: LiveBackend,
    page: Page,
    screenshots: Path,
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
) -> None:
    project, _ = studio.learned_project(
        path.stem, path.read_text(), backend, normal_pictures[:10], abnormal_pictures[:1]
    )
    cracked = next(task for task in studio.tasks(project) if "other-" in task["data"]["image"])
    result = cracked["predictions"][0]["result"]
    page.goto(f"{studio.url}/projects/{project}/data?task={cracked['id']}")
    expect(page.locator("input[name=abnormal]").first).to_be_checked(timeout=60_000)
    expect(page.locator("input[name=normal]").first).not_to_be_checked()
    boxes, outlines, masks = (
        [item for item in result if item["type"] == kind]
        for kind in ("rectanglelabels", "polygonlabels", "brushlabels")
    )
    assert bool(boxes) == ("regions" in path.stem)
    assert bool(outlines) == ("outlines" in path.stem)
    assert bool(masks) == ("BrushLabels" in path.read_text())
    places = page.locator(".lsf-outliner-item__title, .lsf-outliner").get_by_text("anomaly", exact=True)
    expect(places).to_have_count(len(boxes) + len(outlines))
    if "score" in path.stem:
        expect(page.locator("input[type=number]")).to_have_value(f"{round(cracked['predictions'][0]['score'], 3):g}")
        expect(page.get_by_text("normal pictures:").first).to_be_visible()
    page.wait_for_timeout(2000)  # the picture itself is drawn on a canvas, which tells nobody when it is done
    page.screenshot(path=screenshots / f"config-{path.stem}.png")
