from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from backend.logs import about, set_up_logging
from backend.services import Services
from backend.settings import Settings
from tests.conftest import PROJECT

TOKEN = "f" * 40


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Puts back what pytest itself listens with."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_say_what_they_are_about(
    settings: Settings, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(settings.model_copy(update={"log_format": "json"}))
    with about(project=7), about(version="v1"):
        logging.getLogger("backend.x").info("trained %s", "it")
    services.jobs.board.note_pictures(PROJECT, {5: ("https://x/a.jpg?signature=hidden", "gone")})
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.items() >= {"level": "INFO", "message": "trained it", "project": 7, "version": "v1"}.items()
    assert second.items() >= {"level": "WARNING", "project": PROJECT, "task": 5}.items()
    assert "hidden" not in second["message"]


def test_a_picture_that_stays_broken_is_told_of_once(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    board, uri = services.jobs.board, "/data/upload/5.jpg"
    for _ in range(3):  # every look at a project finds it anew
        board.note_pictures(PROJECT, {5: (uri, "damaged")})
    board.note_pictures(PROJECT, {5: (uri, "gone")})
    board.note_pictures(PROJECT, {}, solved=[5])
    board.note_pictures(PROJECT, {5: (uri, "gone")})
    board.keep_problems(PROJECT, {6: "/data/upload/6.jpg"})
    board.note_pictures(PROJECT, {5: (uri, "gone")})
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["damaged", *3 * ["gone"]]


@pytest.mark.parametrize("kind", ["text", "json"])
def test_no_line_holds_a_secret_not_even_that_of_a_fault(
    kind: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(settings.model_copy(update={"log_format": kind}))
    log = logging.getLogger("backend.x")
    log.warning("the token is %s", TOKEN)
    try:
        raise ValueError(f"Authorization: Token {TOKEN}")
    except ValueError:
        log.exception("it failed")
    told = capsys.readouterr().err
    assert "Authorization: Token ***" in told
    assert TOKEN not in told


@pytest.mark.parametrize("kind", ["text", "json"])
def test_no_text_from_outside_begins_a_line(kind: str, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(settings.model_copy(update={"log_format": kind}))
    logging.getLogger("backend.x").warning("address %s", "a\n2026-01-01 ERROR forged\x1b[2J")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
