"""EfficientNet-Lite up to a chosen block: the convolutional network that the default backbones use.

Tan and Le, "EfficientNet" (2019), in the Lite variant: no squeeze-and-excitation, ReLU6 instead of swish, a
stem that is not scaled. Parameter names follow the published PyTorch checkpoints, so that a state dict loads
as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the odd pixel goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pad_h, pad_w = (
            max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
            for side, stride, kernel in zip(x.shape[-2:], self.stride, self.kernel_size, strict=True)
        )
        if pad_h % 2 == 0 and pad_w % 2 == 0:
            padding = (pad_h // 2, pad_w // 2)
        else:
            x = F.pad(x, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
            padding = (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1."""

    def __init__(self, inputs: int, stage: Stage, stride: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.residual = stride == 1 and inputs == outputs
        if stage.expansion > 1:
            self._expand_conv = SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=BATCH_NORM_EPS)
        self._depthwise_conv = SameConv2d(hidden, hidden, stage.kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=BATCH_NORM_EPS)
        self._project_conv = SameConv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if hasattr(self, "_expand_conv"):
            y = F.relu6(self._bn0(self._expand_conv(y)))
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return torch.add(x, y) if self.residual else y

    def fuse(self) -> None:
        """Folds each batch norm into its convolution: same numbers, fewer passes over memory."""
        pairs = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        for conv, norm in pairs:
            if hasattr(self, conv):
                _fuse(self, conv, norm)


class EfficientNetLite(nn.Module):
    """The stem and the blocks 0 to max(taps).

    width, depth: the scaling factors of the variant. taps: indices of the blocks whose outputs are returned.
    """

    def __init__(self, width: float, depth: float, taps: Sequence[int]) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=BATCH_NORM_EPS)
        self._blocks = nn.ModuleList(_blocks(width, depth)[: max(taps) + 1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: float32 (B, 3, H, W), (pixel - 127) / 128 -> one (B, C, h, w) for each tap."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        outputs = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.taps:
                outputs.append(x)
        return outputs

    def fuse(self) -> EfficientNetLite:
        """Prepares for inference: evaluation mode, batch norms folded away."""
        self.eval()
        _fuse(self, "_conv_stem", "_bn0")
        for block in self._blocks:
            block.fuse()  # type: ignore[operator]
        return self

    def load_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Loads a full published checkpoint; the blocks and head beyond the last tap are left out."""
        wanted = self.state_dict().keys()
        self.load_state_dict({name: state[name] for name in wanted}, strict=True)


def _blocks(width: float, depth: float) -> list[Block]:
    blocks: list[Block] = []
    inputs = 32
    for index, stage in enumerate(STAGES):
        outputs = _round_channels(stage.channels * width)
        scaled = index not in (0, len(STAGES) - 1)
        repeats = math.ceil(stage.repeats * depth) if scaled else stage.repeats
        for repeat in range(repeats):
            blocks.append(Block(inputs, stage, stage.stride if repeat == 0 else 1, outputs))
            inputs = outputs
    return blocks


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not more than 10 % below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _fuse(module: nn.Module, conv: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
    setattr(module, conv, fused)
    setattr(module, norm, nn.Identity())
