"""`train`, `predict`, `evaluate` and `export` on plain folders, as one runs them in a terminal."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from backend.cli import main
from backend.demo.project import PICTURES
from tests.bad_pictures import broken_pictures
from tests.model.test_orientation import board


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object) -> Done:
    """The command in this process; the installed one is tried in test_package."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as refusal:  # argparse's
            code = int(refusal.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def copy(folder: Path, **pictures: list[Path]) -> None:
    """Puts pictures into sub-folders of these names; a double underscore stands for a folder in a folder."""
    for name, paths in pictures.items():
        target = folder / name.replace("__", "/")
        target.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, normal_pictures: list[Path]) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    copy(root, morning=normal_pictures[1:12:2], evening__late=normal_pictures[:12:2])
    (root / "evening" / "broken.jpg").write_bytes(broken_pictures(normal_pictures[0])["truncated jpeg"][0])
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, Done]:
    model = folder / "out" / "model.safetensors"
    return model, run("train", folder, "--output", model)


def test_training_tells_how_many_pictures_count_as_one_part_with_another(
    tmp_path: Path, normal_pictures: list[Path]
) -> None:
    for path in normal_pictures[1:9]:
        shutil.copy(path, tmp_path)
        with Image.open(path) as picture:
            picture.save(tmp_path / f"again-{path.name}", quality=85)
    done = run("train", tmp_path, "--output", tmp_path / "it.model")
    assert "16 of them are so like another that they count as one part with it" in done.stderr


def test_training_tells_that_all_lie_one_way(tmp_path: Path) -> None:
    for seed in range(5):
        board(seed).save(tmp_path / f"{seed}.png")
    done = run("train", tmp_path, "--output", tmp_path / "it.model")
    assert "all lie one way: one that is mirrored or flipped or turned is called abnormal" in done.stderr
    done = run("train", tmp_path, "--output", tmp_path / "it.model", "--orientation", "free")
    assert "lie one way" not in done.stderr


def test_training_walks_folders_and_reports_what_is_broken(
    trained: tuple[Path, Done],
) -> None:
    model, done = trained
    assert done.returncode == 0, done.stderr
    assert model.is_file()
    assert "broken.jpg: damaged or incomplete" in done.stderr
    assert "learned from 12 normal pictures" in done.stderr
    assert "so like another" not in done.stderr  # but for two photographs of one cookie
    assert "least like the others, please check too: " in done.stderr
    assert done.stdout == ""


def test_what_cannot_be_learned_with_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    done = run("train", folder, "--output", tmp_path / "model", "--image-size", 10)
    assert done.returncode == 2
    assert done.stderr == "label-studio-anomaly: image_size must be at least 32, not 10\n"


def test_one_json_object_a_picture(
    trained: tuple[Path, Done], folder: Path, abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    done = run("predict", abnormal_pictures[0], folder, "--model", trained[0], "--json", "--save", tmp_path)
    assert done.returncode == 1, "broken.jpg cannot be read"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 14
    assert {"path", "score", "raw_score", "p_value", "verdict", "regions", "error"} <= rows[0].keys()
    assert rows[0]["verdict"] == "abnormal"
    assert rows[0]["regions"]
    broken = next(row for row in rows if row["path"].endswith("broken.jpg"))
    assert broken["verdict"] is None
    assert "damaged" in broken["error"]
    assert len(list(tmp_path.rglob("*.heatmap.jpg"))) == 13


def test_a_table_for_people(trained: tuple[Path, Done], abnormal_pictures: list[Path]) -> None:
    done = run("predict", abnormal_pictures[0], "--model", trained[0])
    assert "verdict" in done.stdout.splitlines()[0]
    assert "abnormal" in done.stdout.splitlines()[1]


def test_verdicts_are_compared_with_the_names_of_folders(
    trained: tuple[Path, Done],
    normal_pictures: list[Path],
    abnormal_pictures: list[Path],
    tmp_path: Path,
) -> None:
    copy(tmp_path, good=[*normal_pictures[12:16], normal_pictures[0]], defect__hole=abnormal_pictures[:3])
    shutil.copy(abnormal_pictures[4], tmp_path)
    done = run("evaluate", tmp_path, "--model", trained[0], "--json")
    found = json.loads(done.stdout)
    assert (found["normals"], found["abnormals"]) == (4, 3)
    assert found["recall"]["k"] == found["true_positives"] >= 2
    assert "counted as normal: good (4)" in done.stderr
    assert "counted as abnormal: defect/hole (3)" in done.stderr
    assert "learned them: 1" in done.stderr
    assert "in no sub-folder: 1" in done.stderr
    assert "anomalies found" in run("evaluate", tmp_path, "--model", trained[0]).stdout


def test_learned_pictures_are_not_what_a_model_is_compared_with(
    trained: tuple[Path, Done], normal_pictures: list[Path], tmp_path: Path
) -> None:
    copy(tmp_path, normal=normal_pictures[:4])
    done = run("evaluate", tmp_path, "--model", trained[0])
    assert done.returncode == 2
    assert done.stdout == ""
    assert "learned them: 4" in done.stderr
    assert "give pictures that were not learned" in done.stderr


def test_a_folder_that_is_not_sorted_is_not_evaluated(
    trained: tuple[Path, Done], folder: Path, normal_pictures: list[Path], tmp_path: Path
) -> None:
    shutil.copy(normal_pictures[20], tmp_path)
    for unsorted in (tmp_path, folder):
        done = run("evaluate", unsorted, "--model", trained[0])
        assert done.returncode == 2
        assert "sub-folders, one called normal and one abnormal" in done.stderr


def test_a_model_is_exported_once_it_judges_the_same(
    trained: tuple[Path, Done], abnormal_pictures: list[Path], tmp_path: Path
) -> None:
    done = run("export", trained[0], tmp_path / "cookies.xml", "--pictures", *abnormal_pictures[:2])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cookies.xml").is_file()
    assert "the same verdicts on 2 pictures" in done.stderr
    assert "the one it came from" in done.stderr
    assert "uint8 (1, 320, 320, 3)" in done.stderr


def test_a_picture_that_cannot_be_compared_is_named(trained: tuple[Path, Done], tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    done = run("export", trained[0], tmp_path / "cookies.xml", "--pictures", tmp_path / "empty.jpg")
    assert done.returncode == 1
    assert "empty.jpg: the file is empty" in done.stderr


def test_an_unusual_picture_is_learned_once_it_is_trusted(tmp_path: Path, normal_pictures: list[Path]) -> None:
    pictures = tmp_path / "pictures"
    copy(pictures, morning=normal_pictures[1:12])
    with Image.open(normal_pictures[12]) as picture:
        picture.rotate(37).save(pictures / "morning" / "dropped.jpg")
    arguments = ("train", pictures, "--output", tmp_path / "model", "--image-size", 128)
    refused = run(*arguments)
    assert "left out, probably not normal, please check: morning/dropped.jpg" in refused.stderr
    assert "after --trusted" in refused.stderr
    for trusted in ("morning/dropped.jpg", "morning", "."):
        done = run(*arguments, "--trusted", trusted)
        assert "learned from 12 normal pictures" in done.stderr
        assert "left out" not in done.stderr
    unknown = run(*arguments, "--trusted", "evening")
    assert unknown.returncode == 2
    assert "evening is none of the pictures to learn from" in unknown.stderr


def test_heat_maps_of_pictures_with_one_name_are_kept_apart(
    trained: tuple[Path, Done], normal_pictures: list[Path], tmp_path: Path
) -> None:
    pictures, heat = tmp_path / "pictures", tmp_path / "heat"
    for name in ("a/x/y/z/1.jpg", "b/x/y/z/1.jpg", "b/x/y/z/1.png"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(normal_pictures[0], pictures / name)
    run("predict", pictures / "a" / ".." / "b", pictures / "a", "--model", trained[0], "--save", heat)
    kept = [path.relative_to(heat).as_posix() for path in sorted(heat.rglob("*.jpg"))]
    assert kept == [f"{name}.heatmap.jpg" for name in ("a/x/y/z/1.jpg", "b/x/y/z/1.jpg", "b/x/y/z/1.png")]
    run("predict", pictures / "a" / "x" / "y" / "z" / "1.jpg", "--model", trained[0], "--save", heat)
    assert (heat / "1.jpg.heatmap.jpg").is_file()


def test_whoever_reads_the_table_may_stop(trained: tuple[Path, Done], folder: Path) -> None:
    command = [sys.executable, "-m", "backend", "predict", folder, "--model", trained[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert "Traceback" not in told
    assert "Broken pipe" not in told
    assert process.returncode == 141


def test_where_no_model_can_be_written_is_told_before_pictures_are_read(folder: Path) -> None:
    done = run("train", folder, "--output", "/proc/m")
    assert done.returncode == 2
    assert "cannot be read or written" in done.stderr
    assert "broken.jpg" not in done.stderr


def test_heat_maps_where_nothing_can_be_written(trained: tuple[Path, Done], abnormal_pictures: list[Path]) -> None:
    done = run("predict", abnormal_pictures[0], "--model", trained[0], "--save", "/proc/x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "/proc/x cannot be read or written" in done.stderr


def test_sorted_folders_teach_the_normal_ones_only(
    tmp_path: Path, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    copy(tmp_path, good=normal_pictures[:6], defect=abnormal_pictures[:2])
    done = run("train", tmp_path, "--output", tmp_path / "model")
    assert "learned from 6 normal pictures" in done.stderr
    assert "provisional" in done.stderr


def test_normal_pictures_are_found_however_deep_their_folders_lie(
    tmp_path: Path, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    copy(tmp_path, train__good=normal_pictures[:5], test__good=normal_pictures[5:7], test__crack=abnormal_pictures[:2])
    done = run("train", tmp_path, "--output", tmp_path / "model")
    assert "learning from test/good (2), train/good (5) only" in done.stderr
    assert "learned from 7 normal pictures" in done.stderr


def test_masks_are_neither_learned_nor_judged(
    trained: tuple[Path, Done], tmp_path: Path, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    """As in MVTec AD, where `ground_truth/crack` marks the places of `test/crack`."""
    copy(tmp_path, test__good=normal_pictures[12:16], test__crack=abnormal_pictures[:3])
    copy(tmp_path, ground_truth__crack=abnormal_pictures[:3])
    done = run("evaluate", tmp_path, "--model", trained[0])
    assert "left out, as the names say that these are masks: ground_truth/crack (3)" in done.stderr
    assert "counted as abnormal: test/crack (3)" in done.stderr
    shutil.rmtree(tmp_path / "test")
    for path in normal_pictures[:5]:
        shutil.copy(path, tmp_path)
    assert "learned from 5 normal pictures" in run("train", tmp_path, "--output", tmp_path / "model").stderr


def test_what_lies_in_an_abnormal_folder_is_not_learned(
    tmp_path: Path, normal_pictures: list[Path], abnormal_pictures: list[Path]
) -> None:
    copy(tmp_path, defects__hole=abnormal_pictures[:2])
    refused = run("train", tmp_path, "--output", tmp_path / "model")
    assert refused.returncode == 2
    assert "lie in folders called abnormal" in refused.stderr
    for path in normal_pictures[:5]:
        shutil.copy(path, tmp_path)
    done = run("train", tmp_path, "--output", tmp_path / "model")
    assert "left out, as the names say that these are abnormal: defects/hole (2)" in done.stderr
    assert "learned from 5 normal pictures" in done.stderr


def test_a_script_notices_that_nothing_was_judged(trained: tuple[Path, Done], tmp_path: Path) -> None:
    for nothing, reason in ((tmp_path, "no pictures below"), (tmp_path / "nowhere", "the file does not exist")):
        done = run("predict", nothing, "--model", trained[0])
        assert done.returncode == 1
        assert reason in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "nowhere", "--output", "m"], "is not a folder"),
        (["predict", "picture.jpg", "--model", "nowhere"], "cannot be read"),
        (["train", ".", "--output", "m", "--alarm-rate", "7"], "alarm_rate must be more than 0 and less than 1"),
        (["train", PICTURES / "normal", "--output", "."], "is a folder: name a file in it"),
        (["train", ".", "--output", "m", "--alarm-rate", "abc"], "--alarm-rate: invalid float"),
        (["train", ".", "--output", "m", "--image-size", "20"], "image_size must be at least"),
        (["train", ".", "--output", "m", "--tiles", "3by3"], "such as 2x3"),
        (["train", PICTURES / "normal", "--output", "/proc/x/m"], "/proc/x cannot be read or written"),
        (["train", PICTURES / "normal", "--output", "m", "--device", "gpu"], "no device is called 'gpu'"),
        (["dance"], "invalid choice"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_a_folder_without_pictures_teaches_nothing(tmp_path: Path) -> None:
    done = run("train", tmp_path, "--output", tmp_path / "m")
    assert done.returncode == 1
    assert f"no pictures below {tmp_path}" in done.stderr
