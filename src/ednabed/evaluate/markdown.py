"""Tables and numbers in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "–"
"""Shown if there is nothing to measure."""


def number(value: float | None) -> str:
    """Format a share with three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table; pipes in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
