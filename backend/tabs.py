"""Tabs of Label Studio's Data Manager in which predictions are reviewed: the surest first, or the closest calls."""

from __future__ import annotations

from typing import Any

from backend.studio import Studio

Json = dict[str, Any]

CLOSE = (0.35, 0.65)
HIDDEN = """inner_id cancelled_annotations annotators annotations_results annotations_ids predictions_results
file_upload storage_filename created_at updated_at updated_by avg_lead_time draft_exists""".split()


def _tab(title: str, *filters: Json) -> Json:
    return {
        "title": title,
        "type": "list",
        "ordering": ["-tasks:predictions_score"],
        "hiddenColumns": {"explore": [f"tasks:{column}" for column in HIDDEN], "labeling": []},
        "filters": {"conjunction": "and", "items": list(filters)},
    }


TABS = (
    _tab("Most abnormal first"),
    _tab(
        "Close to the threshold",
        {
            "filter": "filter:tasks:predictions_score",
            "operator": "in",
            "type": "Number",
            "value": {"min": CLOSE[0], "max": CLOSE[1]},
        },
        {"filter": "filter:tasks:completed_at", "operator": "empty", "type": "Datetime", "value": True},
    ),
)


def add_tabs(studio: Studio, project_id: int) -> list[str]:
    """Adds the tabs that the project lacks; returns their titles. Raises StudioRefused for an unknown project."""
    studio.project(project_id)
    known = {tab["data"].get("title") for tab in studio.tabs(project_id)}
    missing = [tab for tab in TABS if tab["title"] not in known]
    for tab in missing:
        studio.add_tab(project_id, tab)
    return [str(tab["title"]) for tab in missing]
