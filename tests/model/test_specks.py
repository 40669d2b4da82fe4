from __future__ import annotations

import numpy as np
import pytest
import torch

from model.specks import specks

CELL = 16


@pytest.fixture
def ground() -> torch.Tensor:
    """float32 (1, 3, 128, 128), a surface with a little noise."""
    generator = torch.Generator().manual_seed(0)
    return 100 + 2 * torch.rand(1, 1, 128, 128, generator=generator).expand(1, 3, 128, 128)


def test_each_cell_has_its_brightest_and_its_darkest_speck(ground: torch.Tensor) -> None:
    assert specks(ground, CELL).shape == (1, 6, 8, 8)


@pytest.mark.parametrize(("grey", "kinds"), [(200, [0, 1, 2]), (20, [3, 4, 5])])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_speck_stands_out_around_where_it_is(ground: torch.Tensor, grey: float, kinds: list[int], side: int) -> None:
    spoilt = ground.clone()
    spoilt[..., 70 : 70 + side, 40 : 40 + side] = grey
    plain, found = (specks(picture, CELL)[0] for picture in (ground, spoilt))
    strength = found[kinds].amax(dim=0)
    rows, columns = np.nonzero((strength > 3 * plain.max()).numpy())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 1, 3)


def test_other_light_changes_little(ground: torch.Tensor) -> None:
    ground[..., 70:73, 40:43] = 20
    assert torch.allclose(specks(1.2 * ground, CELL), specks(ground, CELL), rtol=0.25, atol=0.02)


def test_an_empty_picture_has_none() -> None:
    assert float(specks(torch.full((1, 3, 128, 128), 127.0), CELL).abs().max()) < 1e-4


def test_a_gradual_change_of_light_is_none() -> None:
    shaded = torch.linspace(60, 180, 128).expand(1, 3, 128, 128)
    assert float(specks(shaded, CELL).max()) < 0.05
