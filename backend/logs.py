"""Log lines, as text for people or as JSON for machines; each says which project, task and version it is about.

No line holds a secret of the settings, whoever wrote it, and no text from outside can begin a line of its own.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from backend.settings import Settings

NOISY = ("httpx", "httpcore", "huey", "PIL", "asyncio")
CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
SHORTEST_SECRET = 4

_about: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """What the lines written inside are about: project, task, version."""
    known = _about.set((_about.get() or {}) | fields)
    try:
        yield
    finally:
        _about.reset(known)


def set_up_logging(settings: Settings) -> None:
    handler = logging.StreamHandler()
    secrets = secrets_of(settings)
    handler.setFormatter(JsonLines(secrets) if settings.log_format == "json" else TextLines(secrets))
    handler.addFilter(_remember)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    hush_libraries()


def hush_libraries() -> None:
    """Lets them tell of faults only: httpx would log the addresses of pictures with their signatures."""
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def secrets_of(settings: Settings) -> list[str]:
    """What no line may hold, the longest first."""
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True)


def _remember(record: logging.LogRecord) -> bool:
    record.about = _about.get() or {}
    return True


class TextLines(logging.Formatter):
    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = CONTROLS.sub(lambda found: repr(found[0])[1:-1], record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return _without(self._secrets, super().format(record))


class JsonLines(logging.Formatter):
    def __init__(self, secrets: list[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _without(self._secrets, record.getMessage()),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["exception"] = _without(self._secrets, self.formatException(record.exc_info))
        return json.dumps(line, default=str)


def _without(secrets: list[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
