"""What the processes of the fleet run: the real server and worker, with leases that end sooner."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path

from backend import jobs, leases, server, studio
from model import acceleration
from tests.faults import clock

NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET


def serve(settings: dict[str, str], log: str, lease_seconds: float) -> None:
    _prepare(settings, log, lease_seconds)
    server.serve(None, None, own_worker=False)


def work(settings: dict[str, str], log: str, lease_seconds: float) -> None:
    _prepare(settings, log, lease_seconds)
    server.work(with_parent=False)


def _prepare(settings: dict[str, str], log: str, lease_seconds: float) -> None:
    os.environ.update(settings)
    time.tzset()
    if "NETWORK" in settings:
        _enter(settings["NETWORK"])
    if "CLOCK" in settings:
        clock.follow(Path(log).parent / settings["CLOCK"])
    if "DIES_BEFORE" in settings:
        _die_before(settings["DIES_BEFORE"])
    if "LARGEST_FILE" in settings:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(settings["LARGEST_FILE"]), resource.RLIM_INFINITY))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    acceleration.is_available = lambda: False  # compiling takes seconds in every process, and no fault depends on it
    leases.LEASE_SECONDS = lease_seconds
    jobs.WATCH_SECONDS = 0.5
    jobs.RETRY_SECONDS = 0.5
    studio.ANSWER_SECONDS = float(settings.get("ANSWER_SECONDS", studio.ANSWER_SECONDS))


def _enter(namespace: str) -> None:
    """From now on this process is on another machine, as far as the network is concerned."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as file:
        if libc.setns(file.fileno(), NETWORK_NAMESPACE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _die_before(name: str) -> None:
    """Kills this process, as `kill -9` does, when a file whose name begins so is about to be put in place."""

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and os.path.basename(str(arguments[1])).startswith(name):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
