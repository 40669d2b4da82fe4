"""Training, judging, evaluating and exporting with plain folders of pictures, without Label Studio."""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from tqdm import tqdm

from backend.errors import BackendError
from backend.labels import is_mask, verdict_by_folder
from model.config import DetectorConfig
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.errors import ImageUnreadable
from model.evaluation import AreaUnderCurve, Evaluation, Rate, evaluate
from model.export import OUTPUTS, export, input_size
from model.heatmap import overlay
from model.images import pictures_below, read_image
from model.prediction import Prediction, Verdict

Item = TypeVar("Item")

MOST_STRANGE = 3
STRANGE_SHARE = 0.2


def train_folder(
    folder: Path,
    output: Path,
    config: DetectorConfig,
    *,
    trusted: Sequence[Path] = (),
    device: str = "auto",
    weights: Path | None = None,
) -> int:
    """Learns from the pictures below `folder` and writes the model; reports pictures that cannot be read.

    trusted: pictures and folders, from `folder` on, whose pictures are normal beyond doubt and never left out.
    """
    paths = _normal_pictures(folder)
    beyond_doubt = _below(trusted, [path.relative_to(folder) for path in paths])
    if output.is_dir():
        raise BackendError(f"{output} is a folder: name a file in it, such as {output / 'my.model'}")
    output.parent.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=output.parent).close()  # where nothing can be written is told before all are read
    embedder = config.embedder(weights=weights, device=device)
    detector = AnomalyDetector(config, embedder=embedder)
    detector.settle_tiles(paths)
    if config.tiles != detector.config.tiles:
        _tell(f"cutting pictures into {detector.config.tiles} tiles, by their size")
    embeddings: list[Embedding] = []
    readable: list[Path] = []
    for path, item in _each(paths, detector.embedder.embed(paths)):
        if isinstance(item, ImageUnreadable):
            _tell(f"{path}: {item}")
        else:
            embeddings.append(item)
            readable.append(path)
    names = [str(path.relative_to(folder)) for path in readable]
    altered = detector.embed_altered(readable, names)
    detector.fit_embeddings(embeddings, names, altered=altered, trusted=beyond_doubt)
    detector.save(output)
    _summarise(detector, output)
    return 0


def predict_paths(
    paths: Sequence[Path],
    model: Path,
    *,
    as_json: bool,
    save: Path | None = None,
    device: str = "auto",
    weights: Path | None = None,
) -> int:
    """Judges pictures and folders of pictures; prints a table, or one JSON object a picture.

    save: folder for heat maps, which lie in it as the pictures do in the folder that holds them all.
    Returns 1 where one of them cannot be read. Raises ImageUnreadable for a folder without pictures.
    """
    pictures = _pictures(paths)
    detector = _load(model, device=device, weights=weights)
    if save:
        save.mkdir(parents=True, exist_ok=True)
    root = os.path.commonpath([os.path.abspath(path.parent) for path in pictures])
    width = max(len(str(path)) for path in pictures)
    if not as_json:
        print(f"{'picture':{width}}  verdict   score  p-value  places  reason")
    unreadable = 0
    for path, item in _each(pictures, detector.predict_each(pictures)):
        row = _row(path, item)
        print(json.dumps(row) if as_json else _line(row, item, width), flush=True)
        if isinstance(item, ImageUnreadable):
            _tell(f"{path}: {item}")
            unreadable += 1
        elif save:
            _save_heatmap(path, item, save / f"{os.path.relpath(path, root)}.heatmap.jpg")
    return 1 if unreadable else 0


def evaluate_folder(
    folder: Path, model: Path, *, as_json: bool, device: str = "auto", weights: Path | None = None
) -> int:
    """Compares a model's verdicts with the names of sub-folders, on pictures that it has not learned.

    Returns 1 where a picture cannot be read. Raises BackendError where no name says what is normal or abnormal, or
    where nothing is left to compare.
    """
    verdicts = _verdicts(folder)
    detector = _load(model, device=device, weights=weights)
    rows: list[tuple[float, bool, bool]] = []
    compared: dict[Verdict, list[Path]] = {verdict: [] for verdict in Verdict}
    learned = unreadable = 0
    for path, item in _each(verdicts, detector.embedder.embed(verdicts)):
        if isinstance(item, ImageUnreadable):
            _tell(f"{path}: {item}")
            unreadable += 1
        elif detector.copy_of(item):
            learned += 1
        else:
            found, expected = detector.judge(item), verdicts[path]
            rows.append((found.raw_score, expected is Verdict.ABNORMAL, found.verdict is Verdict.ABNORMAL))
            compared[expected].append(path)
    for verdict, paths in compared.items():
        _tell(f"counted as {verdict.value}: {_counted(paths, folder) or 'none'}")
    if learned:
        _tell(f"left out, as the model has learned them: {learned}")
    if not rows:
        raise BackendError(f"nothing to compare below {folder}: give pictures that were not learned and can be read")
    evaluation = evaluate(*zip(*rows, strict=True))
    print(json.dumps(evaluation.to_json()) if as_json else _table(evaluation))
    return 1 if unreadable else 0


def export_model(model: Path, output: Path, pictures: Sequence[Path], *, weights: Path | None = None) -> int:
    """Writes a model as one ONNX or OpenVINO graph that judges `pictures` as it does."""
    detector = _load(model, device="cpu", weights=weights)
    parity = export(detector, output, _pictures(pictures))
    height, width = input_size(detector)
    _tell(f"saved to {output}: takes pixels, uint8 (1, {height}, {width}, 3), RGB; gives {', '.join(OUTPUTS)}")
    _tell(
        f"the same verdicts on {parity.pictures} pictures, scores within {parity.largest_difference:.1e}; the exported"
        f" model takes {parity.exported_ms:.0f} ms a picture, the one it came from {parity.detector_ms:.0f} ms"
    )
    return 0


def _load(model: Path, *, device: str, weights: Path | None) -> AnomalyDetector:
    detector = AnomalyDetector.load(model)
    detector.embedder = detector.config.embedder(weights=weights, device=device)
    return detector


def _normal_pictures(folder: Path) -> list[Path]:
    """The pictures to learn from: those in folders called normal or, where there are none, in no abnormal one."""
    if not folder.is_dir():
        raise BackendError(f"{folder} is not a folder: give one that holds pictures of normal items")
    said = {path: verdict_by_folder(path, folder) for path in _photographs(folder)}
    wanted = Verdict.NORMAL if Verdict.NORMAL in said.values() else None
    chosen = [path for path, verdict in said.items() if verdict is wanted]
    if not chosen:
        raise BackendError(f"all pictures below {folder} lie in folders called abnormal: give normal ones")
    if wanted:
        _tell(f"learning from {_counted(chosen, folder)} only: the names say that these pictures are the normal ones")
    elif left_out := [path for path, verdict in said.items() if verdict is not wanted]:
        _tell(f"left out, as the names say that these are abnormal: {_counted(left_out, folder)}")
    return chosen


def _photographs(folder: Path) -> list[Path]:
    """The pictures below a folder, without the masks that data sets keep beside them. Raises ImageUnreadable: none."""
    found = pictures_below(folder)
    masks = {path for path in found if is_mask(path, folder)}
    if masks:
        _tell(f"left out, as the names say that these are masks: {_counted(masks, folder)}")
    return [path for path in found if path not in masks]


def _below(wanted: Sequence[Path], paths: Iterable[Path]) -> set[str]:
    """The paths that are wanted, or whose folder is. Raises BackendError for one that none of them is or lies in."""
    lineages = {path: {path, *path.parents} for path in paths}
    for path in wanted:
        if not any(path in lineage for lineage in lineages.values()):
            raise BackendError(f"{path} is none of the pictures to learn from: name it from their folder on")
    return {str(path) for path, lineage in lineages.items() if not lineage.isdisjoint(wanted)}


def _counted(paths: Iterable[Path], root: Path) -> str:
    """The folders of some pictures below `root`, with how many lie in each."""
    counted = Counter(str(path.parent.relative_to(root)) for path in paths)
    return ", ".join(f"{name} ({number})" for name, number in sorted(counted.items()))


def _pictures(paths: Sequence[Path]) -> list[Path]:
    """The pictures that the paths name, or that lie below them."""
    return [picture for path in paths for picture in (pictures_below(path) if path.is_dir() else [path])]


def _verdicts(folder: Path) -> dict[Path, Verdict]:
    """What the sub-folders' names say of each picture: one that is not called normal lies in an abnormal one."""
    said = {path: verdict_by_folder(path, folder) for path in _photographs(folder)}
    if not any(said.values()):
        raise BackendError(
            f"no folder below {folder} says what is normal: sort the pictures into sub-folders, one called normal and"
            " one abnormal"
        )
    loose = sum(path.parent == folder for path in said)
    if loose:
        _tell(f"left out, as they lie in no sub-folder: {loose}")
    return {path: verdict or Verdict.ABNORMAL for path, verdict in said.items() if path.parent != folder}


def _each(paths: Iterable[Path], items: Iterable[Item]) -> Iterable[tuple[Path, Item]]:
    """Each path with what was made of it, while a bar shows how far it has come."""
    known = list(paths)
    found = zip(known, items, strict=True)
    return tqdm(found, total=len(known), desc="reading pictures", unit="picture", file=sys.stderr, disable=None)


def _row(path: Path, item: Prediction | ImageUnreadable) -> dict[str, Any]:
    if isinstance(item, ImageUnreadable):
        empty = dict.fromkeys(("score", "raw_score", "p_value", "verdict"))
        return {"path": str(path)} | empty | {"regions": [], "error": str(item)}
    return {
        "path": str(path),
        "score": item.score,
        "raw_score": item.raw_score,
        "p_value": item.p_value,
        "verdict": item.verdict.value,
        "regions": [asdict(region) for region in item.regions],
        "nearest_normal": item.nearest_normal,
        "reason": item.reason,
        "error": None,
    }


def _line(row: dict[str, Any], item: Prediction | ImageUnreadable, width: int) -> str:
    if isinstance(item, ImageUnreadable):
        return f"{row['path']:{width}}  -             -        -       -  {item}"
    return (
        f"{row['path']:{width}}  {item.verdict.value:8}  {item.score:.3f}    {item.p_value:.3f}"
        f"  {len(item.regions):6}  {item.reason}"
    )


def _table(evaluation: Evaluation) -> str:
    def percent(rate: Rate | AreaUnderCurve) -> str:
        if rate.value is None or rate.low is None or rate.high is None:
            return "-"
        return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f} %)"

    return "\n".join(
        (
            "                 called normal  called abnormal",
            f"normal           {evaluation.true_negatives:13}  {evaluation.false_positives:15}",
            f"abnormal         {evaluation.false_negatives:13}  {evaluation.true_positives:15}",
            f"false alarms     {percent(evaluation.false_alarm_rate)}",
            f"anomalies found  {percent(evaluation.recall)}",
            f"AUROC            {percent(evaluation.auroc)}",
        )
    )


def _save_heatmap(path: Path, prediction: Prediction, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    overlay(read_image(path).image, prediction.anomaly_map, prediction.pixel_threshold).save(target)


def _summarise(detector: AnomalyDetector, output: Path) -> None:
    calibration = detector.calibration
    _tell(f"learned from {len(calibration.scores)} normal pictures; saved to {output}")
    if calibration.provisional:
        _tell("the threshold is provisional: at least 10 pictures are needed for a false-alarm rate to count on")
    elif calibration.attainable_rate > calibration.alarm_rate:
        _tell(
            f"so few pictures can promise a false-alarm rate of {100 * calibration.attainable_rate:.1f} %; the"
            f" {100 * calibration.alarm_rate:g} % asked for is an estimate"
        )
    if detector.guessed:
        _tell(f"{detector.guessed} of them are so like another that they count as one part with it")
    if detector.abnormal_turns:
        _tell(f"all lie one way: one that is {' or '.join(detector.abnormal_turns)} is called abnormal")
    if detector.seems_paired:
        _tell(
            "most pictures are nearly the same as another: where they show the same part again, new parts will be"
            " called abnormal too often; give one picture of each part"
        )
    suspects = [image.name for image in detector.training if image.suspect]
    for name in suspects:
        _tell(f"left out, probably not normal, please check: {name}")
    if suspects:
        _tell("those that are normal after all: name them after --trusted, or their kind will be called abnormal")
    learned = sorted((image for image in detector.training if not image.suspect), key=lambda image: -image.raw_score)
    few = min(MOST_STRANGE, math.ceil(len(learned) * STRANGE_SHARE))
    _tell(f"least like the others, please check too: {', '.join(image.name for image in learned[:few])}")


def _tell(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
