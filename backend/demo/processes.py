"""Long-running programs that the demo starts, watches and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
from tqdm import tqdm

from backend.errors import BackendError

STOP_SECONDS = 20
LAST_LINES = 15


class DemoFailed(BackendError):
    """A program of the demo did not start, or stopped."""


class Program:
    """One program in the background, its output in a log file.

    It gets a session of its own: Ctrl-C reaches the demo alone, which then stops its programs in order.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises DemoFailed, with the end of the log, when the program has stopped."""
        code = self._process.poll()
        if code is not None:
            raise DemoFailed(f"{self.name} stopped with code {code}. The end of {self.log}:\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])

    def wait_to_end(self, seconds: float) -> int:
        """Shows the seconds that pass until the program has ended; returns its exit code."""
        self._wait(lambda: self._process.poll() is not None, seconds, self.name)
        return self._process.wait()

    def wait_until_up(self, url: str, seconds: float) -> None:
        """Returns once `url` answers; raises DemoFailed when it does not in time."""
        self.wait_for(lambda: is_up(url), seconds, f"Starting {self.name}")

    def wait_for(self, happened: Callable[[], bool], seconds: float, what: str) -> None:
        """Shows the seconds that pass until something has happened; raises DemoFailed when it does not."""

        def happened_while_running() -> bool:
            self.check()
            return happened()

        self._wait(happened_while_running, seconds, what)

    def _wait(self, happened: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        with tqdm(desc=what, bar_format="{desc} ... {elapsed}", leave=False, disable=None) as clock:
            while not happened():
                if time.monotonic() > deadline:
                    raise DemoFailed(f"{what}: not done after {seconds:g} s. The end of {self.log}:\n{self.tail()}")
                time.sleep(0.25)
                clock.refresh()

    def stop(self) -> None:
        """Asks the program and its children to end, then makes them."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, sign)
                try:
                    self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    continue


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def check_port_free(port: int, option: str) -> None:
    """Raises DemoFailed when something else listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            other = f"{option} {port + 1}"
            raise DemoFailed(
                f"port {port} is taken by another program: choose another one with {other}, or with make"
                f' demo DEMO_ARGS="{other}"'
            ) from error
