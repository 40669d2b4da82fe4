"""What would make a project's verdicts better, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from backend.dataset import Dataset
from model.detector import AnomalyDetector

FEW_NORMALS = 300
PAIRED = (
    "Most normal pictures are nearly the same as another. Where they show the same part again, or are frames of one"
    " film, new parts will be called abnormal too often: name the part in the task data and set GROUP_KEY"
)
GUESSED = (
    "{guessed} of the {learned} normal pictures learned are so like another that they count as one part with it. To be"
    " sure, name the part in the task data and set GROUP_KEY, which also keeps its pictures on one side of the test"
)
UPRIGHT = (
    "All normal pictures show the product lying one way, so that one which is {turns} is called abnormal. Where it may"
    " lie so, set ORIENTATION=free"
)
UNDECIDED = (
    "without a choice of the labelling config, or with two that contradict each other, which teaches nothing: choose"
    " one there. If a choice was renamed, give it the old name as its alias instead"
)
EXAMPLES = 3


def advice(dataset: Dataset, detector: AnomalyDetector | None) -> str | None:
    """What would make the verdicts better. detector: the one in charge."""
    if dataset.undecided:
        return _undecided(dataset.undecided)
    if detector and detector.seems_paired:
        return PAIRED
    if detector and detector.guessed:
        return GUESSED.format(guessed=detector.guessed, learned=len(detector.calibration.scores))
    if len(dataset.training) > FEW_NORMALS:
        return f"{FEW_NORMALS} normal pictures are enough; more improve the verdicts little"
    if detector and detector.abnormal_turns:
        return UPRIGHT.format(turns=" or ".join(detector.abnormal_turns))
    return None


def _undecided(tasks: Sequence[int]) -> str:
    examples = ", ".join(map(str, tasks[:EXAMPLES])) + (" ..." if len(tasks) > EXAMPLES else "")
    if len(tasks) == 1:
        return f"Task {examples} was submitted {UNDECIDED}"
    return f"{len(tasks)} tasks ({examples}) were submitted {UNDECIDED}"
