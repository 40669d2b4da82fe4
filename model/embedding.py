"""Pictures to patch embeddings, in batches; a picture that cannot be read costs only its own place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model.alterations import ALTERATIONS
from model.area import Area
from model.backbone import BACKBONES, BATCHES_ON_GPU, Backbone, shared_backbone
from model.devices import find_device, search_device
from model.errors import ImageUnreadable
from model.images import MAX_PIXELS, ImageSource, read_image, to_array
from model.tiling import WHOLE, Grid, Pixels, canvas, cut, stitch
from model.weights import fingerprint

BATCH = 8
MOST_READERS = 8
"""Pictures decoded at once: each may take 3 bytes a pixel."""
BLANK = np.uint8(127)
WHOLE_PICTURE = Area()
LAYOUT = 5
"""Counts up when embeddings of the same picture change, so that nobody mixes old ones with new ones."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """A picture as the detector sees it.

    layers: its patch embeddings, float16 (h, w, C) for each layer of the network, then its strokes and specks. width,
    height: pixels of the upright picture.
    """

    layers: tuple[Tensor, ...]
    width: int
    height: int

    @property
    def of_network(self) -> tuple[Tensor, ...]:
        """The layers without strokes and specks: each is coarser than the one before it."""
        coarser = [above.shape[0] > below.shape[0] for above, below in pairwise(self.layers)]
        return self.layers[: coarser.index(False) + 1]

    @property
    def look(self) -> Tensor:
        """The mean patch embedding of every layer of the network, one after another: float32 (C,)."""
        return torch.cat([layer.float().mean(dim=(0, 1)) for layer in self.of_network])


class _Input(NamedTuple):
    """What the network sees before it is blanked and cut, uint8 (H, W, 3), and the picture's width and height."""

    pixels: NDArray[np.uint8]
    width: int
    height: int

    def altered(self, alteration: str) -> _Input:
        return self._replace(pixels=np.asarray(ALTERATIONS[alteration](Image.fromarray(self.pixels))))


class Embedder:
    """Reads pictures and embeds them with one frozen backbone, loaded when first needed.

    image_size: side in pixels of the square that every picture, or every tile of it, is resized to.
    grid: the tiles that a picture is cut into; `overlap` pixels are common to neighbours.
    area: what of the picture counts. Its frame is seen; the rest of that is blanked.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int,
        *,
        grid: Grid = WHOLE,
        area: Area = WHOLE_PICTURE,
        weights: Path | None = None,
        device: str = "auto",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        multiple = BACKBONES[backbone].multiple if backbone in BACKBONES else 1
        self.backbone_name = backbone
        self.image_size = max(multiple, round(image_size / multiple) * multiple)
        self.grid = grid
        self.area = area
        self.max_pixels = max_pixels
        self.overlap = 2 * multiple
        self.weights = weights
        self._device = device

    @property
    def key(self) -> str:
        """Names everything that embeddings depend on besides the picture."""
        custom = f"-{fingerprint(self.weights)[:12]}" if self.weights else ""
        tiles = f"-{self.grid}-{self.grid.detail}" if self.grid != WHOLE else ""
        seen = hashlib.sha256(repr((self.area, self.area.frame)).encode()).hexdigest()[:12]
        area = "" if self.area.is_whole else f"-{seen}"
        return f"{self.backbone_name}-{self.image_size}-{LAYOUT}{tiles}{area}{custom}"

    def with_grid(self, grid: Grid) -> Embedder:
        """The same embedder for other tiles."""
        return Embedder(
            self.backbone_name,
            self.image_size,
            grid=grid,
            area=self.area,
            weights=self.weights,
            device=self._device,
            max_pixels=self.max_pixels,
        )

    @cached_property
    def device(self) -> torch.device:
        """Where the network runs. Raises DeviceUnavailable."""
        return find_device(self._device)

    @property
    def search_device(self) -> torch.device:
        """Where patches are searched for. Raises DeviceUnavailable."""
        return search_device(self.device)

    @property
    def batch(self) -> int:
        """How many pictures are embedded at once: on a CPU one for each core, as more only take memory."""
        if self.device.type == "cuda":
            return max(BATCHES_ON_GPU)
        return min(BATCH, torch.get_num_threads()) if self.device.type == "cpu" else BATCH

    @cached_property
    def backbone(self) -> Backbone:
        """The network, one for all embedders of it. Raises BackboneUnavailable when its weights cannot be had."""
        return shared_backbone(self.backbone_name, self.weights, self._device, self.grid.detail)

    def embed(self, sources: Iterable[ImageSource]) -> Iterator[Embedding | ImageUnreadable]:
        """One embedding, or the reason why there is none, for each source in turn."""
        remaining = iter(sources)
        while chunk := list(islice(remaining, self.batch)):
            read = self._read_each(chunk)
            embedded = self._embed_inputs([item for item in read if not isinstance(item, ImageUnreadable)])
            yield from (item if isinstance(item, ImageUnreadable) else next(embedded) for item in read)

    def embed_altered(self, source: ImageSource, alterations: Sequence[str]) -> list[Embedding]:
        """A picture, read once, under each of `alterations` (names of ALTERATIONS). Raises ImageUnreadable."""
        read = self.read(source)
        return [*self._embed_inputs([read.altered(name) for name in alterations])]

    def _embed_inputs(self, inputs: Sequence[_Input]) -> Iterator[Embedding]:
        embedded = self._embed_tiles(tile for item in inputs for tile in self.cut(self._blank(item.pixels)))
        for item in inputs:
            tiles = list(islice(embedded, self.grid.rows * self.grid.columns))
            yield Embedding(self.stitch(tiles), item.width, item.height)

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) that the area's frame in a picture is resized to."""
        return canvas(self.grid, *self._fine)

    def cut(self, pixels: Pixels) -> list[Pixels]:
        """A picture of the canvas' size, uint8 (H, W, 3) -> its tiles, row by row."""
        return cut(pixels, self.grid, *self._fine)

    @property
    def _fine(self) -> tuple[int, int]:
        """Side and overlap of the tiles as they are read."""
        return self.grid.detail * self.image_size, self.grid.detail * self.overlap

    def stitch(self, tiles: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The layers (h, w, C) of each tile, row by row -> those of the picture."""
        return stitch(tiles, self.grid, self.image_size, self.overlap)

    def _embed_tiles(self, tiles: Iterator[NDArray[np.uint8]]) -> Iterator[tuple[Tensor, ...]]:
        while chunk := list(islice(tiles, self.batch)):
            yield from self.backbone.embed(torch.from_numpy(np.stack(chunk)))

    def _read_each(self, sources: Sequence[ImageSource]) -> list[_Input | ImageUnreadable]:
        """Side by side: Pillow decodes and resizes without holding Python's lock."""
        with ThreadPoolExecutor(min(torch.get_num_threads(), MOST_READERS)) as readers:
            return [*readers.map(self._read, sources)]

    def _read(self, source: ImageSource) -> _Input | ImageUnreadable:
        try:
            return self.read(source)
        except ImageUnreadable as error:
            return error

    def read(self, source: ImageSource) -> _Input:
        """A picture as the network gets it, before it is blanked and cut. Raises ImageUnreadable."""
        frame = self.area.frame
        enough = math.ceil(max(self.canvas) / min(frame.width, frame.height))
        picture = read_image(source, enough=enough, max_pixels=self.max_pixels)
        return _Input(to_array(picture.image, self.canvas, frame), picture.width, picture.height)

    def _blank(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.area.fills_frame:
            return pixels
        inside = self.area.inside(*pixels.shape[:2]).numpy()
        return np.where(inside[..., None], pixels, BLANK)
