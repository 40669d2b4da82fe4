"""What is loaded, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "openvino",
    "fastapi",
    "huey",
    "httpx",
    "PIL",
)
FOREIGN = ("label_studio_ml", "flask", "werkzeug")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the modules are loaded once `code` has run in a fresh interpreter."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["serve", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from backend.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    assert loaded(code, HEAVY) == []


def test_the_model_package_loads_torch_only_for_those_who_use_it() -> None:
    assert loaded("import model", HEAVY) == []
    assert "torch" in loaded("from model import AnomalyDetector", HEAVY)


def test_our_own_server_never_loads_the_old_flask() -> None:
    """Label-studio-ml 1.0.9 pins one with known faults."""
    code = (
        "from backend.app import create_app\nfrom backend.services import build_services\n"
        "from backend.settings import Settings\nimport backend.server\ncreate_app(build_services(Settings()))"
    )
    assert loaded(code, FOREIGN) == []


def test_threads_that_wait_leave_the_processor_to_other_processes() -> None:
    """Server and workers share it: spinning threads make predictions slow while a training runs."""
    told = subprocess.run(
        [sys.executable, "-c", "import backend, torch; torch.ones(1)"],
        env={**os.environ, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        timeout=120,
    ).stderr
    assert "GOMP_SPINCOUNT = '0'" in told
