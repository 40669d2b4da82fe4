"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def ruled(head: str) -> str:
    """A table's head, such as `| data | n |`, and the line that stands below it."""
    return f"{head}\n{'|---' * (head.count('|') - 1)}|"


def table(rows: Sequence[Mapping[str, str | float]]) -> str:
    """All rows, which have the first one's keys, below these as the head."""
    lines = [[value if isinstance(value, str) else f"{value:,}" for value in row.values()] for row in rows]
    return "\n".join([ruled(_line(rows[0])), *map(_line, lines)]) + "\n"


def _line(cells: Sequence[str] | Mapping[str, object]) -> str:
    return f"| {' | '.join(cells)} |"
