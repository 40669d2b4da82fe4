from __future__ import annotations

import numpy as np
import pytest
import torch

from model.strokes import DIRECTIONS, strokes

CELL = 8


@pytest.fixture
def rough() -> torch.Tensor:
    """float32 (1, 3, 64, 64), a surface of even roughness."""
    generator = torch.Generator().manual_seed(0)
    return 100 + 20 * torch.rand(1, 1, 64, 64, generator=generator).expand(1, 3, 64, 64)


def test_each_cell_has_its_deviation_and_its_directions(rough: torch.Tensor) -> None:
    assert strokes(rough, CELL).shape == (1, 1 + DIRECTIONS, 8, 8)
    assert strokes(rough[..., :60], 14).shape == (1, 1 + DIRECTIONS, 4, 4)


def test_a_scratch_stands_out_where_it_is(rough: torch.Tensor) -> None:
    scratched = rough.clone()
    scratched[..., 40:42, 36:44] = 40
    added = (strokes(scratched, CELL) - strokes(rough, CELL))[0].norm(dim=0)
    assert np.unravel_index(int(added.argmax()), added.shape)[0] in (4, 5)
    assert added[4:7, 3:7].mean() > 5 * added[:2].mean()


def test_an_edge_counts_for_the_side_that_is_brighter(rough: torch.Tensor) -> None:
    brighter_right, brighter_below = torch.full_like(rough, 50), torch.full_like(rough, 50)
    brighter_right[..., 36:] = 150
    brighter_below[..., 36:, :] = 150
    right, below = (strokes(picture, CELL)[0, 1:, 4, 4] for picture in (brighter_right, brighter_below))
    assert int(right.argmax()) == 0
    assert int(below.argmax()) == DIRECTIONS // 4
    assert right[DIRECTIONS // 2] == pytest.approx(0, abs=1e-4)


def test_other_light_and_contrast_change_little(rough: torch.Tensor) -> None:
    plain = strokes(rough, CELL)
    assert torch.allclose(strokes(1.3 * rough, CELL), plain, rtol=0.1)
    flatter = 110 + 0.7 * (rough - 110)
    assert torch.allclose(strokes(flatter, CELL), plain, rtol=0.15)


def test_an_empty_picture_has_none() -> None:
    found = strokes(torch.full((1, 3, 64, 64), 127.0), CELL)
    assert bool(torch.isfinite(found).all())
    assert float(found.max()) < 0.2


def test_the_neighbour_in_a_batch_does_not_matter(rough: torch.Tensor) -> None:
    other = torch.full_like(rough, 30.0)
    assert torch.allclose(strokes(torch.cat([other, rough]), CELL)[1], strokes(rough, CELL)[0], atol=1e-5)
