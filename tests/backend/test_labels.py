from __future__ import annotations

from pathlib import Path

import pytest

from backend import configs
from backend.errors import LabelConfigUnusable
from backend.labels import EXAMPLE_CONFIG, parse_config
from model.prediction import Verdict


def config_of(*names: str, extra: str = "") -> str:
    choices = "".join(f'<Choice value="{name}"/>' for name in names)
    return f'<View><Image name="img" value="$photo"/><Choices name="v" toName="img">{choices}</Choices>{extra}</View>'


def chosen(*names: str) -> list[dict[str, object]]:
    return [{"from_name": "v", "to_name": "img", "type": "choices", "value": {"choices": list(names)}}]


@pytest.mark.parametrize(
    ("normal", "abnormal"),
    [("normal", "abnormal"), ("OK", "NG"), ("Good", "Defect"), ("pass", "fail"), ("no defect", "anomaly"),
     ("i.O.", "n.i.O."), ("ok", "NOT OK"), ("Accepted", "Rejected")],
)  # fmt: skip
def test_the_usual_words_are_known(normal: str, abnormal: str) -> None:
    config = parse_config(config_of(abnormal, normal))
    assert (config.normal, config.abnormal) == ((normal,), (abnormal,))
    assert (config.image, config.choices, config.image_value) == ("img", "v", "$photo")


def test_words_of_ones_own_need_settings() -> None:
    xml = config_of("hübsch", "hässlich", "egal")
    with pytest.raises(LabelConfigUnusable, match="NORMAL_LABELS"):
        parse_config(xml)
    config = parse_config(xml, normal_labels=("HÜBSCH",), abnormal_labels=("hässlich",))
    assert config.verdict_of(chosen("hässlich")) is Verdict.ABNORMAL
    assert config.verdict_of(chosen("egal")) is None


def test_words_of_one_projects_own_leave_the_usual_ones_to_others() -> None:
    config = parse_config(config_of("OK", "NG", "unsure"), normal_labels=("hübsch",), abnormal_labels=("hässlich",))
    assert (config.normal, config.abnormal) == (("OK",), ("NG",))


def test_predictions_say_the_choice_that_the_setting_names_first() -> None:
    config = parse_config(config_of("ok", "scratch", "dent", "other"), abnormal_labels=("Other", "dent", "scratch"))
    assert config.abnormal == ("other", "dent", "scratch")


def test_of_two_choices_the_unknown_one_is_the_other_side() -> None:
    assert parse_config(config_of("good", "cracked")).abnormal == ("cracked",)


@pytest.mark.parametrize(("good", "bad"), [("👍", "👎"), ("+", "-"), ("✓", "✗")])
def test_choices_named_with_symbols_are_told_apart(good: str, bad: str) -> None:
    config = parse_config(config_of(good, bad), normal_labels=(good,), abnormal_labels=(bad,))
    assert (config.normal, config.abnormal) == ((good,), (bad,))
    assert parse_config(config_of(good, bad), normal_labels=(good,)).abnormal == (bad,)


@pytest.mark.parametrize(
    ("normal", "abnormal"), [(("fine", "crack"), ("crack",)), (("Damage",), ()), (("A+",), ("A-",))]
)
def test_a_choice_on_both_sides_is_refused(normal: tuple[str, ...], abnormal: tuple[str, ...]) -> None:
    xml = config_of("fine", "cracked", "crack", "damage", "A+", "A-")
    with pytest.raises(LabelConfigUnusable, match="means both normal and abnormal"):
        parse_config(xml, normal_labels=normal, abnormal_labels=abnormal)


@pytest.mark.parametrize("value", [[["Surface", "normal"]], [["normal"]], ["normal", 7, None, []]])
def test_a_nested_choice_says_what_its_last_part_says(value: object) -> None:
    config = parse_config(config_of("normal", "abnormal"))
    assert config.verdict_of([{"from_name": "v", "value": {"choices": value}}]) is Verdict.NORMAL


@pytest.mark.parametrize("value", [[["abnormal", "scratch"]], [["abnormal", "scratch"], ["abnormal", "dent"]]])
def test_a_kind_of_defect_says_what_the_choice_around_it_says(value: object) -> None:
    """As Label Studio's pages write it where a Choice of Choices with allowNested holds the kinds."""
    config = parse_config(config_of("normal", "abnormal", "scratch", "dent"))
    assert config.verdict_of([{"from_name": "v", "value": {"choices": value}}]) is Verdict.ABNORMAL


@pytest.mark.parametrize("value", [None, 7, "normal", [7], [[]], [[["normal"]]], [{}]])
def test_what_is_no_choice_is_ignored(value: object) -> None:
    config = parse_config(config_of("normal", "abnormal"))
    assert config.verdict_of([{"from_name": "v", "value": {"choices": value}}]) is None


def test_several_choices_can_mean_the_same() -> None:
    config = parse_config(config_of("ok", "defect", "scrap", "unsure"))
    assert config.verdict_of(chosen("scrap")) is Verdict.ABNORMAL
    assert config.verdict_of(chosen("ok", "scrap")) is None
    assert config.verdict_of(chosen("unsure")) is None
    assert config.verdict_of([]) is None


def test_the_alias_is_what_results_carry() -> None:
    xml = config_of("x").replace(
        '<Choice value="x"/>', '<Choice value="Alles gut" alias="ok"/><Choice value="Schlecht" alias="ng"/>'
    )
    assert parse_config(xml).normal == ("ok",)


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        ("", "not valid XML"),
        ("<View>", "not valid XML"),
        ("<View/>", "no Image tag"),
        ('<View><Image name="i" value="$i"/></View>', "no Choices"),
        (config_of("cat", "dog"), "no Choices"),
        (config_of("ok"), "no Choices"),
        (config_of("ok", "ng").replace('toName="img"', 'toName="other"'), "no Choices"),
        (config_of("ok", "ng").replace("<Choices ", '<Choices perRegion="true" '), "perRegion"),
        (config_of("ok", "ng").replace("Choices", "Taxonomy"), "Taxonomy"),
        (config_of("ok", "ng").replace(' value="$photo"', ' valueList="$photos"'), "valueList"),
        (config_of("ok", "ng").replace("$photo", "/logo.png"), "no Image tag"),
        (config_of("ok", "ng").replace("$photo", "$photos[{{idx}}]"), "several pictures"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + config_of("ok", "ng"), "document type"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_with_one_that_does(xml: str, reason: str) -> None:
    with pytest.raises(LabelConfigUnusable, match=reason) as refusal:
        parse_config(xml)
    assert EXAMPLE_CONFIG in str(refusal.value)
    assert parse_config(EXAMPLE_CONFIG)


def test_extras_are_those_of_the_image() -> None:
    extra = """
      <RectangleLabels name="box" toName="img"><Label value="stain"/><Label value="defect"/></RectangleLabels>
      <Number name="score" toName="img" max="100"/>
      <TextArea name="perregion" toName="img" perRegion="true"/>
      <Text name="t" value="$t"/><TextArea name="elsewhere" toName="t"/>"""
    extras = parse_config(config_of("ok", "ng", extra=extra)).extras
    assert [(control.name, control.type) for control in extras] == [("box", "rectanglelabels"), ("score", "number")]
    assert extras[0].label == "defect"
    assert extras[1].maximum == 100.0


def test_of_several_choices_that_fit_the_one_named_verdict_counts() -> None:
    light = '<Choices name="light" toName="img"><Choice value="good"/><Choice value="bad"/></Choices>'
    both = config_of("normal", "abnormal").replace("<Choices", f"{light}<Choices")
    assert parse_config(both).choices == "light"
    assert parse_config(both.replace('name="v"', 'name="verdict"')).choices == "verdict"


def test_of_several_kinds_of_defect_none_is_claimed() -> None:
    kinds = """<RectangleLabels name="box" toName="img"><Label value="scratch"/><Label value="dent"/>{}
      </RectangleLabels>"""
    [box] = parse_config(config_of("ok", "ng", extra=kinds.format(""))).extras
    assert box.label == ""
    [box] = parse_config(config_of("ok", "ng", extra=kinds.format('<Label value="anomaly"/>'))).extras
    assert box.label == "anomaly"


@pytest.mark.parametrize(
    ("control", "filled"),
    [('<Number name="anomaly_score"', True), ('<Number name="scratches"', False), ('<TextArea name="Why"', True),
     ('<TextArea name="reason"', True), ('<TextArea name="comment"', False)],
)  # fmt: skip
def test_counts_and_remarks_are_left_to_people(control: str, filled: bool) -> None:
    extras = parse_config(config_of("ok", "ng", extra=f'{control} toName="img"/>')).extras
    assert bool(extras) == filled


def test_a_label_that_says_where_to_look_is_never_what_a_prediction_draws() -> None:
    extra = """
      <RectangleLabels name="area" toName="img"><Label value="Region of interest"/><Label value="x" alias="ignore"/>
      </RectangleLabels>
      <RectangleLabels name="both" toName="img"><Label value="ROI"/><Label value="stain"/></RectangleLabels>"""
    config = parse_config(config_of("ok", "ng", extra=extra))
    assert [(control.name, control.label) for control in config.extras] == [("both", "stain")]
    assert config.roi == (("area", "Region of interest"), ("both", "ROI"))
    assert config.ignore == (("area", "ignore"),)


@pytest.mark.parametrize("path", sorted(configs.FOLDER.glob("*.xml")), ids=lambda path: Path(path).stem)
def test_the_configs_that_come_with_it_fit(path: Path) -> None:
    config = parse_config(path.read_text())
    assert (config.normal, config.abnormal, config.image_value) == (("normal",), ("abnormal",), "$image")
