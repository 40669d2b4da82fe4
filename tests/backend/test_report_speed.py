"""The pages stay small however many pictures people confirm; benchmarks/pages.py says how fast they are."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.report import figures
from backend.services import Services
from model.detector import AnomalyDetector
from tests.backend.stories import HUGE, tell_huge_story
from tests.backend.test_report import BROWSER


@pytest.fixture
def client(services: Services, detector: AnomalyDetector) -> TestClient:
    tell_huge_story(services, detector, tasks=10_000, versions=2)
    return TestClient(create_app(services), headers=BROWSER)


def test_pages_of_ten_thousand_confirmed_tasks_are_small(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    page = client.get(f"/projects/{HUGE}")
    assert "Ten thousand" in page.text
    assert len(page.content) < 500_000
    assert len(client.get(f"/projects/{HUGE}/compare?first=normal-0&second=normal-1").content) < 100_000
    assert len(client.get("/").content) < 50_000
    plot = f"/projects/{HUGE}/plots/histogram.svg"
    drawn = client.get(plot).content
    monkeypatch.delattr(figures, "Figure")  # the same numbers are not drawn again
    assert client.get(plot).content == drawn
