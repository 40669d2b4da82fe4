"""Measures the report: how long its pages, plots and answers take for a project of ten thousand confirmed tasks.

python -m benchmarks.pages
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from backend.app import create_app
from backend.demo.project import PICTURES
from backend.services import build_services
from backend.settings import load_settings
from benchmarks.embedded import readable
from benchmarks.tables import ruled
from model.detector import AnomalyDetector
from model.images import find_images
from tests.backend.stories import FIRST_LEARNED, HUGE, tell_huge_story

NORMAL = find_images(PICTURES / "normal")[:25]
TASKS, VERSIONS, TIMES = 10_000, 6, 5
PATHS = (
    "/",
    f"/projects/{HUGE}",
    f"/projects/{HUGE}/compare?first=normal-1&second=normal-5",
    f"/api/projects/{HUGE}",
    f"/api/projects/{HUGE}/evaluation",
    f"/projects/{HUGE}/cases.csv",
    *(f"/projects/{HUGE}/plots/{name}.svg" for name in ("histogram", "curves", "versions", "drift")),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = load_settings(
            model_dir=str(folder / "models"), data_dir=folder / "state", cache_dir=folder / "cache"
        )
        services = build_services(settings)
        detector = AnomalyDetector()
        embeddings = list(readable(detector.embedder.embed(NORMAL)))
        detector.fit_embeddings(embeddings, [str(task_id) for task_id, _ in enumerate(NORMAL, FIRST_LEARNED)])
        tell_huge_story(services, detector, tasks=TASKS, versions=VERSIONS)
        client = TestClient(create_app(services), headers={"Accept": "text/html"})
        print(ruled("| page | first, ms of CPU | then, ms of CPU | kB |"))
        for path in PATHS:
            first, *later = (_seconds(client, path) for _ in range(1 + TIMES))
            size = len(client.get(path).content) / 1000
            print(f"| `{path}` | {1000 * first:.0f} | {1000 * min(later):.0f} | {size:.0f} |", flush=True)


def _seconds(client: TestClient, path: str) -> float:
    """CPU seconds, which other programs on the machine change less than the clock's."""
    started = time.process_time()
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return time.process_time() - started


if __name__ == "__main__":
    main()
