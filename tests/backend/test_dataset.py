from __future__ import annotations

import itertools
from typing import Any

import pytest

from backend.cutting import Cut
from backend.dataset import HOLD_OUT_FROM, Dataset, Dispute, Task, build_dataset, image_uri
from backend.labels import EXAMPLE_CONFIG, parse_config
from model.prediction import Verdict
from model.splits import Split

CONFIG = parse_config(EXAMPLE_CONFIG)
_numbers = itertools.count(1)


def verdict(name: str) -> list[dict[str, Any]]:
    return [{"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": [name]}}]


def annotation(name: str | None, **known: Any) -> dict[str, Any]:
    return {
        "id": next(_numbers),
        "result": verdict(name) if name else [],
        "was_cancelled": False,
        "ground_truth": False,
        "completed_by": 1,
        "parent_prediction": None,
        "created_at": "2026-01-02T00:00:00Z",
        **known,
    }


def task(*annotations: dict[str, Any], **known: Any) -> Task:
    number = next(_numbers)
    base = {"id": number, "data": {"image": f"/data/upload/{number}.jpg"}, "predictions": []}
    return {**base, "annotations": list(annotations), "is_labeled": bool(annotations), **known}


def verdicts(*tasks: Task) -> list[Verdict]:
    return [image.verdict for image in build_dataset(tasks, CONFIG).labelled]


def test_submitted_annotations_count() -> None:
    assert verdicts(task(annotation("normal")), task(annotation("abnormal")), task()) == ["normal", "abnormal"]


def test_skipped_ones_and_those_without_a_verdict_do_not() -> None:
    assert verdicts(task(annotation("normal", was_cancelled=True)), task(annotation(None))) == []


def test_a_ground_truth_wins() -> None:
    both = task(annotation("normal", completed_by=1), annotation("abnormal", completed_by=2, ground_truth=True))
    assert verdicts(both) == ["abnormal"]


def test_a_ground_truth_wins_over_later_annotations_of_the_same_person() -> None:
    both = task(annotation("normal", ground_truth=True), annotation("abnormal", updated_at="2026-09-02T00:00:00Z"))
    assert verdicts(both) == [Verdict.NORMAL]


def test_those_who_disagree_put_the_task_aside() -> None:
    disputed = task(annotation("normal", completed_by=1), annotation("abnormal", completed_by={"id": 2}))
    dataset = build_dataset([disputed], CONFIG)
    assert dataset.labelled == ()
    assert dataset.disputed == (Dispute(disputed["id"], disputed["data"]["image"], normal=1, abnormal=1),)


def test_whoever_changes_their_mind_is_taken_at_their_last_word() -> None:
    changed = task(
        annotation("abnormal", created_at="2026-01-03T00:00:00Z"),
        annotation("normal", created_at="2026-01-02T00:00:00Z"),
    )
    assert verdicts(changed) == ["abnormal"]


def test_a_corrected_annotation_is_the_last_word() -> None:
    corrected = task(
        annotation("abnormal", created_at="2026-01-01T00:00:00Z", updated_at="2026-01-03T00:00:00Z"),
        annotation("normal", created_at="2026-01-02T00:00:00Z", updated_at="2026-01-02T00:00:00Z"),
    )
    assert verdicts(corrected) == ["abnormal"]
    assert verdicts(Cut(CONFIG).task(corrected)) == ["abnormal"]


@pytest.mark.parametrize(
    ("names", "undecided"),
    [((), True), (("renamed",), True), (("normal", "abnormal"), True), (("unsure",), False), (("normal",), False)],
)
def test_tasks_that_were_submitted_without_a_choice_are_named(names: tuple[str, ...], undecided: bool) -> None:
    config = parse_config(EXAMPLE_CONFIG.replace("<Choice ", '<Choice value="unsure"/><Choice ', 1))
    chosen = {"from_name": "verdict", "type": "choices", "value": {"choices": list(names)}}
    submitted = task(annotation("normal", result=[chosen] if names else []))
    assert build_dataset([submitted], config).undecided == ((submitted["id"],) if undecided else ())
    skipped = task(annotation("normal", result=[], was_cancelled=True))
    assert build_dataset([skipped], config).undecided == ()


def test_tasks_without_a_picture_are_named() -> None:
    empty = task(annotation("normal"), data={"text": "x"})
    assert build_dataset([empty], CONFIG).without_image == (empty["id"],)


@pytest.mark.parametrize(
    ("value", "data", "uri"),
    [
        ("$image", {"image": "/a.jpg"}, "/a.jpg"),
        ("$meta.image", {"meta": {"image": "/a.jpg"}}, "/a.jpg"),
        ("$meta.image", {"meta.image": "/a.jpg"}, "/a.jpg"),
        ("$imgs[1]", {"imgs": ["/a.jpg", "/b.jpg"]}, "/b.jpg"),
        ("$imgs[0].url", {"imgs": [{"url": "/a.jpg"}]}, "/a.jpg"),
        ("https://cam.example/$line/$file", {"line": "7", "file": "a.jpg"}, "https://cam.example/7/a.jpg"),
        ("https://cam.example/$file", {"file": "$other"}, "https://cam.example/$other"),
        ("$meta.image", {"meta": "/a.jpg"}, None),
        ("$imgs[2]", {"imgs": ["/a.jpg"]}, None),
        ("$imgs.first", {"imgs": ["/a.jpg"]}, None),
        ("https://cam.example/$file", {"line": "7"}, None),
        ("$image", {"image": ["/a.jpg"]}, None),
        ("$image", {"image": 7}, None),
        ("$image", {"image": " "}, None),
        ("$image", [], None),
    ],
)
def test_a_picture_is_where_label_studio_finds_it(value: str, data: Any, uri: str | None) -> None:
    config = parse_config(EXAMPLE_CONFIG.replace("$image", value))
    found = {"id": 1, "data": data}
    assert image_uri(found, config) == uri
    assert image_uri(Cut(config).task(found), config) == uri


def test_what_we_predicted_before_is_remembered_and_acceptance_is_marked() -> None:
    def predicted(at: str, name: str, version: str | None) -> dict[str, Any]:
        return {"created_at": at, "result": verdict(name), "score": 0.7, "model_version": version}

    seen = task(
        annotation("abnormal", parent_prediction=5),
        predictions=[
            predicted("2026-01-01T00:00:00Z", "normal", "normal-5-00000000"),
            predicted("2026-01-01T12:00:00Z", "abnormal", "normal-6-11111111"),
            predicted("2026-01-01T13:00:00Z", "normal", "customers-own-yolo"),
            predicted("2026-01-01T14:00:00Z", "normal", ""),
            predicted("2026-01-01T15:00:00Z", "normal", None),
            predicted("2026-01-02T12:00:00Z", "normal", "normal-7-22222222"),
        ],
    )
    image = build_dataset([seen], CONFIG).labelled[0]
    assert not image.independent
    assert image.prior is not None
    assert (image.prior.model_version, image.prior.verdict) == ("normal-6-11111111", "abnormal")


def many(normals: int, abnormals: int = 0) -> Dataset:
    tasks = [task(annotation("normal"), id=number) for number in range(normals)]
    tasks += [task(annotation("abnormal"), id=1000 + number) for number in range(abnormals)]
    return build_dataset(tasks, CONFIG)


def test_a_few_normals_are_all_trained_on() -> None:
    few = many(HOLD_OUT_FROM - 1)
    assert len(few.training) == HOLD_OUT_FROM - 1


def test_with_enough_some_are_kept_apart_for_good() -> None:
    smaller, larger = many(100, 40), many(150, 40)
    assert 50 <= len(smaller.training) <= 90
    sides = {image.task_id: image.split for image in larger.labelled}
    assert all(sides[image.task_id] is image.split for image in smaller.labelled)
    assert not any(image.verdict is Verdict.ABNORMAL for image in larger.training)
    assert all(image.split is Split.TRAIN for image in larger.training)
    assert {image.split for image in larger.labelled} == set(Split)


def test_where_nearly_every_part_has_an_abnormal_picture_all_normal_ones_are_trained_on() -> None:
    def of_part(number: int, name: str) -> Task:
        return task(annotation(name), data={"image": f"/{number}.jpg", "serial": number // 4}, id=number)

    mixed = [of_part(number, "normal" if number % 4 else "abnormal") for number in range(40)]
    assert len(build_dataset(mixed, CONFIG, "serial").training) == 30
    more = [of_part(number, "normal") for number in range(40, 120)]
    grown = build_dataset([*mixed, *more], CONFIG, "serial")
    assert 10 <= len(grown.training) < 80
    assert all(image.task_id >= 40 for image in grown.training)


def test_pictures_of_one_part_stay_on_one_side() -> None:
    def of_part(number: int, name: str) -> Task:
        return task(annotation(name), data={"image": f"/{number}.jpg", "serial": number // 4})

    dataset = build_dataset([of_part(n, "abnormal" if n % 40 == 0 else "normal") for n in range(200)], CONFIG, "serial")
    sides: dict[str, set[Split]] = {}
    for image in dataset.labelled:
        sides.setdefault(image.group, set()).add(image.split)
    assert len(sides) == 50
    assert all(len(side) == 1 for side in sides.values())
    assert all(Split.TRAIN not in sides[image.group] for image in dataset.abnormals)


def test_the_fingerprint_names_the_training_pictures_only() -> None:
    normal = task(annotation("normal"))
    before = build_dataset([normal], CONFIG).fingerprint
    assert build_dataset([normal, task(annotation("abnormal"))], CONFIG).fingerprint == before
    assert build_dataset([normal, task(annotation("normal"))], CONFIG).fingerprint != before


def test_the_fingerprint_stays_when_links_are_signed_anew() -> None:
    normal = task(annotation("normal"))
    first, again, other = (
        build_dataset([normal | {"data": {"image": f"https://bucket.example/{rest}"}}], CONFIG).fingerprint
        for rest in ("1.jpg?X-Amz-Signature=a", "1.jpg?X-Amz-Signature=b", "2.jpg?X-Amz-Signature=b")
    )
    assert first == again != other


def test_the_fingerprint_names_parts_where_people_do() -> None:
    normal = task(annotation("normal"), data={"image": "/1.jpg", "serial": 7})
    unnamed, named, missing = (build_dataset([normal], CONFIG, key) for key in ("", "serial", "batch"))
    assert named.fingerprint != unnamed.fingerprint == missing.fingerprint
    assert [dataset.training[0].part for dataset in (unnamed, named, missing)] == [None, "group 7", None]
