"""As much of a Label Studio as the service talks to, which can be made to fail at any of its answers."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from backend.labels import EXAMPLE_CONFIG

Json = dict[str, Any]

PATIENCE = 60.0


@dataclass
class Held:
    """A request that is held: its answer comes when it is let go, if someone still waits for it."""

    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE), "nobody asked for it"


@dataclass
class Trap:
    """What happens to the next requests that fit. after: once they were carried out, before they are answered."""

    fits: re.Pattern[str]
    act: Callable[[], int | None]
    times: int
    after: bool


class FakeLabelStudio:
    """One project, in memory; serves the pictures too."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.tasks: dict[int, Json] = {}
        self.pictures: dict[str, bytes] = {}
        self.project: Json = {"id": 4, "title": "Faults", "label_config": EXAMPLE_CONFIG, "model_version": ""}
        self.backends = [{"id": 1, "url": "http://backend:9090", "project": 4, "title": "new", "model_version": ""}]
        self.asked: list[str] = []
        self.delay = 0.0  # seconds by which every answer is late
        self.behind = timedelta()
        self._traps: list[Trap] = []
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self._address = address
        self._port = 0

    # Being there, or not

    @property
    def url(self) -> str:
        return f"http://{self._address}:{self._port}"

    def start(self) -> None:
        studio = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                studio._handle(self)

            do_POST = do_PATCH = do_GET  # noqa: N815

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(studio.now(), usegmt=True)

            def log_message(self, *args: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer((self._address, self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def now(self) -> datetime:
        return datetime.now(UTC) - self.behind

    # What people do

    def add(self, task_id: int, picture: bytes, verdict: str | None = None) -> None:
        uri = f"/data/upload/{task_id}.jpg"
        self.pictures[uri] = picture
        self.tasks[task_id] = {
            "id": task_id,
            "data": {"image": uri},
            "annotations": [],
            "predictions": [],
            "is_labeled": False,
            "updated_at": self.now(),
        }
        if verdict:
            self.label(task_id, verdict)

    def label(self, task_id: int, verdict: str) -> None:
        result = [{"from_name": "verdict", "type": "choices", "value": {"choices": [verdict]}}]
        annotation = {"result": result, "completed_by": 1, "created_at": self.now().isoformat()}
        with self._lock:
            known = {"annotations": [annotation], "is_labeled": True, "updated_at": self.now()}
            self.tasks[task_id] |= known

    def versions(self) -> list[list[str]]:
        """Of every task that nobody has finished, the versions that have predicted it."""
        with self._lock:
            unfinished = [task for task in self.tasks.values() if not task["is_labeled"]]
            return [[prediction["model_version"] for prediction in task["predictions"]] for task in unfinished]

    # What goes wrong

    @contextmanager
    def holding(self, request: str, *, after: bool = False) -> Iterator[Held]:
        """Holds the next request such as `GET /api/tasks` (a regular expression)."""
        held = Held()

        def hold() -> None:
            held.reached.set()
            held.let_go.wait(PATIENCE)

        self._traps.append(Trap(re.compile(request), hold, 1, after))
        try:
            yield held
        finally:
            held.let_go.set()

    def fail(self, request: str, status: int, *, times: int = 1) -> None:
        self._traps.append(Trap(re.compile(request), lambda: status, times, after=False))

    # Answering

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        request = f"{handler.command} {handler.path}"
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        self.asked.append(request)
        time.sleep(self.delay)
        status = self._trapped(request, after=False)
        answer: bytes = b"{}"
        if status is None:
            with self._lock:
                found = self._answer(handler.command, handler.path, json.loads(body or b"null"))
            status = 404 if found is None else 200
            answer = found if isinstance(found, bytes) else json.dumps(found, default=str).encode()
            self._trapped(request, after=True)
        with suppress(OSError):  # whoever asked is gone
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(answer)))
            handler.end_headers()
            handler.wfile.write(answer)

    def _trapped(self, request: str, *, after: bool) -> int | None:
        with self._lock:
            trap = next((t for t in self._traps if t.after == after and t.times and t.fits.match(request)), None)
            if trap is None:
                return None
            trap.times -= 1
        return trap.act()

    def _answer(self, method: str, address: str, body: Any) -> Any:
        path = urlsplit(address).path
        if path in self.pictures:
            return self.pictures[path]
        if path == "/api/tasks":
            return self._page({name: values[0] for name, values in parse_qs(urlsplit(address).query).items()})
        if path == "/api/ml":
            return self.backends
        if path == "/api/webhooks/":
            return []
        if path.startswith("/api/ml/"):
            self.backends[0] |= {"title": body["title"]}
            return self.backends[0]
        if path == "/api/dm/actions":
            for task_id in body["selectedItems"]["included"]:
                self.tasks[task_id]["predictions"] = []
            return {}
        if path.endswith("/import/predictions"):
            for row in body:
                made = row | {"created_at": self.now().isoformat()}
                self.tasks[row["task"]]["predictions"].append(made)
            return {"created": len(body)}
        if path == f"/api/projects/{self.project['id']}":
            self.project |= body or {}
            return self.project
        return None

    def _page(self, params: Json) -> Json:
        query = json.loads(params.get("query", "{}"))
        rows = [self.tasks[task_id] for task_id in sorted(self.tasks)]
        if "selectedItems" in query:
            rows = [task for task in rows if task["id"] in query["selectedItems"]["included"]]
        for item in query.get("filters", {}).get("items", []):
            rows = [task for task in rows if _passes(task, item)]
        return {
            "tasks": rows[: int(params["page_size"])],
            "total": len(rows),
            "total_annotations": sum(len(task["annotations"]) for task in rows),
            "total_predictions": sum(len(task["predictions"]) for task in rows),
        }


def _passes(task: Json, item: Json) -> bool:
    if item["filter"].endswith("updated_at"):
        return bool(task["updated_at"] >= datetime.fromisoformat(item["value"]))
    return bool(task["id"] > item["value"] if item["operator"] == "greater" else task["id"] <= item["value"])
