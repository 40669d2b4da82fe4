"""A clock that is behind in one process alone: whatever the service asks for the time of day."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import huey.api
import huey.utils

from backend import registry


def follow(file: Path) -> None:
    """From now on this process's clock is as many seconds behind as the file says; none while there is no file."""
    true = time.time

    def told() -> float:
        return true() - (float(file.read_text()) if file.exists() else 0.0)

    def now(zone: object = UTC) -> datetime:
        return datetime.fromtimestamp(told(), UTC)

    time.time = told
    registry.datetime = SimpleNamespace(now=now, fromisoformat=datetime.fromisoformat)  # type: ignore[assignment, misc]
    huey.utils.utcnow = huey.api.utcnow = lambda: now().replace(tzinfo=None)
