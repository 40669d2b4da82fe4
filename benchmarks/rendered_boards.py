"""Rendered circuit boards: photographs of specimens of one layout, flawless or with one fault.

Each specimen differs in light, place, shade and noise. On faulty ones a component is missing, moved, turned or another
than it should be, there is a scratch or a blob of solder, or the board lies mirrored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

WIDTH, HEIGHT = 640, 480
COMPONENTS, TRACES, GAP = 24, 50, 14
GROUNDS = ((25, 85, 45), (30, 50, 110), (28, 30, 32))
FAULTS = ("missing", "moved", "turned", "swapped", "scratch", "blob", "mirrored")
SIZES = {"chip": (80, 50), "resistor": (28, 14), "capacitor": (22, 16), "can": (34, 34), "lamp": (18, 18)}
SHADES = {"chip": 38, "resistor": 28, "capacitor": 140, "can": 180, "lamp": 228}
METAL, HOLE, PRINT, BARE = (192, 190, 182), (185, 170, 110), (150, 150, 150), (165, 165, 150)

Pixels = NDArray[np.float32]


class Component(NamedTuple):
    """kind: one of SIZES. x, y: its middle. upright: turned by a quarter. reversed: turned by half. name: printed."""

    kind: str
    x: float
    y: float
    upright: bool
    name: str
    reversed: bool = False

    @property
    def half(self) -> tuple[float, float]:
        """Half its width and height."""
        width, height = SIZES[self.kind]
        return (height / 2, width / 2) if self.upright else (width / 2, height / 2)

    def box(self, margin: float = 0) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, so many pixels farther in."""
        across, down = self.half
        return (self.x - across + margin, self.y - down + margin, self.x + across - margin, self.y + down - margin)


class Layout(NamedTuple):
    """Where everything is. traces: lines, float64 (N, 4). ground: the colour of the board."""

    components: list[Component]
    traces: NDArray[np.float64]
    ground: tuple[int, int, int]


def layout(number: int) -> Layout:
    """One of any number of layouts."""
    rng = np.random.default_rng(number)
    placed: list[Component] = []
    while len(placed) < COMPONENTS:
        kind, (x, y) = str(rng.choice(list(SIZES))), rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
        new = Component(kind, x, y, bool(rng.random() < 0.5), f"IC{len(placed)}")
        if not any(_too_near(new, other) for other in placed):
            placed.append(new)
    start, length = rng.uniform((0, 0), (WIDTH, HEIGHT), (TRACES, 2)), rng.uniform(60, 240, (TRACES, 1))
    across = rng.random((TRACES, 1)) < 0.5
    traces = np.hstack([start, start + length * np.hstack([across, ~across])])
    return Layout(placed, traces, GROUNDS[number % len(GROUNDS)])


def _too_near(one: Component, other: Component) -> bool:
    (a, b), (c, d) = one.half, other.half
    return abs(one.x - other.x) < a + c + GAP and abs(one.y - other.y) < b + d + GAP


def specimen(plan: Layout, seed: int, fault: str = "") -> Image.Image:
    """A photograph of one board of this layout. fault: one of FAULTS, or none."""
    rng = np.random.default_rng(seed)
    board = Image.new("RGB", (WIDTH, HEIGHT), plan.ground)
    draw = ImageDraw.Draw(board)
    for x, y, to_x, to_y in plan.traces:
        draw.line((x, y, to_x, to_y), fill=tuple(channel * 5 // 4 + 8 for channel in plan.ground), width=3)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=HOLE)
    faulty = int(rng.integers(len(plan.components)))
    for number, component in enumerate(plan.components):
        _pads(draw, component)
        x, y = rng.normal((component.x, component.y), 0.8)
        mounted = _mounted(component._replace(x=x, y=y), fault if number == faulty else "", rng)
        if mounted:
            _body(draw, mounted, SHADES[mounted.kind] + int(rng.normal(0, 5)))
    _damage(draw, fault, rng)
    photograph = _photograph(board, plan.ground, rng)
    return ImageOps.mirror(photograph) if fault == "mirrored" else photograph


def _pads(draw: ImageDraw.ImageDraw, component: Component) -> None:
    """Two rows of pins beside a chip, the two ends of the others."""
    across, down = component.half
    along, beside = (down, across) if component.upright else (across, down)
    if component.kind == "chip":
        places = [(place * along, side * (beside + 4)) for place in np.arange(-7, 8, 2) / 8 for side in (-1, 1)]
    else:
        places = [(side * (along + 1), 0.0) for side in (-1, 1)]
    size = 3 if component.kind == "chip" else 7
    for place in places:
        x, y = reversed(place) if component.upright else place
        draw.rectangle(_around(component.x + x, component.y + y, size), fill=METAL)


def _mounted(component: Component, fault: str, rng: np.random.Generator) -> Component | None:
    """As it ends up on the board; None where it is missing."""
    if fault == "missing":
        return None
    if fault == "moved":
        aside = max(9.0, min(component.half)) * rng.choice([-1, 1])
        return component._replace(x=component.x + aside, y=component.y + aside * rng.choice([-1, 0, 1]))
    if fault == "turned":
        marked = component.kind in ("chip", "can")  # whose ends can be told from one another
        return component._replace(reversed=marked, upright=component.upright != (not marked))
    if fault == "swapped":
        return component._replace(kind=str(rng.choice([kind for kind in SIZES if kind != component.kind])))
    return component


def _body(draw: ImageDraw.ImageDraw, component: Component, shade: int) -> None:
    if component.kind == "can":
        draw.ellipse(component.box(), fill=(50, 55, 90))
        draw.ellipse(component.box(4), fill=(shade, shade, shade + 5))
        start = 140 if component.reversed else -40
        draw.pieslice(component.box(), start, start + 80, fill=(215, 215, 220))
        return
    draw.rectangle(component.box(), fill=(shade, shade - 3, shade * 4 // 5))
    if component.kind == "lamp":
        draw.ellipse(component.box(4), fill=(240, 210, 120))
    if component.kind == "chip":
        (across, down), end = component.half, -1 if component.reversed else 1
        draw.ellipse(_around(component.x - end * 0.75 * across, component.y - end * 0.6 * down, 3), fill=(95, 95, 95))
        draw.text((component.x - 14, component.y - 6), component.name, fill=PRINT)


def _damage(draw: ImageDraw.ImageDraw, fault: str, rng: np.random.Generator) -> None:
    x, y = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
    if fault == "scratch":
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(30, 70)
        draw.line((x, y, x + length * np.cos(angle), y + length * np.sin(angle)), fill=BARE, width=2)
    if fault == "blob":
        draw.ellipse(_around(x, y, rng.uniform(5, 9)), fill=(200, 200, 195))


def _around(x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    return (x - reach, y - reach, x + reach, y + reach)


def _photograph(board: Image.Image, ground: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """As a camera sees it, turned by some 0.4 degrees and moved by some 2.5 pixels."""
    angle, (right, down) = rng.normal(0, 0.4), rng.normal(0, 2.5, 2)
    moved = board.rotate(angle, Image.Resampling.BICUBIC, translate=(right, down), fillcolor=ground)
    pixels = np.asarray(moved.filter(ImageFilter.GaussianBlur(0.8)), np.float32)
    lit = pixels * (1 + 0.05 * _waves(rng, 160))[..., None] * rng.normal(1, 0.04)
    noisy = lit + 2.5 * _waves(rng, 3)[..., None] + rng.normal(0, 3, pixels.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _waves(rng: np.random.Generator, length: int) -> Pixels:
    """Smooth noise of about this wavelength, float32 (HEIGHT, WIDTH)"""
    coarse = rng.normal(0, 1, (HEIGHT // length + 2, WIDTH // length + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
