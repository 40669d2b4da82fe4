"""How well faults of rendered circuit boards are found: everything has its place there, as in none of the real sets.

Prints for each kind of fault AUROC and the share called abnormal, where boards may lie anyhow (ORIENTATION=free) and
where the pictures tell (auto); mean of four layouts.

python -m benchmarks.boards [--picture FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.embedded import called_abnormal, raw_scores, readable
from benchmarks.rendered_boards import FAULTS, layout, specimen
from benchmarks.tables import table
from model.detector import AnomalyDetector
from model.embedding import Embedding
from model.evaluation import auroc

LAYOUTS, SPECIMENS, UNSEEN, OF_EACH = 4, 25, 40, 12
LEARNED = (10, SPECIMENS)
ORIENTATIONS = ("free", "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="file to show a flawless board and one of each fault in")
    picture: Path | None = parser.parse_args().picture
    if picture:
        _side_by_side([specimen(layout(1), 5, fault) for fault in ("", *FAULTS)]).save(picture)
    boards = np.mean([measure(number) for number in tqdm(range(LAYOUTS), desc="layouts", leave=False)], axis=0)
    heads = [f"{n} learned, {orientation}" for n in LEARNED for orientation in ORIENTATIONS]
    rows = [
        {"boards": kind} | {head: f"{area:.3f}, {share:.0%}" for head, (area, share) in zip(heads, ways, strict=True)}
        for kind, ways in zip((*FAULTS, "unseen normal"), boards, strict=True)
    ]
    print(table(rows))


def _side_by_side(boards: Sequence[Image.Image]) -> Image.Image:
    """In two rows, half as large."""
    width, height = boards[0].width // 2, boards[0].height // 2
    columns = len(boards) // 2
    sheet = Image.new("RGB", (columns * width, 2 * height))
    for place, board in enumerate(boards):
        sheet.paste(board.resize((width, height)), (place % columns * width, place // columns * height))
    return sheet


def measure(number: int) -> NDArray[np.float64]:
    """Of one layout (kinds, ways, 2): AUROC and share called abnormal, the unseen normal boards last."""
    plan, untrained = layout(number), AnomalyDetector()
    normal = [specimen(plan, seed) for seed in range(SPECIMENS + UNSEEN)]
    embeddings = _embed(untrained, normal)
    names = [f"board {place}" for place in range(SPECIMENS)]
    altered = untrained.embed_altered(normal[:SPECIMENS], names)
    kinds = [_embed(untrained, [specimen(plan, 1000 + seed, fault) for seed in range(OF_EACH)]) for fault in FAULTS]
    ways = []
    for n in LEARNED:
        for orientation in ORIENTATIONS:
            config = replace(untrained.config, orientation=orientation)
            trained = AnomalyDetector(config, embedder=untrained.embedder)
            trained.fit_embeddings(embeddings[:n], names[:n], altered=altered)
            *faulty, unseen = (raw_scores(trained, kind) for kind in [*kinds, embeddings[SPECIMENS:]])
            ways.append([(_auroc(scores, unseen), called_abnormal(scores, trained)) for scores in [*faulty, unseen]])
    return np.array(ways).swapaxes(0, 1)


def _auroc(scores: NDArray[np.float64], unseen: NDArray[np.float64]) -> float:
    """Of these boards against the unseen normal ones."""
    return auroc(np.concatenate([scores, unseen]), np.repeat([True, False], [len(scores), len(unseen)]))


def _embed(untrained: AnomalyDetector, pictures: Sequence[Image.Image]) -> list[Embedding]:
    return list(readable(untrained.embedder.embed(pictures)))


if __name__ == "__main__":
    main()
