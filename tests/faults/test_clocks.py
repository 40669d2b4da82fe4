"""Clocks that are set back: on the machine of server and worker, and on Label Studio's."""

from __future__ import annotations

from datetime import timedelta

from tests.faults.conftest import Fleet
from tests.faults.label_studio import FakeLabelStudio


def test_the_clock_is_set_back_while_a_job_waits(fleet: Fleet, studio: FakeLabelStudio) -> None:
    fleet.settings |= {"CLOCK": "behind", "DEBOUNCE_SECONDS": "2", "DEBOUNCE_MAX_SECONDS": "2"}
    # No reconcile comes to help; and the new version, dated before the old one, must not go for the oldest.
    fleet.settings |= {"RECONCILE_MINUTES": "59", "KEEP_VERSIONS": "1"}
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server)
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    assert server.hook() == 200
    (fleet.folder / "behind").write_text("3600")
    second = fleet.settle(server, lambda version: version != first)
    assert server.predict(9)["model_version"] == second
    assert server.promotions() == [first, second]


def test_label_studios_clock_is_set_back(fleet: Fleet, studio: FakeLabelStudio) -> None:
    for task_id in (7, 8):
        studio.label(task_id, "normal")
    server = fleet.server()
    fleet.worker()
    first = fleet.settle(server)
    studio.behind = timedelta(hours=1)
    studio.label(1, "abnormal")
    assert server.hook() == 200
    fleet.settle(server, lambda version: version != first)
