"""The result of comparing two versions, as JSON and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ednabed.evaluate.common_sequences import Holding
from ednabed.store.versions import Version


@dataclass(frozen=True)
class Accuracy:
    """How often the nearest neighbour has the same name.

    Attributes:
        rank: Rank of the name.
        asked: Number of sequences whose name occurs at least twice in the sample.
        right: Number of these whose nearest neighbour has the same name, under each version; None if ``asked`` is 0.
        unnamed: Number of these whose nearest neighbour has no name at this rank (counted as wrong).
    """

    rank: str
    asked: int
    right: tuple[int, int] | None
    unnamed: tuple[int, int] | None

    @property
    def share(self) -> tuple[float, float] | None:
        """``right`` divided by ``asked``, under each version."""
        return None if self.right is None else (self.right[0] / self.asked, self.right[1] / self.asked)


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison; figures are None if there is nothing to measure.

    Attributes:
        versions: The two versions.
        holdings: The runs and records of each version.
        damaged: One sentence for each run that was omitted because it is damaged.
        common: Number of distinct sequences that both versions embedded.
        sampled: Number of these that were measured.
        seed: Seed of the samples.
        neighbours: Number of neighbours compared: 10, or all others in a smaller sample.
        overlap: Mean share of these neighbours that are the same under both versions, 0 to 1.
        overlap_by_chance: Overlap expected for two unrelated versions.
        pairs: Number of pairs of sampled sequences whose similarities were ranked.
        correlation: Spearman's rank correlation of the cosines of these pairs, -1 to 1; None also if all cosines of
            one version are equal.
        conflicting: By rank, number of sampled sequences whose records disagree about the name; they count as unnamed.
        accuracies: One for each requested rank.
    """

    versions: tuple[Version, Version]
    holdings: tuple[Holding, Holding]
    damaged: list[str]
    common: int
    sampled: int
    seed: int
    neighbours: int | None
    overlap: float | None
    overlap_by_chance: float | None
    pairs: int
    correlation: float | None
    conflicting: dict[str, int]
    accuracies: list[Accuracy]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with null where nothing was measured."""
        sides = [
            {
                "version": version.name,
                "model": version.spec.model,
                "fingerprint": version.fingerprint,
                "dimension": version.spec.dimension,
                "created": version.created,
                "description": version.description,
                "runs": len(holding.runs),
                "assumed": holding.assumed,
                "datasets": holding.datasets,
                "records": holding.records,
                "distinct": holding.distinct,
                "unmatched_runs": holding.unmatched,
                "tagged_elsewhere": holding.elsewhere,
            }
            for version, holding in zip(self.versions, self.holdings, strict=True)
        ]
        return {
            "versions": sides,
            "damaged": self.damaged,
            "common": self.common,
            "sampled": self.sampled,
            "seed": self.seed,
            "neighbours": self.neighbours,
            "overlap": self.overlap,
            "overlap_by_chance": self.overlap_by_chance,
            "pairs": self.pairs,
            "spearman": self.correlation,
            "nearest_neighbour": [
                {
                    "rank": accuracy.rank,
                    "asked": accuracy.asked,
                    "conflicting": self.conflicting[accuracy.rank],
                    "accuracy": accuracy.share,
                    "right": accuracy.right,
                    "nearest_unnamed": accuracy.unnamed,
                }
                for accuracy in self.accuracies
            ],
        }

    def to_text(self) -> str:
        """Format the comparison as text."""
        a, b = self.holdings
        rows = [
            ["model", *(version.spec.model for version in self.versions)],
            ["fingerprint", *(version.fingerprint[:12] for version in self.versions)],
            ["dimension", *(f"{version.spec.dimension:,}" for version in self.versions)],
            ["runs", *(f"{len(h.runs):,}" + (f" ({h.assumed:,} assumed)" if h.assumed else "") for h in (a, b))],
            ["datasets", *(f"{len(h.datasets):,}" for h in (a, b))],
            ["records", *(f"{h.records:,}" for h in (a, b))],
            ["distinct sequences", *("unknown" if h.distinct is None else f"{h.distinct:,}" for h in (a, b))],
        ]
        for accuracy in self.accuracies:
            if accuracy.share is not None:
                rows.append([f"1-NN accuracy, {accuracy.rank}", *(f"{share:.3f}" for share in accuracy.share)])
        lines = [*_columns([["", *(version.name for version in self.versions)], *rows]), ""]
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
        for accuracy in self.accuracies:
            line = f"1-NN {accuracy.rank:<13} "
            line += f"{accuracy.asked:,} sequences share their {accuracy.rank} with another"
            if accuracy.unnamed is not None and any(accuracy.unnamed):
                one, other = accuracy.unnamed
                line += f"; for {one:,} and {other:,} the nearest has no name and counts as wrong"
            if self.conflicting[accuracy.rank]:
                line += f"; {self.conflicting[accuracy.rank]:,} omitted because their records disagree"
            lines.append(line)
        return "\n".join(lines)


def _columns(rows: list[list[str]]) -> list[str]:
    """Align columns, separated by two spaces."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
