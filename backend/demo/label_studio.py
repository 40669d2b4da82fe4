"""A real Label Studio in a virtual environment of its own, on SQLite."""

from __future__ import annotations

import sys
from pathlib import Path

from backend.demo.processes import DemoFailed, Program

VERSION = "1.23.2"
USER = "demo@example.com"
PASSWORD = "anomaly-demo"  # noqa: S105 - of a server that only this machine reaches
FIRST_START_SECONDS = 240
INSTALL_SECONDS = 1800


def install(folder: Path, log: Path) -> list[str]:
    """Makes the environment unless it is there; returns Label Studio's command.

    The command names no script: pip writes the folder's path into scripts, and the folder may have been moved since.
    """
    python = folder / "bin" / "python"
    command = [str(python), "-m", "label_studio.server"]
    if is_installed(folder):
        return command
    _finish([sys.executable, "-m", "venv", "--clear", str(folder)], log, "Making an environment for Label Studio")
    _finish(
        [str(python), "-m", "pip", "install", "--no-input", f"label-studio=={VERSION}"],
        log,
        f"Installing Label Studio {VERSION}",
    )
    _stamp(folder).touch()
    return command


def is_installed(folder: Path) -> bool:
    """Whether the environment is there, with this release."""
    return _stamp(folder).exists()


def _stamp(folder: Path) -> Path:
    return folder / f".label-studio-{VERSION}"


def start(command: list[str], data: Path, log: Path, *, port: int, token: str) -> Program:
    """Starts Label Studio and returns once it answers. `token` becomes the user's legacy access token.

    Label Studio refuses backends at private addresses; that defence is off here, where only this machine can
    reach it.
    """
    environment = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data.resolve()),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_HOST": "",
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
    }
    options = f"start --no-browser --port {port} --internal-host 127.0.0.1".split()
    account = ["--username", USER, "--password", PASSWORD, "--user-token", token]
    program = Program("Label Studio", [*command, *options, *account], log, environment)
    try:
        program.wait_until_up(f"http://127.0.0.1:{port}/health", FIRST_START_SECONDS)
    except BaseException:
        program.stop()
        raise
    return program


def _finish(command: list[str], log: Path, what: str) -> None:
    program = Program(what, command, log, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    try:
        code = program.wait_to_end(INSTALL_SECONDS)
    finally:
        program.stop()
    if code:
        raise DemoFailed(f"{what} failed. The end of {log}:\n{program.tail()}")
