"""What the interface for machines answers: the shapes that /openapi.json describes.

Answers may hold more than is described here, and grow from release to release.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from backend.media import shown
from model.evaluation import AreaUnderCurve, Rate

Verdict = Literal["normal", "abnormal"]
Side = Literal["dev", "test"]
Time = str
"""ISO 8601, UTC."""
Address = Annotated[str, AfterValidator(shown)]
"""Of a picture, without password and query."""


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Fault(Answer):
    """error: what is wrong, and what to do."""

    error: str


# Label Studio's protocol


class Health(Answer):
    status: Literal["UP"]
    model_class: str
    version: str


class Setup(Answer):
    """model_version: the one in charge; `untrained` before the first."""

    model_version: str


class Result(Answer):
    """One for each task. score: in (0, 1), above 0.5 is abnormal; null where there is no verdict."""

    result: list[dict[str, Any]]
    score: float | None
    model_version: str


class Results(Answer):
    results: list[Result]


class Names(Answer):
    """Names of model versions, the newest first."""

    versions: list[str]


class Taken(Answer):
    status: Literal["queued", "ignored"]


# Status


class Progress(Answer):
    phase: str
    done: int
    total: int


class Backfill(Answer):
    """How many tasks have got the new version's prediction."""

    version: str
    done: int
    total: int


class Training(Answer):
    """result: `promoted`, or why not."""

    version: str
    why: str
    result: str
    seconds: float
    finished_at: Time


class Problem(Answer):
    """A picture that could not be used."""

    task_id: int
    uri: Address
    reason: str
    at: Time


class Suggestion(Answer):
    """A picture to tag next."""

    task_id: int
    uri: Address


class Status(Answer):
    """Where a project stands.

    message: one sentence. pending: work is asked for or going on. alarm_rate: share of normal pictures that may be
    called abnormal; attainable_alarm_rate: the least that so few pictures can promise. model_normals: pictures that the
    version in charge learned, of the model_given that it was given. normals, abnormals: confirmed pictures, of which
    training_normals are learned and held_out kept for testing. normals_needed: before the first training. area_task: on
    whose picture people drew where to look. disputed: tasks on which people disagree. without_image: tasks whose data
    has no picture. suggested: what to tag next, the most useful first.
    """

    project_id: int
    title: str | None
    state: Literal["waiting", "training", "ready", "error"]
    message: str
    advice: str | None
    error: str | None
    model_version: str | None
    provisional: bool | None
    model_normals: int
    model_given: int
    alarm_rate: float
    attainable_alarm_rate: float | None
    tasks: int | None
    normals: int
    abnormals: int
    training_normals: int
    held_out: int
    normals_needed: int
    pending: bool
    progress: Progress | None
    backfill: Backfill | None
    last_training: Training | None
    area_task: int | None
    disputed: list[int]
    without_image: list[int]
    suggested: list[Suggestion]
    problems: list[Problem]
    updated_at: Time | None


class Projects(Answer):
    projects: list[Status]


# Evaluation


class Metrics(Answer):
    """Positive means abnormal: a false positive is a false alarm, a false negative a miss."""

    normals: int
    abnormals: int
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    false_alarm_rate: Rate
    recall: Rate
    precision: Rate
    auroc: AreaUnderCurve
    average_precision: float | None


class Section(Metrics):
    """independent: the same for verdicts that people gave without accepting a prediction.

    learned: how many of the pictures the version learned, each scored by a memory that had not seen it.
    """

    independent: Metrics
    not_independent: int
    learned: int = 0


class Threshold(Answer):
    raw_score: float
    alarm_rate: float
    attainable_alarm_rate: float
    provisional: bool
    normals: int


class Foreseen(Answer):
    """What the version in charge said before people confirmed."""

    model_version: str
    score: float
    verdict: Verdict


class Case(Answer):
    """One confirmed picture. cross_fitted: it was learned, but scored by a memory that had not seen it."""

    task_id: int
    uri: Address
    split: Side
    confirmed: Verdict
    predicted: Verdict
    score: float
    raw_score: float
    p_value: float
    independent: bool
    cross_fitted: bool
    nearest_normal: int | None
    before_confirmation: Foreseen | None


class Recheck(Answer):
    """A picture tagged normal that is least like the others. set_aside: it was not learned."""

    task_id: int
    raw_score: float
    set_aside: bool


class Dispute(Answer):
    """How many people say what of one task."""

    task_id: int
    uri: Address
    normal: int
    abnormal: int


class Choice(Answer):
    """What another false-alarm rate would have called abnormal of the confirmed pictures."""

    alarm_rate: float
    raw_score: float
    false_alarms: int
    found: int


class Saving(Answer):
    """The rate that is cheapest by COST_MISS and COST_FALSE_ALARM, and what it costs on the test pictures."""

    alarm_rate: float
    instead_of: float
    cost_on_test: float
    cost_on_test_before: float
    test_cases: int


class Changes(Answer):
    """What Comparison says, in short, of the version that was in charge before and this one."""

    since: str
    compared: int
    better: list[int]
    worse: list[int]


class Newest(Answer):
    task_id: int
    uri: Address
    score: float
    predicted: Verdict


class Drift(Answer):
    """Whether the newest pictures called normal score higher than the normal ones at training (Mann-Whitney)."""

    p_value: float
    alarming: bool
    pictures: int
    called_abnormal: int
    median: float
    median_at_training: float
    scores: list[float]
    scores_at_training: list[float]


class Evaluation(Answer):
    """A version on the confirmed pictures that it has not learned: dev, test, and held_out for both together.

    before_confirmation: what the versions in charge had said when people confirmed. pictures: addresses by task.
    """

    project_id: int
    model_version: str
    evaluated_at: Time
    threshold: Threshold
    dev: Section
    test: Section
    held_out: Section
    before_confirmation: Section
    cases: list[Case]
    choices: list[Choice] = []
    recheck: list[Recheck] = []
    disputes: list[Dispute] = []
    newest: list[Newest] = []
    drift: Drift | None = None
    saving: Saving | None = None
    changes: Changes | None = None
    pictures: dict[str, Address]


# Versions


class Said(Answer):
    predicted: Verdict
    score: float


class Moved(Answer):
    """A picture that two versions judge otherwise. better: the second is right."""

    task_id: int
    confirmed: Verdict
    first: Said
    second: Said
    better: bool


class Comparison(Answer):
    """Two versions on the pictures that both judged and neither had learned, and how often each was right."""

    first: str
    second: str
    compared: int
    first_right: int
    second_right: int
    moved: list[Moved]


class Version(Answer):
    """name: content-derived, stable. normals: pictures learned. recipe: of the settings that it depends on."""

    name: str
    project_id: int
    created_at: Time
    fingerprint: str
    normals: int
    training_tasks: list[int]
    trusted_tasks: list[int]
    unread_tasks: list[int]
    recipe: str
    seconds: float
    provisional: bool
    threshold: float
    alarm_rate: float
    attainable_rate: float


class Promoted(Answer):
    """by: the user who asked for it; empty where it came of itself, or no password is asked for."""

    version: str
    promoted_at: Time
    reason: str
    by: str


class Versions(Answer):
    """The oldest first."""

    in_charge: str | None
    versions: list[Version]
    promotions: list[Promoted]


class Chosen(Answer):
    alarm_rate: float | None
    set_at: Time
    by: str


class Rules(Answer):
    """alarm_rate: the one that people chose; null where the setting holds. history: the oldest first."""

    alarm_rate: float | None
    history: list[Chosen]


Described = dict[int | str, dict[str, Any]]

FAULTS: Described = {"4XX": {"model": Fault}, 502: {"model": Fault}, 503: {"model": Fault}}
"""What every route may answer besides: the request is wrong, Label Studio is at fault, or now is not the time."""


def gives(kind: str) -> Described:
    """An answer that is not JSON."""
    return {200: {"content": {kind: {}}}}
