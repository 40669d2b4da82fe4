"""Two versions side by side, on the confirmed pictures that both judged and neither had learned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scipy.stats import binomtest

Json = dict[str, Any]

BY_CHANCE = 0.05


def compare(first: Json, second: Json) -> Json:
    """Two evaluations: how often each version was right, by what the second knows as confirmed; where they differ."""
    before = {case["task_id"]: case for case in _unseen(first)}
    pairs = [(before[case["task_id"]], case) for case in _unseen(second) if case["task_id"] in before]
    moved = [
        {
            "task_id": new["task_id"],
            "confirmed": new["confirmed"],
            "first": {name: old[name] for name in ("predicted", "score")},
            "second": {name: new[name] for name in ("predicted", "score")},
            "better": new["predicted"] == new["confirmed"],
        }
        for old, new in pairs
        if old["predicted"] != new["predicted"]
    ]
    return {
        "first": first["model_version"],
        "second": second["model_version"],
        "compared": len(pairs),
        "first_right": sum(old["predicted"] == new["confirmed"] for old, new in pairs),
        "second_right": sum(new["predicted"] == new["confirmed"] for _, new in pairs),
        "moved": sorted(moved, key=lambda case: bool(case["better"])),
    }


def changes(first: Json, second: Json) -> Json:
    """The same in short: which pictures, by task, the second version judges better than the first, and worse."""
    found = compare(first, second)
    better, worse = ([case["task_id"] for case in found["moved"] if case["better"] is kind] for kind in (True, False))
    return {"since": found["first"], "compared": found["compared"], "better": better, "worse": worse}


def clearly_worse(found: Json) -> bool:
    """Whether more of the changes are for the worse than chance would have it: the sign test, one-sided, exact."""
    worse, moved = len(found["worse"]), len(found["worse"]) + len(found["better"])
    return moved > 0 and bool(binomtest(worse, moved, alternative="greater").pvalue < BY_CHANCE)


def _unseen(evaluation: Json) -> Iterable[Json]:
    return (case for case in evaluation["cases"] if not case["cross_fitted"])
