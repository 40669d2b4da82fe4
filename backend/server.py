"""Runs the server and the worker as processes that start, stop and die together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading

import uvicorn
from uvicorn.protocols.http import h11_impl

from backend.app import CONFIG_UNUSABLE, create_app
from backend.labels import EXAMPLE_CONFIG
from backend.logs import set_up_logging
from backend.one_worker import only_worker
from backend.outages import hush_consumer
from backend.services import build_services
from backend.settings import Settings, load_settings
from backend.studio_answers import NO_ACCESS

log = logging.getLogger(__name__)

STOP_SECONDS = 10
# Of a refusal Label Studio shows people nothing but the status line, so that is where the help must stand.
CONFIG_HINT = (
    "The labelling config does not fit: name the choices normal and abnormal, or set NORMAL_LABELS and ABNORMAL_LABELS"
    " to the names you use. They must be Choices on an Image with a value, no Taxonomy, no perRegion."
    " A config that fits: " + "".join(line.strip() for line in EXAMPLE_CONFIG.splitlines())
)
RESTART_SECONDS = 2.0


def serve(host: str | None, port: int | None, *, own_worker: bool) -> int:
    """Answers Label Studio until stopped. With the embedded queue it keeps a worker process of its own."""
    given = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    set_up_logging(settings)
    _tell_of_no_token(settings)
    services = build_services(settings)
    worker = WorkerProcess() if settings.embedded and own_worker else None
    if worker:
        worker.start()
    h11_impl.STATUS_PHRASES[CONFIG_UNUSABLE] = CONFIG_HINT.encode()
    try:
        uvicorn.run(
            create_app(services),
            host=settings.host,
            port=settings.port,
            http="h11",
            log_config=None,
            access_log=settings.log_level == "DEBUG",
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    finally:
        if worker:
            worker.stop()
    return 0


def work(*, with_parent: bool) -> int:
    """Trains and pre-annotates until stopped; with_parent: also when the process that started it is gone."""
    settings = load_settings()
    set_up_logging(settings)
    hush_consumer()
    if with_parent:
        threading.Thread(target=_stop_when_parent_is_gone, daemon=True).start()
    with only_worker(settings, wait=with_parent):
        build_services(settings).jobs.run_worker()
    return 0


def _tell_of_no_token(settings: Settings) -> None:
    if not settings.label_studio_api_key.get_secret_value():
        log.warning(NO_ACCESS)


class WorkerProcess:
    """A worker as a child process, started again when it dies. Training never shares the server's process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._process = self._launch()
        self._watcher.start()

    def stop(self) -> None:
        """Lets the job at hand finish, but not for long."""
        self._stopping.set()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "backend", "worker", "--with-parent"]
        # A session of its own: Ctrl-C in the terminal reaches the server, which then stops the worker.
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603

    def _watch(self) -> None:
        while self._process is not None:
            code = self._process.wait()
            if self._stopping.wait(RESTART_SECONDS):
                return
            log.error("the worker ended with code %s; starting it again", code)
            self._process = self._launch()


def _stop_when_parent_is_gone() -> None:
    """The parent holds the other end of our standard input for as long as it lives."""
    while sys.stdin.buffer.read(1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
