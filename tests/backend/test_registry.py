from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StoreUnreachable, StoreUnwritable, UnknownVersion
from backend.registry import MOST_IN_MEMORY, Registry
from model.detector import AnomalyDetector
from model.errors import ArtifactInvalid
from tests.conftest import make_version

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.fixture(params=["folder", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_a_version_comes_back_as_it_was(root: str, detector: AnomalyDetector, normal_pictures: list[Path]) -> None:
    Registry(root).save(make_version(), detector, {"held_out": 1})
    other = Registry(root)
    assert other.version(2, "v1").training_tasks == tuple(range(1001, 1011))
    assert other.evaluation(2, "v1") == {"held_out": 1}
    again = other.detector(2, "v1").predict(normal_pictures[:1])[0]
    assert again.raw_score == pytest.approx(detector.predict(normal_pictures[:1])[0].raw_score, abs=1e-3)


def test_only_the_projects_used_last_stay_in_memory(tmp_path: Path, detector: AnomalyDetector) -> None:
    registry, projects = Registry(str(tmp_path)), range(MOST_IN_MEMORY + 1)
    for project_id in projects:
        registry.save(make_version(project_id), detector, {"held_out": project_id})

    def held(project_id: int) -> tuple[AnomalyDetector, object]:
        return registry.detector(project_id, "v1"), registry.evaluation(project_id, "v1")

    first = [held(project_id) for project_id in projects[:-1]]
    assert all(new is old for new, old in zip(held(0), first[0], strict=True))
    held(projects[-1])
    assert all(new is old for new, old in zip(held(0), first[0], strict=True))
    assert not any(new is old for new, old in zip(held(1), first[1], strict=True))


def test_a_promotion_is_seen_by_others_at_once_and_can_be_taken_back(root: str, detector: AnomalyDetector) -> None:
    mine, theirs = Registry(root), Registry(root)
    for name in ("v1", "v2"):
        mine.save(make_version(name=name, created_at=f"2026-01-01T00:00:0{name[1]}"), detector, {})
    assert theirs.current(2) is None
    mine.promote(2, "v2", "better")
    assert theirs.current(2) == "v2"
    theirs.promote(2, "v1", "rolled back")
    assert mine.current(2) == "v1"
    assert [version.name for version in mine.versions(2)] == ["v1", "v2"]


def test_another_process_sees_a_promotion_and_promotes_in_turn(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    for name in ("v1", "v2"):
        registry.save(make_version(name=name), detector, {})
    registry.promote(2, "v1", "first")
    code = (
        "import sys; from backend.registry import Registry\n"
        "registry = Registry(sys.argv[1]); print(registry.current(2)); registry.detector(2, 'v2')\n"
        "registry.promote(2, 'v2', 'second')"
    )
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "v1\n"), done.stderr
    assert registry.current(2) == "v2"
    registry.forget(2)
    assert (registry.projects(), registry.versions(2), registry.current(2)) == ([], [], None)


@pytest.mark.parametrize("name", ["nothing", "../v1", "", ".", "a/b"])
def test_only_complete_versions_are_promoted(root: str, name: str) -> None:
    with pytest.raises(UnknownVersion):
        Registry(root).promote(2, name, "by mistake")
    assert Registry(root).current(2) is None


def test_a_bucket_that_does_not_answer_is_named(unreachable_bucket: str) -> None:
    registry = Registry(unreachable_bucket)
    for ask in (registry.projects, lambda: registry.current(2), lambda: registry.knows(2)):
        with pytest.raises(StoreUnreachable, match=r"cannot be read.*check MODEL_DIR"):
            ask()
    with pytest.raises(StoreUnwritable, match=r"cannot be written.*check MODEL_DIR"):
        registry.store.write(b"a rule", 2, "rule.json")


def test_backup_and_restore_as_the_page_on_operating_says(
    tmp_path: Path, detector: AnomalyDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry("data/models")
    registry.save(make_version(), detector, {"held_out": 1})
    registry.promote(2, "v1", "it is good")
    backup, restore = re.findall(r"^(?:mkdir.*|tar .*)$", OPERATING.read_text(), re.MULTILINE)
    subprocess.run(backup, shell=True, check=True)
    shutil.rmtree("data")
    subprocess.run(restore, shell=True, check=True)
    again = Registry("data/models")
    assert again.current(2) == "v1"
    assert again.version(2, "v1") == registry.version(2, "v1")
    assert again.detector(2, "v1").to_bytes() == detector.to_bytes()


def test_promoting_the_version_in_charge_once_more_changes_nothing(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    registry.save(make_version(), detector, {})
    registry.promote(2, "v1", "first")
    promoted = registry.promotions(2)
    registry.promote(2, "v1", "asked for twice")
    assert registry.promotions(2) == promoted
    assert [promotion["reason"] for promotion in promoted] == ["first"]


def test_old_versions_go_but_never_the_one_in_charge(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    for number in range(5):
        registry.save(make_version(name=f"v{number}", created_at=f"2026-01-01T00:00:0{number}"), detector, {})
    registry.promote(2, "v1", "people chose it")
    assert registry.prune(2, 2) == ["v0", "v2"]
    assert [version.name for version in Registry(root).versions(2)] == ["v1", "v3", "v4"]
    assert Registry(root).detector(2, "v1").to_bytes() == detector.to_bytes()
    assert registry.prune(2, 2) == []


def test_what_the_version_in_charge_replaced_and_is_compared_with_is_kept(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    for number in range(7):
        registry.save(make_version(name=f"v{number}", created_at=f"2026-01-01T00:00:0{number}"), detector, {})
    registry.save_evaluation(2, "v5", {"changes": {"since": "v1"}})
    for name in ("v1", "v2", "v3", "v5"):
        registry.promote(2, name, "people chose it")
    assert registry.prune(2, 1) == ["v0", "v2", "v4"]
    assert [version.name for version in registry.versions(2)] == ["v1", "v3", "v5", "v6"]


def test_what_a_newer_release_adds_to_a_version_is_left_alone(tmp_path: Path, detector: AnomalyDetector) -> None:
    registry = Registry(str(tmp_path))
    registry.save(make_version(), detector, {})
    manifest = tmp_path / "2/versions/v1/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"of the next release": 1}))
    assert registry.version(2, "v1") == make_version(created_at=registry.version(2, "v1").created_at)


def test_a_version_of_an_older_release_is_none_of_ours(tmp_path: Path, detector: AnomalyDetector) -> None:
    registry = Registry(str(tmp_path))
    registry.save(make_version(), detector, {})
    registry.promote(2, "v1", "first")
    assert registry.in_charge(2) == registry.version(2, "v1")
    manifest = tmp_path / "2/versions/v1/manifest.json"
    known = json.loads(manifest.read_text())
    del known["trusted_tasks"]
    manifest.write_text(json.dumps(known))
    assert (registry.in_charge(2), registry.versions(2)) == (None, [])


def test_a_half_written_version_does_not_exist(tmp_path: Path, detector: AnomalyDetector) -> None:
    registry = Registry(str(tmp_path))
    registry.save(make_version(), detector, {})
    (tmp_path / "2/versions/v1/manifest.json").unlink()
    assert registry.versions(2) == []


def test_a_corrupted_model_says_so(tmp_path: Path, detector: AnomalyDetector) -> None:
    registry = Registry(str(tmp_path))
    registry.save(make_version(), detector, {})
    model = tmp_path / "2/versions/v1/model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ArtifactInvalid):
        registry.detector(2, "v1")


def test_nothing_partial_is_left_behind(tmp_path: Path, detector: AnomalyDetector) -> None:
    Registry(str(tmp_path)).save(make_version(), detector, {})
    assert not list(tmp_path.rglob("*.partial"))


def test_projects_are_remembered(root: str) -> None:
    registry = Registry(root)
    assert registry.projects() == []
    registry.remember(10)
    registry.remember(9)
    registry.remember(10)
    assert Registry(root).projects() == [9, 10]


def test_what_is_set_aside_is_whole_and_leaves_the_rest_alone(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    registry.remember(2)
    for number in (1, 2):  # the same project may be set aside twice
        registry.save(make_version(name=f"v{number}"), detector, {})
        registry.promote(2, f"v{number}", "first")
        registry.set_aside(2, 1795523440)
        assert Registry(root).current(2) is None
        assert Registry(root).names() == []
        aside = (2, "earlier", "1795523440")
        assert sorted(registry.store.names(*aside)) == ["current.json", "versions"]
        assert sorted(registry.store.names(2)) == ["earlier", "project.json"]
        assert registry.store.read(*aside, "versions", f"v{number}", "model.safetensors") == detector.to_bytes()
        assert registry.has_models(2)
    registry.forget_earlier(2, 1795523440)
    assert (registry.has_models(2), registry.projects()) == (False, [2])


def test_what_was_passed_over_stays_so_until_it_is_promoted(root: str, detector: AnomalyDetector) -> None:
    registry = Registry(root)
    for name in ("v1", "v2"):
        registry.save(make_version(name=name), detector, {})
    registry.promote(2, "v1", "first")
    registry.pass_over(2, "v2")
    assert registry.current(2) == "v1"
    registry.promote(2, "v1", "again")
    assert Registry(root).is_passed_over(2, "v2")
    registry.promote(2, "v2", "after all")
    assert not registry.is_passed_over(2, "v2")
    assert [promotion["version"] for promotion in registry.promotions(2)] == ["v1", "v2"]


def test_a_version_that_people_promote_meanwhile_stays_so_when_another_is_passed_over(
    root: str, detector: AnomalyDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, server = Registry(root), Registry(root)
    for name in ("v1", "v2", "v3"):
        worker.save(make_version(name=name), detector, {})
    worker.promote(2, "v2", "first")
    write = worker.store.write_json

    def late(*content: Any) -> None:
        server.promote(2, "v1", "put in charge by hand", by="ada")
        write(*content)

    monkeypatch.setattr(worker.store, "write_json", late)
    worker.pass_over(2, "v3")
    assert server.current(2) == "v1"
    assert [promotion["version"] for promotion in server.promotions(2)] == ["v2", "v1"]
    assert server.is_passed_over(2, "v3")


def test_what_an_early_release_passed_over_stays_so_until_it_is_promoted(
    tmp_path: Path, detector: AnomalyDetector
) -> None:
    registry = Registry(str(tmp_path))
    for name in ("v1", "v2", "v3"):
        registry.save(make_version(name=name), detector, {})
    registry.promote(2, "v1", "first")
    pointer = tmp_path / "2" / "current.json"
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"passed_over": ["v2", "v3"]}))
    assert registry.is_passed_over(2, "v2")
    registry.pass_over(2, "v2")
    registry.promote(2, "v2", "after all")
    assert [registry.is_passed_over(2, name) for name in ("v1", "v2", "v3")] == [False, False, True]


def test_a_damaged_pointer_counts_as_missing_and_a_full_disk_is_named(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    registry.remember(3)
    (tmp_path / "3" / "current.json").write_text('{"version": "v')
    assert registry.current(3) is None
    child = (
        "import resource, sys; from backend.registry import Registry; from backend.errors import StoreUnwritable\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try: Registry(sys.argv[1]).set_alarm_rate(3, 0.1)\n"
        "except StoreUnwritable as error: sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", child, str(tmp_path)], timeout=60).returncode == 7
    assert not list(tmp_path.glob("**/*.partial"))
    assert registry.rules(3) == []
