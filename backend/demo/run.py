"""`label-studio-anomaly demo`: everything from nothing to pre-annotated pictures, in one command."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import httpx
from tqdm import tqdm

from backend.demo import label_studio
from backend.demo.processes import DemoFailed, Program, check_port_free
from backend.demo.project import PICTURES, DemoProject
from backend.settings import load_settings
from model.images import pictures_below

TRAINING_SECONDS = 600
BACKEND_SECONDS = 120


def run_demo(images: Path | None, directory: Path, *, port: int, backend_port: int) -> int:
    """Starts Label Studio and the backend, sets up a project, and keeps both running until Ctrl-C.

    images: a folder of the user's own pictures; None takes the cookies that come with the package.
    directory: keeps everything, so that a second start goes on where the first one stopped.
    """
    folder = (images or PICTURES).resolve()
    _check_images(folder)
    check_port_free(port, "--port")
    check_port_free(backend_port, "--backend-port")
    directory.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    programs: list[Program] = []
    try:
        project = _start(programs, folder, directory.resolve(), port, backend_port)
        _say(_what_to_try(project, port, backend_port))
        while True:
            time.sleep(1)
            for program in programs:
                program.check()
    except KeyboardInterrupt:
        _say(f"\nStopping. The same command goes on from here; everything is in {directory}.")
        return 0
    finally:
        for program in reversed(programs):
            program.stop()
        signal.signal(signal.SIGTERM, before)


def _start(programs: list[Program], images: Path, directory: Path, port: int, backend_port: int) -> DemoProject:
    logs = directory / "logs"
    token = _token(directory)
    studio_url, backend_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{backend_port}"
    environment = Path(os.environ.get("LABEL_STUDIO_VENV") or directory / "label-studio-venv")
    first = "" if label_studio.is_installed(environment) else "; it is installed first, which takes minutes"
    _say(f"[1/5] Label Studio {label_studio.VERSION}{first}")
    command = label_studio.install(environment, logs / "install.log")
    data, log = directory / "label-studio", logs / "label-studio.log"
    programs.append(label_studio.start(command, data, log, port=port, token=token))
    _say("[2/5] The backend")
    programs.append(_start_backend(directory, studio_url, backend_url, token, backend_port))
    _say(f"[3/5] A project with the pictures of {images}")
    project = DemoProject(studio_url, token, directory / "projects.json", images)
    project.create()
    project.upload()
    project.connect(backend_url)
    _say("[4/5] Tags")
    tagged = project.tag_normal()
    _say("[5/5] The model")
    if tagged >= load_settings().min_normals:
        _wait_for_model(project, backend_url, programs)
    else:
        _say("No folder is called normal (or good, ok ...), so the tags are yours to give.")
    return project


def _start_backend(directory: Path, studio_url: str, url: str, token: str, port: int) -> Program:
    kept = directory / "backend"
    settings = {
        "LABEL_STUDIO_URL": studio_url,
        "LABEL_STUDIO_API_KEY": token,
        "MODEL_DIR": str(kept / "models"),
        "DATA_DIR": str(kept / "state"),
        "CACHE_DIR": str(kept / "cache"),
        "QUEUE_URL": "",
        "BASIC_AUTH_USER": "",
        "WEBHOOK_SECRET": "",
    }
    command = [sys.executable, "-m", "backend", "serve", "--host", "127.0.0.1", "--port", str(port)]
    backend = Program("the backend", command, directory / "logs" / "backend.log", settings)
    try:
        backend.wait_until_up(f"{url}/health", BACKEND_SECONDS)
    except BaseException:
        backend.stop()
        raise
    return backend


def _wait_for_model(project: DemoProject, backend_url: str, programs: list[Program]) -> None:
    """Shows the training and the pre-annotation as they go on."""
    deadline = time.monotonic() + TRAINING_SECONDS
    with tqdm(bar_format="{desc} ... {elapsed}", leave=False, disable=None) as bar:
        while time.monotonic() < deadline:
            for program in programs:
                program.check()
            status = httpx.get(f"{backend_url}/api/projects/{project.id}", timeout=30).json()
            if status["state"] == "error":
                raise DemoFailed(status["message"])
            filling = status["backfill"]
            if status["state"] == "ready" and not status["pending"]:
                break
            done = f"Pre-annotating, {filling['done']} of {filling['total']}" if filling else status["message"]
            bar.set_description_str(done)
            time.sleep(0.5)
        else:
            raise DemoFailed(f"the model was not ready after {TRAINING_SECONDS} s: {status['message']}")
    _say(status["message"])


def _what_to_try(project: DemoProject, port: int, backend_port: int) -> str:
    found = Counter(
        choice
        for prediction in project.predictions()
        for item in prediction["result"]
        for choice in item["value"].get("choices", ())
    )
    told = f"Pre-annotated: {found['normal']} normal, {found['abnormal']} abnormal.\n" if found else ""
    first = (
        "Open an abnormal task: the verdict is chosen, the place framed, the score and the reason written."
        if found
        else f"Choose normal and press Submit on {load_settings().min_normals} pictures or more: a model follows."
    )
    return f"""
{told}
Open     http://127.0.0.1:{port}/projects/{project.id}/data
Log in   {label_studio.USER}
Password {label_studio.PASSWORD}

What to try
  1. {first}
  2. Correct or confirm it with Submit. Label a few more pictures normal: the model learns them within seconds.
  3. See how it does, on more and more confirmed pictures: http://127.0.0.1:{backend_port}/projects/{project.id}

Ctrl-C stops everything."""


def _check_images(folder: Path) -> None:
    if not folder.is_dir():
        raise DemoFailed(f"{folder} is not a folder: give one that holds pictures")
    found, needed = len(pictures_below(folder)), load_settings().min_normals
    if found < needed:
        raise DemoFailed(
            f"{found} pictures are below {folder}: a model needs {needed} normal ones, and others to judge"
        )


def _token(directory: Path) -> str:
    """The access token that Label Studio's user got at the first start."""
    path = directory / "token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(20))
    return path.read_text()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, flush=True)
