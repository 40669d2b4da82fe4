"""What users install: built, installed into an environment of its own and tried from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from backend.demo.processes import Program
from tests.conftest import free_port

ROOT = Path(__file__).parents[1]


def run(command: Sequence[str | Path], folder: Path) -> str:
    """What the command prints, without the checkout in reach."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT], folder)
    return folder


@pytest.fixture(scope="module")
def binaries(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and sees the packages that it needs in ours.

    Those are 5 GB, so that they are not installed once more; the wheel is, on its own.
    """
    folder = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", folder / "venv"], folder)
    binaries = folder / "venv" / "bin"
    [wheel] = distributions.glob("*.whl")
    run([binaries / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel], folder)
    packages = run([binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder)
    (Path(packages.strip()) / "ours.pth").write_text(sysconfig.get_path("purelib"))
    return binaries


def test_sdist_has_what_its_readers_need(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "model/py.typed", "backend/py.typed"} <= names


def test_the_installed_packages_are_tried_and_not_the_checkout(binaries: Path, tmp_path: Path) -> None:
    code = "import backend, model; print(backend.__file__); print(model.__file__)"
    for line in run([binaries / "python", "-c", code], tmp_path).splitlines():
        assert Path(line).is_relative_to(binaries.parent)


def test_what_it_needs_is_declared_and_fits(binaries: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in run([binaries / "python", "-m", "pip", "check"], tmp_path)


def test_folders_are_learned_and_judged(binaries: Path, tmp_path: Path) -> None:
    program = binaries / "label-studio-anomaly"
    shipped = "from backend.demo.project import PICTURES; print(PICTURES)"
    pictures = Path(run([binaries / "python", "-c", shipped], tmp_path).strip())
    assert pictures.is_relative_to(binaries.parent)
    (tmp_path / "good").mkdir()
    for picture in sorted((pictures / "normal").glob("*.jpg"))[:8]:
        shutil.copy(picture, tmp_path / "good")
    run([program, "train", "good", "--output", "cookies.model"], tmp_path)
    strange = sorted((pictures / "abnormal").glob("*.jpg"))[:3]
    table = run([program, "predict", *strange, "--model", "cookies.model"], tmp_path)
    assert len(table.splitlines()) == 4
    assert "abnormal" in table


def test_it_serves_its_pages(binaries: Path, tmp_path: Path) -> None:
    port = free_port()
    command = f"cd {tmp_path} && exec {binaries}/label-studio-anomaly serve --host 127.0.0.1 --port {port}"
    program = Program("the server", ["bash", "-c", command], tmp_path / "server.log", environment())
    try:
        url = f"http://127.0.0.1:{port}"
        program.wait_until_up(f"{url}/health", 120)
        assert httpx.get(f"{url}/versions").json() == {"versions": []}
        assert "<h1" in httpx.get(f"{url}/", headers={"Accept": "text/html"}).text
        assert httpx.get(f"{url}/static/page.js").status_code == 200
    finally:
        program.stop()
