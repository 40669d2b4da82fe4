"""What a project's page shows, taken from its status, its evaluation and its versions."""

from __future__ import annotations

from typing import Any

from backend.comparing import clearly_worse
from backend.dataset import HOLD_OUT_FROM
from backend.errors import UnknownProject
from backend.registry import Registry
from backend.review import ENOUGH_OF_EACH

Json = dict[str, Any]

SHOWN = 12
RECENT = 5
FOUND_TOO_RARELY = 0.5
CLOSE = 0.1
PARTS = (("dev", "Development"), ("test", "Test"), ("held_out", "Both"))


def evaluation_of(project_id: int, registry: Registry, version: str | None = None) -> Json | None:
    """Of one version, or of the one in charge; None where there is none yet, or none that this release can use."""
    if version is None:
        in_charge = registry.in_charge(project_id)
        version = in_charge.name if in_charge else None
    return registry.evaluation(project_id, version) if version else None


def measured(project_id: int, registry: Registry, version: str | None = None) -> Json:
    """The same. Raises UnknownProject where there is none yet, UnknownVersion for a name that is not known."""
    if version:
        registry.version(project_id, version)
    found = evaluation_of(project_id, registry, version)
    if found is None:
        raise UnknownProject(f"project {project_id} has no model yet, so there is nothing to evaluate")
    return found


def address(evaluation: Json, task_id: int) -> str | None:
    """Where the picture of a task is, if the project's page may show it."""
    known: dict[str, str] = evaluation["pictures"]
    others = (*evaluation.get("newest", ()), *evaluation.get("disputes", ()))
    found = known.get(str(task_id)) or next((item["uri"] for item in others if item["task_id"] == task_id), None)
    return None if found is None else str(found)


def versions_of(project_id: int, registry: Registry) -> list[Json]:
    """Every version with its numbers, the newest first."""
    return [
        {
            "name": version.name,
            "created_at": version.created_at,
            "normals": version.normals,
            "alarm_rate": version.alarm_rate,
            **registry.summary(project_id, version.name),
        }
        for version in reversed(registry.versions(project_id))
    ]


def older(versions: list[Json], in_charge: str | None) -> list[str]:
    """The names of those that are folded away, which most people look for least. versions: the newest first."""
    return [version["name"] for version in versions[RECENT:] if version["name"] != in_charge]


def is_measured(version: Json) -> bool:
    """Whether anything was confirmed when the version was measured last."""
    held_out = version.get("held_out") or {}
    return bool(held_out.get("normals") or held_out.get("abnormals"))


def is_partly_learned(version: Json) -> bool:
    """Whether the version had learned some of the pictures that it was measured on."""
    return bool((version.get("held_out") or {}).get("learned"))


def galleries(cases: list[Json]) -> list[Json]:
    """Where it errs, and where it nearly does."""

    def having(confirmed: str, predicted: str) -> list[Json]:
        return [case for case in cases if (case["confirmed"], case["predicted"]) == (confirmed, predicted)]

    alarms = sorted(having("normal", "abnormal"), key=lambda case: -case["score"])
    misses = sorted(having("abnormal", "normal"), key=lambda case: case["score"])
    near = [case for case in cases if abs(case["score"] - 0.5) <= CLOSE]
    close = sorted(near, key=lambda case: abs(case["score"] - 0.5))
    worst = "the worst first. Where the person erred, correct the verdict."
    rows = [
        ("alarms", "False alarms", f"Confirmed normal, called abnormal; {worst}", alarms),
        ("misses", "Misses", f"Confirmed abnormal, called normal; {worst}", misses),
        ("close", "Close to the threshold", "A little more or less, and the verdict would be another.", close),
    ]
    return [
        {
            "id": name,
            "title": title,
            "text": text,
            "total": len(found),
            "cases": found[:SHOWN],
        }
        for name, title, text, found in rows
    ]


def in_force(evaluation: Json) -> int:
    """Which of the choices is the threshold as it is."""
    rates = [choice["alarm_rate"] for choice in evaluation.get("choices", ())]
    rate = evaluation["threshold"]["alarm_rate"]
    return rates.index(rate) if rate in rates else 0


def slider(evaluation: Json) -> Json:
    """What the page's script needs: the thresholds on offer, and the pictures that lie between them."""
    choices = evaluation.get("choices", ())
    offered = [choice["raw_score"] for choice in choices]
    fields = ("task_id", "raw_score", "confirmed")
    movable = [case for case in evaluation["cases"] if offered and min(offered) < case["raw_score"] <= max(offered)]
    return {
        "cases": [{name: case[name] for name in fields} for case in movable],
        "choices": choices,
        "in_force": in_force(evaluation),
    }


def worse_since(evaluation: Json | None, versions: list[Json]) -> Json | None:
    """The changes since the version before, where clearly more are for the worse and that version is still there.

    None where the two were asked for different false-alarm rates: the change was then meant.
    """
    found = (evaluation or {}).get("changes")
    if evaluation is None or found is None or not clearly_worse(found):
        return None
    rates = {version["name"]: version["alarm_rate"] for version in versions}
    same = found["since"] in rates and rates[found["since"]] == rates.get(evaluation["model_version"])
    return found if same else None


def next_step(status: Json, evaluation: Json | None) -> tuple[str, str]:
    """What to do next, in one sentence, and the name of the section that shows it; each empty where there is none."""
    if status["error"] and status["problems"]:
        return (
            "Correct what the line above says; where it speaks of pictures, tagging others as normal is enough too.",
            "unusable",
        )
    if status["error"]:
        return "Correct what the line above says; everything else goes on by itself.", ""
    if status["normals_needed"]:  # the line above says it
        return ("Begin with the pictures below.", "suggested") if status["suggested"] else ("", "")
    if evaluation is None:
        return "Wait a moment: the training comes by itself.", ""
    if status["disputed"]:
        return "Settle the tasks on which people disagree.", "disputed"
    if any(item["set_aside"] for item in evaluation["recheck"]):
        return "Check the normal pictures that were set aside.", "recheck"
    if status["normals"] < HOLD_OUT_FROM:
        return f"Tag more pictures as normal: from {HOLD_OUT_FROM} on, some are kept to test the model with.", ""
    if evaluation["held_out"]["abnormals"] < ENOUGH_OF_EACH:
        return (
            f"Confirm abnormal pictures when you see some: {ENOUGH_OF_EACH} show how many the model finds.",
            "",
        )
    if status["problems"]:
        return "See why some pictures could not be used.", "unusable"
    if evaluation["held_out"]["recall"]["value"] < FOUND_TOO_RARELY:
        return (
            "Most anomalies are missed: check the strangest normal pictures, tag more, or allow more false alarms.",
            "recheck",
        )
    if status["suggested"]:
        return "Go on labelling, with the pictures that are worth judging next.", "suggested"
    return "Go on labelling.", ""
