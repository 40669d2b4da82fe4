"""The README's commands, settings and links are real."""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
OURS = ".venv/bin/label-studio-anomaly "


def test_folders_are_learned_and_judged_as_shown(tmp_path: Path) -> None:
    (tmp_path / "backend").symlink_to(ROOT / "backend")
    commands = [line.removeprefix(OURS) for line in COMMANDS if line.startswith(OURS)]
    shown = [line for line in commands if line.startswith(("train", "predict", "export"))]
    assert len(shown) == 3
    for line in shown:
        command = [sys.executable, "-m", "backend", *shlex.split(line)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        if line.startswith("predict"):
            assert len(done.stdout.splitlines()) == 46
    assert len(list((tmp_path / "heatmaps").rglob("*.heatmap.jpg"))) == 45
    assert (tmp_path / "cookies.xml").is_file()


def test_the_notebook_works_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With some of the pictures only: fewer are learned sooner."""
    monkeypatch.chdir(tmp_path)
    for kind, most in (("normal", 12), ("abnormal", 1)):
        folder = Path("backend/demo/pictures", kind)
        folder.mkdir(parents=True)
        for path in sorted((ROOT / folder).glob("*.jpg"))[:most]:
            (folder / path.name).symlink_to(path)
    page = ROOT / "docs" / "library.md"
    found = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert found.attempted > 5
    assert found.failed == 0
    [shown] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    tried = {line[4:].partition("  #")[0] for line in page.read_text().splitlines()}
    assert {line for line in shown.splitlines() if line} <= tried


@pytest.mark.parametrize("target", [line.split()[1] for line in COMMANDS if line.startswith("make ")])
def test_every_target_exists(target: str) -> None:
    assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True).returncode == 0


def test_every_setting_exists() -> None:
    known = {field.upper() for field in Settings.model_fields} | {"LABEL_STUDIO_HOST"}  # Label Studio's own
    table = README[README.index("## Settings") : README.index("## Without Label Studio")]
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", table))
    assert len(named) > 10
    assert named <= known


def test_every_file_exists() -> None:
    linked = re.findall(r"\]\(([^):]+)\)", README) + re.findall(r"`(backend/[\w/.]+|docker-compose\.yml)`", README)
    assert linked
    assert all((ROOT / path.partition("#")[0]).exists() for path in linked), linked
