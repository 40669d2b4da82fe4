"""The report as a real browser shows it: no faults in accessibility, the slider, printing, light and dark."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from backend.app import create_app
from backend.services import Services
from tests.backend.stories import uri_of
from tests.backend.test_report import story, told  # noqa: F401 - fixtures
from tests.conftest import PROJECT, PictureServer, free_port
from tests.live.conftest import ROOT


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    port = free_port()
    settings = uvicorn.Config(
        create_app(services), host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def folder() -> Path:
    """Where screenshots go, to be looked at."""
    made = ROOT / "screenshots"
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    window = context.new_page()
    window.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    yield window
    context.close()


def assert_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert not grave, [(fault["id"], [node["html"][:150] for node in fault["nodes"][:3]]) for fault in grave]


@pytest.mark.usefixtures("story")
def test_pages_with_a_story_have_no_serious_fault(page: Page, address: str, folder: Path) -> None:
    for path in ("/", f"/projects/{PROJECT}", f"/projects/{PROJECT}/compare?first=v1&second=v2"):
        page.goto(address + path)
        assert_accessible(page)
        if path == "/":
            page.screenshot(path=folder / "projects.png")
    page.goto(f"{address}/projects/{PROJECT}")
    page.get_by_role("link", name="Show them").press("Enter")
    expect(page.get_by_role("heading", name="People disagree")).to_be_in_viewport()


def test_pages_without_a_model_have_none_either(page: Page, address: str, services: Services) -> None:
    page.goto(address)
    assert_accessible(page)
    services.registry.remember(PROJECT)
    page.goto(f"{address}/projects/{PROJECT}")
    expect(page.get_by_text("Tag 5 pictures as normal").first).to_be_visible()
    assert_accessible(page)


def test_before_a_model_the_pictures_to_tag_first_are_shown_whole(
    page: Page,
    address: str,
    services: Services,
    picture_server: PictureServer,
    normal_pictures: list[Path],
    folder: Path,
) -> None:
    for task_id, path in enumerate(normal_pictures[:5], 1):
        picture_server.contents[uri_of(task_id)] = path.read_bytes()
    suggested = [{"task_id": task_id, "uri": uri_of(task_id)} for task_id in range(1, 6)]
    services.registry.remember(PROJECT)
    services.jobs.board.post(PROJECT, title="Cookies", normals=0, tasks=40, suggested=suggested)
    page.goto(f"{address}/projects/{PROJECT}")
    for image in page.locator(".gallery img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True, timeout=30_000)
        box = image.bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(box["height"], abs=1)
        assert box["width"] < 400
    assert_accessible(page)
    page.screenshot(path=folder / "first.png", full_page=True)


@pytest.mark.usefixtures("story")
def test_the_slider_shows_which_pictures_change_sides(page: Page, address: str, services: Services) -> None:
    page.goto(f"{address}/projects/{PROJECT}")
    slider = page.get_by_label("False-alarm rate", exact=True)
    slider.focus()
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^5 % \(now\): 1 of 7 normal ones abnormal"))
    page.keyboard.press("End")  # half of the normal pictures: some change sides
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^50 %: "))
    expect(page.locator("[data-moved]")).to_contain_text("With 50 %: 7 of 7 normal pictures called abnormal (now 1)")
    expect(page.locator("[data-moved] li").first).to_be_visible()
    assert_accessible(page)
    page.keyboard.press("Home")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("0.1 % was chosen")).to_be_visible()
    assert services.registry.alarm_rate(PROJECT) == 0.001
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("The setting's rate was chosen")).to_be_visible()
    assert services.registry.alarm_rate(PROJECT) is None


@pytest.mark.usefixtures("story")
def test_progress_is_followed_without_reloading(page: Page, address: str, services: Services) -> None:
    board = services.jobs.board
    bar = page.get_by_label("Work in progress")
    board.note_worker()
    board.post(PROJECT, syncing=True)
    page.goto(f"{address}/projects/{PROJECT}")
    expect(bar).to_be_visible()
    expect(bar).not_to_have_attribute("value", re.compile(""))
    board.post(PROJECT, progress={"phase": "reading pictures", "done": 3, "total": 9})
    expect(page.get_by_text("reading pictures, 3 of 9")).to_be_visible()
    board.post(PROJECT, progress={"phase": "reading pictures", "done": 7, "total": 9})
    expect(page.get_by_text("reading pictures, 7 of 9")).to_be_visible()
    board.post(PROJECT, progress=None, syncing=False)
    expect(page.get_by_text("v2 is in charge")).to_be_visible()


@pytest.mark.usefixtures("story")
def test_no_other_host_is_asked(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/projects/{PROJECT}")
    for image in page.locator("img").all():  # they are asked for when they come into view
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True, timeout=30_000)
    assert len(asked) > 20
    assert all(url.startswith((address, "data:")) for url in asked), asked


@pytest.mark.usefixtures("story")
def test_every_picture_is_drawn_and_the_page_fits_a_telephone(
    page: Page, address: str, services: Services, folder: Path
) -> None:
    scheme = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'")
    services.jobs.board.post(PROJECT, title="Cookies")
    for name, width in (("report", 1200), ("report-medium", 800), ("report-narrow", 390)):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{address}/projects/{PROJECT}")
        for image in page.locator("img").all():
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("complete", True, timeout=30_000)
            assert image.evaluate("image => image.naturalWidth") > 0, image.get_attribute("src")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        button = page.get_by_role("button", name="Put v1 in charge").bounding_box()
        assert button is not None
        assert button["x"] + button["width"] <= width
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=True)


@pytest.mark.usefixtures("story")
def test_no_table_is_cut_off_on_a_telephone(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    for path in ("/", f"/projects/{PROJECT}", f"/projects/{PROJECT}/compare?first=v1&second=v2"):
        page.goto(address + path)
        for table in page.locator("table").all():
            assert table.evaluate("table => table.parentElement.scrollWidth <= table.parentElement.clientWidth"), path
        assert_accessible(page)


@pytest.mark.usefixtures("story")
def test_a_picture_opens_its_task(page: Page, address: str, services: Services) -> None:
    page.goto(f"{address}/projects/{PROJECT}")
    page.route("**/data?task=7", lambda route: route.fulfill(body="the task"))
    page.get_by_alt_text("Task 7 with its anomaly map").click()
    expect(page).to_have_url(f"{services.settings.label_studio_url}/projects/{PROJECT}/data?task=7")


@pytest.mark.usefixtures("story")
def test_versions_are_compared_and_changed_by_keyboard(
    page: Page, address: str, services: Services, folder: Path
) -> None:
    page.goto(f"{address}/projects/{PROJECT}")
    page.get_by_role("link", name="Compare v1").press("Enter")
    expect(page.get_by_text("On the 14 confirmed pictures that both judged and neither had learned")).to_be_visible()
    page.screenshot(path=folder / "compare.png", full_page=True)
    page.get_by_label("with", exact=True).select_option("v1")
    page.get_by_role("button", name="Show").press("Enter")
    expect(page.get_by_text("None: both say the same of each.")).to_be_visible()
    page.get_by_role("link", name="Tiles").press("Enter")
    page.get_by_role("button", name="Put v1 in charge").press("Enter")
    expect(page.get_by_role("row", name="v1")).to_contain_text("in charge")
    assert services.registry.current(PROJECT) == "v1"


@pytest.mark.usefixtures("story")
def test_without_scripts_all_but_the_slider_works(browser: Browser, address: str, services: Services) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/projects/{PROJECT}")
    expect(page.get_by_label("False-alarm rate", exact=True)).to_be_hidden()
    page.get_by_label("Of the confirmed pictures").select_option("0.02")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("2 % was chosen")).to_be_visible()
    assert services.registry.alarm_rate(PROJECT) == 0.02
    context.close()


@pytest.mark.usefixtures("story")
def test_a_link_from_another_site_leaves_open_pages_alone_and_a_form_of_its_changes_nothing(
    browser: Browser, address: str, services: Services
) -> None:
    context = browser.new_context()
    ours, theirs = context.new_page(), context.new_page()
    ours.goto(f"{address}/projects/{PROJECT}")
    stranger = f"{address.replace('127.0.0.1', 'localhost')}/health"
    report = f"{address}/projects/{PROJECT}"
    theirs.goto(stranger)
    theirs.evaluate("target => { document.body.innerHTML = `<a href='${target}'>Report</a>` }", report)
    theirs.get_by_role("link", name="Report").click()
    expect(theirs.get_by_role("heading", name="How well it does")).to_be_visible()
    ours.get_by_label("False-alarm rate", exact=True).press("Home")
    ours.get_by_role("button", name="Apply").click()
    expect(ours.get_by_text("0.1 % was chosen")).to_be_visible()
    theirs.goto(stranger)
    form = (
        "`<form method='post' action='${target}/rule'><input name='alarm_rate' value='0.3'><button>Go</button></form>`"
    )
    theirs.evaluate(f"target => {{ document.body.innerHTML = {form} }}", report)
    theirs.get_by_role("button", name="Go").click()
    expect(theirs.get_by_text("this page is too old")).to_be_visible()
    assert services.registry.alarm_rate(PROJECT) == 0.001
    context.close()


@pytest.mark.usefixtures("story")
def test_printing_leaves_out_what_paper_cannot_do(page: Page, address: str, folder: Path) -> None:
    page.goto(f"{address}/projects/{PROJECT}")
    page.emulate_media(media="print")
    expect(page.get_by_role("button", name="Apply")).to_be_hidden()
    expect(page.get_by_role("navigation", name="On this page")).to_be_hidden()
    expect(page.get_by_role("heading", name="How well it does")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    right = page.locator("td.right").first
    assert right.evaluate("cell => getComputedStyle(cell).backgroundColor") == "rgb(227, 242, 234)"
    page.screenshot(path=folder / "report-print.png", full_page=True)
