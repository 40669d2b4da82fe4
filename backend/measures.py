"""What Prometheus reads: this server's predictions, and the state of every project at the time it asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backend.board import Board
from backend.errors import QueueUnreachable
from backend.registry import Registry

SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 80)
SCORES = tuple(step / 20 for step in range(1, 20))


class Measures:
    """Counters and histograms of one server process."""

    def __init__(self) -> None:
        self._counted = CollectorRegistry()
        self.predictions = Counter(
            "anomaly_predictions", "Pictures judged, by verdict", ["project", "verdict"], registry=self._counted
        )
        self.failures = Counter(
            "anomaly_failures",
            "Pictures that could not be judged, by kind",
            ["project", "kind"],
            registry=self._counted,
        )
        self.scores = Histogram(
            "anomaly_score", "Scores given; above 0.5 is abnormal", ["project"], buckets=SCORES, registry=self._counted
        )
        self.seconds = Histogram(
            "anomaly_predict_seconds", "Time to answer /predict", buckets=SECONDS, registry=self._counted
        )
        self.webhooks = Counter("anomaly_webhooks", "Webhooks taken", ["action"], registry=self._counted)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Observes how long an answer to /predict took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.observe(time.perf_counter() - started)

    def page(self, registry: Registry, board: Board, queue_length: int | None) -> bytes:
        """Everything in Prometheus's text format. queue_length: jobs that wait; None where the queue is away."""
        pages = [self._counted, _state(registry, queue_length)]
        if queue_length is not None:
            pages.append(_news(registry.projects(), board))
        return b"".join(map(generate_latest, pages))


def _state(registry: Registry, queue_length: int | None) -> CollectorRegistry:
    found = CollectorRegistry()
    up = Gauge("anomaly_queue_up", "Whether the job queue answers and takes jobs", registry=found)
    up.set(queue_length is not None)
    Gauge("anomaly_queue_jobs", "Jobs that wait", registry=found).set(queue_length or 0)
    versions = Gauge("anomaly_versions", "Model versions trained", ["project"], registry=found)
    normals = Gauge("anomaly_model_normals", "Pictures learned by the version in charge", ["project"], registry=found)
    seconds = Gauge("anomaly_training_seconds", "Duration of its training", ["project"], registry=found)
    alarms = Gauge("anomaly_false_alarm_rate", "On confirmed normal pictures", ["project"], registry=found)
    recall = Gauge("anomaly_recall", "On confirmed abnormal pictures", ["project"], registry=found)
    drift = Gauge(
        "anomaly_drift_p_value", "That the newest pictures are like those learned", ["project"], registry=found
    )
    for project_id in registry.projects():
        project = str(project_id)
        versions.labels(project).set(registry.count(project_id))
        version = registry.in_charge(project_id)
        if version is None:
            continue
        summary = registry.summary(project_id, version.name)
        normals.labels(project).set(version.normals)
        seconds.labels(project).set(version.seconds)
        for gauge, key in ((alarms, "false_alarm_rate"), (recall, "recall")):
            value = summary.get("held_out", {}).get(key, {}).get("value")
            if value is not None:
                gauge.labels(project).set(value)
        if summary.get("drift_p_value") is not None:
            drift.labels(project).set(summary["drift_p_value"])
    return found


def _news(projects: list[int], board: Board) -> CollectorRegistry:
    """What the last look at each project said."""
    found = CollectorRegistry()
    confirmed = Gauge("anomaly_confirmed", "Pictures that people confirmed", ["project", "verdict"], registry=found)
    unusable = Gauge("anomaly_unusable_pictures", "Pictures that could not be read", ["project"], registry=found)
    failing = Gauge("anomaly_project_failing", "Whether the last job of a project failed", ["project"], registry=found)
    trained = Gauge(
        "anomaly_last_training_timestamp_seconds", "When a project was last trained", ["project"], registry=found
    )
    for project_id in projects:
        project = str(project_id)
        try:
            news, problems = board.news(project_id), board.problems(project_id)
        except QueueUnreachable:
            break
        confirmed.labels(project, "normal").set(news.get("normals", 0))
        confirmed.labels(project, "abnormal").set(news.get("abnormals", 0))
        unusable.labels(project).set(len(problems))
        failing.labels(project).set(bool(news.get("error")))
        if news.get("last_training"):
            trained.labels(project).set(datetime.fromisoformat(news["last_training"]["finished_at"]).timestamp())
    return found
