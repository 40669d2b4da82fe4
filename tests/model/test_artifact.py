from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from model import artifact
from model.errors import ArtifactInvalid

META = {"config": {"seed": 3}, "names": ["ä.jpg", "b"]}
ARRAYS = {"rows": np.arange(12, dtype=np.float16).reshape(3, 4), "owners": np.array([1, 2, 3], np.int32)}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_what_goes_in_comes_out() -> None:
    meta, arrays = artifact.from_bytes(artifact.to_bytes(META, ARRAYS))
    assert meta == {**META, "format": artifact.FORMAT}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


@settings(max_examples=30)
@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
)
def test_any_settings_come_out_as_they_went_in(meta: dict[str, object]) -> None:
    known = {key: value for key, value in meta.items() if key != "format"}
    found, _ = artifact.from_bytes(artifact.to_bytes(known, ARRAYS))
    assert {key: value for key, value in found.items() if key != "format"} == known


def test_a_view_of_an_array_is_saved_as_it_looks() -> None:
    turned = np.arange(12.0).reshape(3, 4).T[::2]
    _, arrays = artifact.from_bytes(artifact.to_bytes({}, {"turned": turned}))
    assert np.array_equal(arrays["turned"], turned)


def test_the_same_content_is_always_the_same_file() -> None:
    reordered = artifact.to_bytes(dict(reversed(META.items())), dict(reversed(ARRAYS.items())))
    assert reordered == artifact.to_bytes(META, ARRAYS)


def test_a_file_that_breaks_off_is_refused_wherever_it_does() -> None:
    content = artifact.to_bytes(META, ARRAYS)
    for length in range(len(content)):
        with pytest.raises(ArtifactInvalid, match="train it again"):
            artifact.from_bytes(content[:length])


def test_more_than_the_file_is_refused() -> None:
    with pytest.raises(ArtifactInvalid):
        artifact.from_bytes(artifact.to_bytes(META, ARRAYS) + b"more")


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactInvalid):
        artifact.from_bytes(content)


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    saved_by_torch = io.BytesIO()
    torch.save(trap, saved_by_torch)
    for content in (pickle.dumps(trap), saved_by_torch.getvalue()):
        with pytest.raises(ArtifactInvalid):
            artifact.from_bytes(content)
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.path.exists()


@pytest.mark.parametrize(
    "header",
    [None, {}, {"other": "{}"}, {artifact.KEY: "not JSON"}, {artifact.KEY: ""}],
    ids=["none", "empty", "of another program", "not JSON", "blank"],
)
def test_files_of_other_programs_are_refused(header: dict[str, str] | None) -> None:
    with pytest.raises(ArtifactInvalid, match="not a saved model"):
        artifact.from_bytes(save(ARRAYS, header))


@pytest.mark.parametrize(
    "header",
    ["{}", "[]", "null", "3", '{"format": 0}', '{"format": 1}', '{"format": 2}', '{"format": "2"}', '{"format": "3"}'],
)
def test_files_of_earlier_releases_are_refused(header: str) -> None:
    with pytest.raises(ArtifactInvalid, match="earlier release of label-studio-anomaly: train it again"):
        artifact.from_bytes(save(ARRAYS, {artifact.KEY: header}))


def test_a_file_of_a_newer_release_asks_for_that_release() -> None:
    header = json.dumps({"format": artifact.FORMAT + 1})
    with pytest.raises(ArtifactInvalid, match="newer release of label-studio-anomaly: update it"):
        artifact.from_bytes(save(ARRAYS, {artifact.KEY: header}))
