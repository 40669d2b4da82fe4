"""`train`, `predict`, `evaluate` and `export` on plain folders, as one runs them in a terminal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_pictures import broken_pictures


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backend", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, normal_pictures: list[Path]) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number, path in enumerate(normal_pictures[:12]):
        target = root / ("morning" if number % 2 else "evening/late")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (root / "evening" / "broken.jpg").write_bytes(broken_pictures(normal_pictures[0])["truncated jpeg"][0])
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    model = folder / "out" / "model.safetensors"
    return model, run("train", folder, "--output", model)


def test_training_walks_folders_and_reports_what_is_broken(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    model, done = trained
    assert done.returncode == 0, done.stderr
    assert model.is_file()
    assert "broken.jpg: damaged or incomplete" in done.stderr
    assert "learned from 12 normal pictures" in done.stderr
    assert done.stdout == ""


def test_what_cannot_be_learned_with_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    done = run("train", folder, "--output", tmp_path / "model", "--image-size", 10)
    assert done.returncode == 2
    assert done.stderr == "label-studio-anomaly: image_size must be at least 32, not 10\n"


def test_one_json_object_a_picture(
    trained: tuple[Path, subprocess.CompletedProcess[str]], folder: Path, abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    done = run("predict", abnormal_pictures[0], folder, "--model", trained[0], "--json", "--save", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 14
    assert {"path", "score", "raw_score", "p_value", "verdict", "regions", "error"} <= rows[0].keys()
    assert rows[0]["verdict"] == "abnormal"
    assert rows[0]["regions"]
    broken = next(row for row in rows if row["path"].endswith("broken.jpg"))
    assert broken["verdict"] is None
    assert "damaged" in broken["error"]
    assert len(list(tmp_path.glob("*.jpg"))) == 13


def test_a_table_for_people(
    trained: tuple[Path, subprocess.CompletedProcess[str]], abnormal_pictures: list[Path]
) -> None:
    done = run("predict", abnormal_pictures[0], "--model", trained[0])
    assert "verdict" in done.stdout.splitlines()[0]
    assert "abnormal" in done.stdout.splitlines()[1]


def test_verdicts_are_compared_with_the_names_of_folders(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
    tmp_path: Path,
) -> None:
    for name, paths in {"good": normal_pictures[12:16], "defect/hole": abnormal_pictures[:3]}.items():
        (tmp_path / name).mkdir(parents=True)
        for path in paths:
            shutil.copy(path, tmp_path / name)
    done = run("evaluate", tmp_path, "--model", trained[0], "--json")
    found = json.loads(done.stdout)
    assert (found["normals"], found["abnormals"]) == (4, 3)
    assert found["recall"]["k"] == found["true_positives"] >= 2
    assert "anomalies found" in run("evaluate", tmp_path, "--model", trained[0]).stdout


def test_a_model_is_exported_once_it_judges_the_same(
    trained: tuple[Path, subprocess.CompletedProcess[str]], abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    done = run("export", trained[0], tmp_path / "cookies.xml", "--pictures", *abnormal_pictures[:2])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cookies.xml").is_file()
    assert "the same verdicts on 2 pictures" in done.stderr
    assert "uint8 (1, 320, 320, 3)" in done.stderr


def test_sorted_folders_teach_the_normal_ones_only(
    tmp_path: Path, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    for name, paths in {"good": normal_pictures[:6], "defect": abnormal_pictures[:2]}.items():
        (tmp_path / name).mkdir()
        for path in paths:
            shutil.copy(path, tmp_path / name)
    done = run("train", tmp_path, "--output", tmp_path / "model")
    assert "learned from 6 normal pictures" in done.stderr
    assert "provisional" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "nowhere", "--output", "m"], "is not a folder"),
        (["train", ".", "--output", "m"], "no pictures below"),
        (["predict", ".", "--model", "nowhere"], "cannot be read"),
        (["train", ".", "--output", "m", "--alarm-rate", "7"], "between 0 and 1"),
        (["dance"], "invalid choice"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], reason: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
