"""The result of comparing two versions, as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ednabed.evaluate.holdings import Holding


@dataclass(frozen=True)
class Accuracy:
    """How often the nearest neighbour has the same name.

    Attributes:
        rank: Rank of the name.
        conflicting: Number of sequences whose records disagree about the name; they count as unnamed.
        asked: Number of sequences whose name occurs at least twice in the sample.
        right: Number of these whose nearest neighbour has the same name, under each version; None if ``asked`` is 0.
        unnamed: Number of these whose nearest neighbour has no name at this rank (counted as wrong).
    """

    rank: str
    conflicting: int
    asked: int = 0
    right: tuple[int, int] | None = None
    unnamed: tuple[int, int] | None = None

    @property
    def share(self) -> tuple[float, float] | None:
        """``right`` divided by ``asked``, under each version."""
        return None if self.right is None else (self.right[0] / self.asked, self.right[1] / self.asked)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rank": self.rank,
            "asked": self.asked,
            "conflicting": self.conflicting,
            "accuracy": self.share,
            "right": self.right,
            "nearest_unnamed": self.unnamed,
        }

    def to_text(self) -> str:
        """Format the counts as a line of text."""
        line = f"1-NN {self.rank:<13} {self.asked:,} sequences share their {self.rank} with another"
        if self.unnamed is not None and any(self.unnamed):
            one, other = self.unnamed
            line += f"; for {one:,} and {other:,} the nearest has no name and counts as wrong"
        if self.conflicting:
            line += f"; {self.conflicting:,} omitted because their records disagree"
        return line


@dataclass
class VersionComparison:
    """Outcome of a comparison; figures are None if there is nothing to measure.

    Attributes:
        holdings: The runs and records of the two versions.
        damaged: One sentence for each run that was omitted because it is damaged.
        common: Number of distinct sequences that both versions embedded.
        sampled: Number of these that were measured.
        seed: Seed of the samples.
        accuracies: One for each requested rank.
        neighbours: Number of neighbours compared: 10, or all others in a smaller sample.
        overlap: Mean share of these neighbours that are the same under both versions, 0 to 1.
        overlap_by_chance: Overlap expected for two unrelated versions.
        pairs: Number of pairs of sampled sequences whose similarities were ranked.
        correlation: Spearman's rank correlation of the cosines of these pairs, -1 to 1; None also if all cosines of
            one version are equal.
    """

    holdings: list[Holding]
    damaged: list[str]
    common: int
    sampled: int
    seed: int
    accuracies: list[Accuracy]
    neighbours: int | None = None
    overlap: float | None = None
    overlap_by_chance: float | None = None
    pairs: int = 0
    correlation: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with null where nothing was measured."""
        return {
            "versions": [holding.to_dict() for holding in self.holdings],
            "damaged": self.damaged,
            "common": self.common,
            "sampled": self.sampled,
            "seed": self.seed,
            "neighbours": self.neighbours,
            "overlap": self.overlap,
            "overlap_by_chance": self.overlap_by_chance,
            "pairs": self.pairs,
            "spearman": self.correlation,
            "nearest_neighbour": [accuracy.to_dict() for accuracy in self.accuracies],
        }

    def to_text(self) -> str:
        """Format the comparison as text."""
        lines = [*_table(self.holdings, self.accuracies), ""]
        if not self.common:
            return "\n".join([*lines, "no common sequences: nothing to compare"])
        lines.append(f"common sequences   {self.common:,}, {self.sampled:,} of them measured (seed {self.seed})")
        if self.overlap is None:
            return "\n".join([*lines, "one sequence has no neighbours: nothing to compare"])
        lines.append(f"overlap@{self.neighbours:<10} {self.overlap:.3f} (by chance {self.overlap_by_chance:.3f})")
        correlation = (
            "undefined, all cosines of one version are equal" if self.correlation is None else f"{self.correlation:.3f}"
        )
        lines.append(f"rank correlation   {correlation} (Spearman, cosines of {self.pairs:,} pairs)")
        return "\n".join([*lines, *(accuracy.to_text() for accuracy in self.accuracies)])


def _table(holdings: list[Holding], accuracies: list[Accuracy]) -> list[str]:
    """Return one line for each property, with a column for each version."""
    versions = [holding.version for holding in holdings]
    rows = [
        ["", *(version.name for version in versions)],
        ["model", *(version.spec.model for version in versions)],
        ["fingerprint", *(version.fingerprint[:12] for version in versions)],
        ["dimension", *(f"{version.spec.dimension:,}" for version in versions)],
        ["runs", *(f"{len(h.runs):,}" + (f" ({h.assumed:,} assumed)" if h.assumed else "") for h in holdings)],
        ["datasets", *(f"{len(h.datasets):,}" for h in holdings)],
        ["records", *(f"{h.records:,}" for h in holdings)],
        ["distinct sequences", *("unknown" if h.distinct is None else f"{h.distinct:,}" for h in holdings)],
    ]
    for accuracy in accuracies:
        if accuracy.share is not None:
            rows.append([f"1-NN accuracy, {accuracy.rank}", *(f"{share:.3f}" for share in accuracy.share)])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
