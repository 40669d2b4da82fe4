"""The labelling config: where a project keeps its picture, its verdict and the places of an anomaly.

A config fits when it has a Choices control on an Image whose choices mean normal and abnormal, under any of
the usual names or under names given by NORMAL_LABELS and ABNORMAL_LABELS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from backend import configs
from backend.errors import LabelConfigUnusable
from backend.task_data import variables
from model.prediction import Verdict

EXAMPLE_CONFIG = (configs.FOLDER / "verdict.xml").read_text().strip()

NORMAL_NAMES = frozenset(
    """normal good ok okay pass passed fine clean nominal regular healthy intact accept accepted io
    nodefect defectfree noanomaly flawless""".split()
)
ABNORMAL_NAMES = frozenset(
    """abnormal anomaly anomalous anomalies defect defects defective bad ng ko nok notok notgood fail failed
    failure reject rejected faulty fault damaged damage broken flawed scrap nio irregular""".split()
)
MASK_NAMES = frozenset("mask masks groundtruth groundtruths".split())
VERDICT = "verdict"
"""The name that a Choices control has which counts before others that fit."""
ROI_NAMES = frozenset("roi regionofinterest areaofinterest lookhere inspect inspectionarea".split())
IGNORE_NAMES = frozenset("ignore ignored ignorethis donotlook exclude excluded".split())
LABEL_CONTROLS = {
    "RectangleLabels": "Label",
    "BrushLabels": "Label",
    "KeyPointLabels": "Label",
    "PolygonLabels": "Label",
}
VALUE_CONTROLS = {"Number": ("score",), "TextArea": ("reason", "why", "explanation")}
"""Those that predictions fill, by a word in their names: a person's own count or remark is left to that person."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control of the config that a prediction can fill.

    tag: the XML tag, such as RectangleLabels. label: the label for anomalous places, empty where there is none that
    does not name a kind, which is for people to choose. maximum: the highest number a Number control takes.
    """

    tag: str
    name: str
    label: str = ""
    maximum: float = 1.0

    @property
    def type(self) -> str:
        """The type of its results: the tag in lower case."""
        return self.tag.lower()


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """What a labelling config offers.

    image_value: the picture's address, in terms of task.data (see task_data). image, choices: names of the two tags.
    normal, abnormal: the choices that mean so, first the one that predictions use; other: those that mean neither.
    extras: further controls.
    roi, ignore: name of the control and label of rectangles that mean, for all pictures: look here, do not look here.
    """

    image_value: str
    image: str
    choices: str
    normal: tuple[str, ...]
    abnormal: tuple[str, ...]
    extras: tuple[Control, ...]
    roi: tuple[tuple[str, str], ...] = ()
    ignore: tuple[tuple[str, str], ...] = ()
    other: tuple[str, ...] = ()

    @property
    def verdict_id(self) -> str:
        """The id that a prediction's verdict has: another once the config takes other things from predictions."""
        taken = repr((self.choices, self.normal[0], self.abnormal[0], self.extras))
        return f"verdict-{hashlib.sha256(taken.encode()).hexdigest()[:8]}"

    def verdict_of(self, result: Iterable[dict[str, Any]]) -> Verdict | None:
        """The verdict that an annotation's or prediction's result expresses; None if it has none or two."""
        said = {self._meaning(choice) for item in result for choice in self._chosen(item)} - {None}
        return said.pop() if len(said) == 1 else None

    def leaves_open(self, result: Iterable[dict[str, Any]]) -> bool:
        """Whether an annotation's result says nothing that the config asks for: no verdict, nor any other choice.

        One that draws where to look says enough.
        """
        items = list(result)
        named = any(name in self.other for item in items for choice in self._chosen(item) for name in choice)
        return self.verdict_of(items) is None and not named and not any(self.is_area(item) for item in items)

    def is_area(self, item: dict[str, Any]) -> bool:
        """Whether an item of an annotation's result is a rectangle that says where to look in all pictures."""
        return is_rectangle(item, self.roi + self.ignore)

    def _chosen(self, item: dict[str, Any]) -> Iterator[list[Any]]:
        """The names of chosen choices, each after those of the choices that it is nested in, the outermost first."""
        choices = (item.get("value") or {}).get("choices") if item.get("from_name") == self.choices else ()
        for choice in choices if isinstance(choices, list) else ():
            yield choice if isinstance(choice, list) else [choice]

    def _meaning(self, choice: Sequence[Any]) -> Verdict | None:
        """What a choice says, or else the nearest of those around it that says something."""
        for name in reversed(choice):
            if name in self.normal:
                return Verdict.NORMAL
            if name in self.abnormal:
                return Verdict.ABNORMAL
        return None


def parse_config(xml: str, *, normal_labels: Sequence[str] = (), abnormal_labels: Sequence[str] = ()) -> LabelConfig:
    """Reads a labelling config. Raises LabelConfigUnusable, showing a config that fits.

    normal_labels, abnormal_labels: the names that the choices have, where they are none of the usual ones.
    """
    root = _parse_xml(xml)
    images = {tag.get("name"): tag for tag in root.iter("Image") if variables(tag.get("value", ""))}
    if not images:
        raise _unusable(
            "it has no Image tag with a value such as $image; a valueList shows several, and a task is judged by one"
        )
    for choices in sorted(root.iter("Choices"), key=lambda tag: tag.get("name") != VERDICT):
        image = images.get(choices.get("toName"))
        if image is None or not choices.get("name") or choices.get("perRegion") == "true":
            continue
        names = [_result_name(choice) for choice in choices.iter("Choice")]
        normal, abnormal = _sides(names, normal_labels, abnormal_labels)
        if normal and abnormal:
            if "{{" in image.get("value", ""):
                raise _unusable(
                    "its Image shows several pictures of a task, by a Repeater, and a task is judged by one"
                )
            return LabelConfig(
                image_value=image.get("value", ""),
                image=image.get("name", ""),
                choices=choices.get("name", ""),
                normal=normal,
                abnormal=abnormal,
                extras=tuple(_extras(root, image.get("name", ""))),
                roi=tuple(_area_labels(root, image.get("name", ""), ROI_NAMES)),
                ignore=tuple(_area_labels(root, image.get("name", ""), IGNORE_NAMES)),
                other=tuple(name for name in names if name not in normal + abnormal),
            )
    raise _unusable(
        "it has no Choices on the image in which one choice means normal and one abnormal; a Taxonomy is none, and"
        " Choices with perRegion say nothing of the whole picture"
    )


def is_rectangle(item: dict[str, Any], meant: Iterable[tuple[str, str]]) -> bool:
    """Whether an item of a result is a rectangle with one of the meant labels, each named with its control."""
    labels = (item.get("value") or {}).get("rectanglelabels") or ()
    return not {(item.get("from_name"), label) for label in labels}.isdisjoint(meant)


def _parse_xml(xml: str) -> ElementTree.Element:
    if "<!DOCTYPE" in xml.upper() or "<!ENTITY" in xml.upper():
        raise _unusable("it declares a document type, which Label Studio does not use")
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - entities are refused above
    except (ElementTree.ParseError, ValueError) as error:
        raise _unusable(f"it is not valid XML ({error})") from error


def _unusable(reason: str) -> LabelConfigUnusable:
    return LabelConfigUnusable(
        f"The labelling config cannot be used: {reason}. Name the choices normal and abnormal, set NORMAL_LABELS"
        f" and ABNORMAL_LABELS to the names you use, or start from this config:\n{EXAMPLE_CONFIG}"
    )


def _result_name(tag: ElementTree.Element) -> str:
    """The name that results carry: Label Studio writes the alias where there is one."""
    return tag.get("alias") or tag.get("value") or ""


def _sides(
    names: Sequence[str], normal_labels: Sequence[str], abnormal_labels: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which choices mean normal and which abnormal; one side known, a lone other choice is the other side.

    Raises LabelConfigUnusable where a choice means both.
    """
    normal = _in_order(names, normal_labels) or _matching(names, NORMAL_NAMES)
    abnormal = _in_order(names, abnormal_labels) or _matching(names, ABNORMAL_NAMES)
    for name in normal:
        if name in abnormal:
            raise _unusable(
                f"its choice {name!r} means both normal and abnormal: no name may stand in both NORMAL_LABELS and"
                " ABNORMAL_LABELS; where one of them names no choice, the usual words do; case and punctuation do not"
                " count"
            )
    if len(names) == 2 and bool(normal) != bool(abnormal):
        rest = tuple(name for name in names if name not in normal + abnormal)
        return normal or rest, abnormal or rest
    return normal, abnormal


def verdict_by_folder(path: Path, root: Path) -> Verdict | None:
    """What the names of the folders between `root` and a picture say of it; None where none is a usual word."""
    names = path.relative_to(root).parent.parts
    if _matching(names, NORMAL_NAMES):
        return Verdict.NORMAL
    return Verdict.ABNORMAL if _matching(names, ABNORMAL_NAMES) else None


def is_mask(path: Path, root: Path) -> bool:
    """Whether the names of the folders between `root` and a picture say that it only marks anomalies of another one."""
    return bool(_matching(path.relative_to(root).parent.parts, MASK_NAMES))


def _matching(names: Sequence[str], wanted: Iterable[str]) -> tuple[str, ...]:
    keys = {_key(name) for name in wanted}
    return tuple(name for name in names if _key(name) in keys)


def _in_order(names: Sequence[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Likewise, in the order in which they are wanted."""
    return tuple(dict.fromkeys(name for label in wanted for name in _matching(names, [label])))


def _key(name: str) -> str:
    """A name without case, spaces and punctuation; of one that is all symbols, such as +, the name."""
    return (re.sub(r"[\W_]+", "", name) or name.strip()).casefold()


def _extras(root: ElementTree.Element, image: str) -> Iterable[Control]:
    for tag in root.iter():
        name = tag.get("name")
        if tag.get("toName") != image or not name or tag.get("perRegion") == "true":
            continue
        if tag.tag in LABEL_CONTROLS:
            labels = [_result_name(label) for label in tag.iter(LABEL_CONTROLS[tag.tag])]
            areas = _matching(labels, ROI_NAMES | IGNORE_NAMES)
            others = [label for label in labels if label not in areas]
            meant = _matching(labels, ABNORMAL_NAMES)
            if meant or others:
                yield Control(tag.tag, name, meant[0] if meant else _only(others))
        elif any(word in _key(name) for word in VALUE_CONTROLS.get(tag.tag, ())):
            yield Control(tag.tag, name, maximum=_number(tag.get("max"), 1.0))


def _only(labels: Sequence[str]) -> str:
    """The label, where there is one; of several, such as scratch and dent, none is known to be true."""
    return labels[0] if len(labels) == 1 else ""


def _area_labels(root: ElementTree.Element, image: str, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Name and label of the rectangles on the image whose label is one of the names."""
    for tag in root.iter("RectangleLabels"):
        if tag.get("toName") == image and tag.get("name"):
            labels = [_result_name(label) for label in tag.iter("Label")]
            yield from ((tag.get("name", ""), label) for label in _matching(labels, names))


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
