"""How the server bears load: events, /health and predictions from many at once, while a training runs and while none.

    python -m benchmarks.load --output benchmarks/out/load.md

Everything runs on this machine: Label Studio, the server, its worker and what asks them. Events and /health are asked
by wrk (`apt-get install wrk`), which costs next to nothing itself; predictions from here, to tell refusals apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from backend.labels import EXAMPLE_CONFIG
from benchmarks.scale import TOKEN, Pictures, annotate, free_port, make_project, running_studio
from benchmarks.tables import table

TASKS = 350
LEARNED = 300
SECONDS = 10.0
TRAININGS = 6
TRAINING_SECONDS = 3.0
PAUSE_MS = 50
CONCURRENCY = (1, 2, 4, 8, 16, 32)

Json = dict[str, Any]


def wrk(url: str, content: Json | None, connections: int, seconds: float) -> Json:
    """Asks from so many connections, each PAUSE_MS after its last answer; latencies in milliseconds."""
    script = f"function delay() return {PAUSE_MS} end\n"
    if content:
        script += f"""wrk.method = "POST"; wrk.body = [[{json.dumps(content)}]]
wrk.headers["Content-Type"] = "application/json"\n"""
    # In microseconds, and how many were not answered 2xx.
    script += """function done(summary, latency, requests)
  local e = summary.errors
  print("RESULT " .. summary.requests .. " " .. summary.duration .. " " .. latency:percentile(50) .. " "
    .. latency:percentile(99) .. " " .. e.status .. " " .. e.connect + e.read + e.write + e.timeout)
end\n"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", file.name, url]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    line = next(line for line in told.splitlines() if line.startswith("RESULT"))
    requests, duration, median, tail, refused, failed = map(float, line.split()[1:])
    return {
        "at once": connections,
        "a second": round(1e6 * requests / duration, 1),
        "median, ms": round(median / 1000, 1),
        "99 %, ms": round(tail / 1000, 1),
        "answered 503": int(refused),
        "other failures": int(failed),
    }


async def ask(url: str, content: Json, concurrency: int, go_on: Callable[[], bool]) -> Json:
    """Asks from so many connections at once for as long as `go_on`; latencies in milliseconds of what was answered."""
    times: list[float] = []
    statuses: Counter[int] = Counter()

    async def one(client: httpx.AsyncClient) -> None:
        while go_on():
            started = time.perf_counter()
            try:
                answer = await client.post(url, json=content)
            except httpx.TransportError:
                statuses[0] += 1
                continue
            statuses[answer.status_code] += 1
            if answer.is_success:
                times.append(1000 * (time.perf_counter() - started))

    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        await asyncio.gather(*(one(client) for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    median, tail = np.percentile(times or [np.nan], (50, 99))
    return {
        "at once": concurrency,
        "a second": round(len(times) / seconds, 1),
        "median, ms": round(float(median), 1),
        "99 %, ms": round(float(tail), 1),
        "answered 503": statuses[503],
        "other failures": sum(count for status, count in statuses.items() if status not in (200, 503)),
    }


def seconds_from_now(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def memory_mb(process: int) -> int:
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1000


class Backend:
    """The server and its worker, with one project that has a model."""

    def __init__(self, studio: str, pictures: str, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        settings = {
            "LABEL_STUDIO_URL": studio,
            "LABEL_STUDIO_API_KEY": TOKEN,
            "MODEL_DIR": f"{folder}/models",
            "DATA_DIR": f"{folder}/state",
            "CACHE_DIR": f"{folder}/cache",
            "MEDIA_HOSTS": "127.0.0.1",
            "MEDIA_ALLOW_PRIVATE": "true",
            "DEBOUNCE_SECONDS": "1",
        }
        host, port = self.url.removeprefix("http://").split(":")
        command = [sys.executable, "-m", "backend", "serve", "--host", host, "--port", port]
        with (folder / "backend.log").open("w") as log:
            self.process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)  # noqa: S603
        self.wait(lambda: httpx.get(f"{self.url}/health").is_success)
        with httpx.Client(base_url=studio, headers={"Authorization": f"Token {TOKEN}"}, timeout=120) as api:
            self.project = make_project(api, TASKS, pictures)
            params: Json = {"project": self.project, "page_size": TASKS, "fields": "all", "include": "id,data"}
            self.tasks = api.get("/api/tasks", params=params).json()["tasks"]
            for task in self.tasks[:LEARNED]:
                annotate(api, task["id"])
            body = {"project": self.project, "url": self.url, "title": "anomalies"}
            api.post("/api/ml", json=body).raise_for_status()
        self.wait(lambda: self.status()["model_version"] and not self.status()["pending"])

    @property
    def event(self) -> Json:
        return {"action": "ANNOTATION_CREATED", "project": {"id": self.project}}

    def status(self) -> Json:
        found: Json = httpx.get(f"{self.url}/api/projects/{self.project}", timeout=30).json()
        return found

    def train(self) -> None:
        """Begins a training."""
        self.wait(lambda: not self.status()["pending"])
        httpx.post(f"{self.url}/webhook", json=self.event | {"action": "START_TRAINING"}).raise_for_status()
        self.wait(lambda: self.status()["progress"])

    def wait(self, reached: Callable[[], Any], seconds: float = 1800) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if reached():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError("the backend did not get there")


def measure(backend: Backend) -> list[Json]:
    rows: list[Json] = []

    def row(what: str, found: Json) -> None:
        rows.append({"what": what} | found | {"server, MB": memory_mb(backend.process.pid)})
        print(rows[-1], flush=True)

    asked = {"event": (f"{backend.url}/webhook", backend.event), "/health": (f"{backend.url}/health", None)}
    for what, (url, content) in asked.items():
        row(f"{what}, nothing else going on", wrk(url, content, 2, SECONDS))
    for what, (url, content) in asked.items():
        for _ in range(TRAININGS):
            backend.train()
            row(f"{what}, while it trains", wrk(url, content, 2, TRAINING_SECONDS))
    tasks = backend.tasks[LEARNED : LEARNED + 1]
    prediction = {"project": str(backend.project), "label_config": EXAMPLE_CONFIG, "tasks": tasks}
    backend.wait(lambda: not backend.status()["pending"])
    for concurrency in CONCURRENCY:
        found = asyncio.run(ask(f"{backend.url}/predict", prediction, concurrency, seconds_from_now(SECONDS)))
        row("one prediction, embedded before", found)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, default=Path(".cache/label-studio-venv"), help="Label Studio's")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/out/load.md"))
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name, running_studio(options.environment, Path(name)) as studio:
        backend = Backend(studio, f"http://127.0.0.1:{server.server_port}", Path(name))
        try:
            rows = measure(backend)
        finally:
            backend.process.terminate()
            backend.process.wait()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(table(rows))


if __name__ == "__main__":
    main()
