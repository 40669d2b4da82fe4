"""How time and memory grow with a project: a real Label Studio with 100, 1,000 and 10,000 tasks.

    python -m benchmarks.scale --sizes 100 1000 10000 --output benchmarks/out/scale.md

Label Studio runs on this machine, on SQLite, so both share the processors. The pictures are generated and served
from here. One worker does everything, each size in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from backend.cutting import Cut
from backend.demo import label_studio
from backend.labels import EXAMPLE_CONFIG
from backend.services import build_services
from backend.settings import load_settings
from benchmarks.tables import table

TOKEN = "0123456789abcdef0123456789abcdef01234567"  # noqa: S105 - of a server that only this machine reaches
SIDE = 128
LEARNED = 30
IMPORTED = 2000

Json = dict[str, Any]


@cache
def picture(number: int) -> bytes:
    """Woven stripes with noise of their own."""
    random = np.random.default_rng(number)
    rows = 110 + 60 * np.sin(np.arange(SIDE) / 4)
    woven = (rows[:, None] + rows[None, :]) / 2 + random.normal(0, 12, (SIDE, SIDE))
    buffer = BytesIO()
    Image.fromarray(np.clip(woven, 0, 255).astype(np.uint8)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


class Pictures(BaseHTTPRequestHandler):
    """Answers /17.jpg with picture 17."""

    def do_GET(self) -> None:
        content = picture(int(self.path.strip("/").removesuffix(".jpg")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_studio(environment: Path, folder: Path) -> Iterator[str]:
    port = free_port()
    command = label_studio.install(environment, folder / "install.log")
    program = label_studio.start(command, folder / "data", folder / "label-studio.log", port=port, token=TOKEN)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


def make_project(api: httpx.Client, tasks: int, pictures: str) -> int:
    project = int(_call(api, "/api/projects", {"title": f"{tasks} tasks", "label_config": EXAMPLE_CONFIG})["id"])
    body = [{"data": {"image": f"{pictures}/{number}.jpg"}} for number in range(tasks)]
    for start in range(0, tasks, IMPORTED):
        _call(api, f"/api/projects/{project}/import", body[start : start + IMPORTED])
    return project


def annotate(api: httpx.Client, task_id: int) -> None:
    verdict = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["normal"]}}
    _call(api, f"/api/tasks/{task_id}/annotations/", {"result": [verdict]})


def _call(api: httpx.Client, path: str, body: object) -> Any:
    answer = api.post(path, json=body)
    answer.raise_for_status()
    return answer.json()


def measure(studio: str, pictures: str, tasks: int, most_pushed: int) -> Json:
    """Seconds of each step for a project of so many tasks, and the worker's memory in MB."""
    with tempfile.TemporaryDirectory() as folder, httpx.Client(base_url=studio, timeout=600) as api:
        api.headers["Authorization"] = f"Token {TOKEN}"
        project = make_project(api, tasks, pictures)
        settings = load_settings(
            label_studio_url=studio,
            label_studio_api_key=TOKEN,
            model_dir=f"{folder}/models",
            data_dir=f"{folder}/state",
            cache_dir=f"{folder}/cache",
            media_hosts="127.0.0.1",
            media_allow_private=True,
        )
        services = build_services(settings)
        trainer = services.jobs._make_trainer(services.jobs.board)
        found: Json = {"tasks": tasks}

        def timed(step: str, do: Callable[[], Any]) -> Any:
            started = time.perf_counter()
            result = do()
            found[step] = round(time.perf_counter() - started, 2)
            return result

        timed("first sync", lambda: trainer.sync(project))
        ids = [task["id"] for task in trainer._studio.tasks(project)]
        for task_id in ids[:LEARNED]:
            annotate(api, task_id)
        lacking: list[int] = timed("sync and training", lambda: trainer.sync(project))
        annotate(api, ids[LEARNED])
        timed("sync after one label", lambda: trainer.sync(project))
        version = str(services.registry.current(project))
        pushed = lacking[:most_pushed]

        def backfill() -> None:
            for start in range(0, len(pushed), settings.backfill_chunk):
                trainer.backfill(project, version, pushed[start : start + settings.backfill_chunk])

        timed("backfill", backfill)
        found["predictions pushed"] = len(pushed)
        annotate(api, ids[LEARNED + 1])
        timed("sync after the backfill", lambda: trainer.sync(project))
        annotate(api, ids[LEARNED + 2])
        timed("sync after one more label", lambda: trainer.sync(project))
        cut = Cut(settings.label_config(EXAMPLE_CONFIG))
        timed("look at all tasks", lambda: trainer._snapshots.look(project, cut, whole=True))
        found["snapshot, MB"] = round(_size(Path(f"{folder}/models/{project}/tasks")) / 1e6, 3)
        found["memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--backfill", type=int, default=10**9, help="predictions to push at most (all)")
    parser.add_argument("--environment", type=Path, default=Path(".cache/label-studio-venv"), help="Label Studio's")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/scale.md"))
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pictures = f"http://127.0.0.1:{server.server_port}"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Json] = []
    with tempfile.TemporaryDirectory() as folder, running_studio(options.environment, Path(folder)) as studio:
        for tasks in options.sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, (studio, pictures, tasks, options.backfill)))
            options.output.write_text(table(rows))
            print(table(rows), flush=True)


if __name__ == "__main__":
    main()
