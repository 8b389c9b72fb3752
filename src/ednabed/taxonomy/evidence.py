"""What the candidates of a query imply about its taxon at every rank: a name, and features that show its reliability.

Every lineage of a candidate is a voter. A voter's weight falls by a factor of e for each ``width`` of distance by which
it is farther than the nearest one (half a mismatch, where bases were compared), so the nearest decide, and near ties
are reported as ties. Names are chosen from kingdom down, each among the voters that agree with the names chosen so far;
a voter without a name at a rank does not vote there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import Bools, Floats, Ints
from ednabed.sequences.lineage import RANKS
from ednabed.taxonomy.labels import GENUS, SPECIES, RowLabels

FEATURES = (
    "log_distance",  # log of the distance of its nearest voter
    "log_margin",  # log of the ratio of the distance of the nearest voter of another name to it
    "agreement",  # its share of the weights
    "wide_agreement",  # the same with weights that fall by a factor of e for every fifth of the minimum distance
    "log_letters",  # log of 1 + bases compared
    "coverage",  # share of the query compared
    "log_spread",  # log of the ratio of the tenth smallest distance to the smallest
    "log_voters",  # log of the number of its voters
)
"""Features of the chosen name at a rank."""
QUERY_FEATURES = (
    "exact",  # 1 if a nearest voter is identical wherever the two overlap, else 0
    "log_species",  # log of the number of species among the nearest voters
    "log_genera",  # log of the number of their genera
    "log_mismatches",  # log of 1 + the mismatches of the nearest
    "log_records",  # log of the records that the reference has of the chosen species
    "log_sequences",  # log of the distinct sequences that the reference has of the chosen species
)
"""Features of a query that do not depend on the rank."""
RANK_SIZE = len(FEATURES) + len(QUERY_FEATURES)
"""Number of features by which the name at a rank is judged."""

_WIDE = 0.2
_TENTH = 10
# Ranks whose features show what the reference lacks of a query.
_INFORMATIVE = (6, 5, 4, 3, 2)
QUERY_SIZE = 6 + 4 * len(_INFORMATIVE) + len(QUERY_FEATURES)
"""Number of features that show what the reference lacks of a query."""
# Distances that differ by less than this are ties.
TIE = 1e-9
MIN_DISTANCE = 1e-4
"""Minimum distance by vectors alone."""
_MAX_MISMATCHES = 500.0
# Minimum share of the weights of equally near voters at which a name does not count as tied.
_MIN_CLEAR_SHARE = 0.9


@dataclass(frozen=True)
class Candidates:
    """The candidates of some queries, in any order.

    Attributes:
        rows: Rows of the collection, int64, shape (q, k); -1 where there are no more.
        positions: Position in the list of the shortlist that the row came from, from 0, int64, shape (q, k).
        distances: float64, shape (q, k), above 0 (``Finder`` defines them); infinite where there are no more.
        mismatches: See ``Divergence``, float64, shape (q, k), as for the next three. 0 if no bases were compared.
        bases: Bases compared, int64, shape (q, k).
        overlaps: int64, shape (q, k).
        lacking: float64, shape (q, k).
        lengths: Bases of each query, int64, shape (q,).
        widths: Distance over which a voter's weight falls by a factor of e, float64, shape (q,), above 0.
        bases_known: Whether bases were compared.
    """

    rows: Ints
    positions: Ints
    distances: Floats
    mismatches: Floats
    bases: Ints
    overlaps: Ints
    lacking: Floats
    lengths: Ints
    widths: Floats
    bases_known: bool = True


@dataclass(frozen=True)
class Evidence:
    """What the candidates imply about some queries.

    Attributes:
        nearest: Column of the nearest candidate in ``Candidates.rows``, int64, shape (q,); -1 if there is none. Among
            equally near ones, the first that has the chosen names.
        distance: Its distance, float64, shape (q,); infinite if there is none.
        lineages: A lineage of the labels that has the chosen name, at each rank, int64, shape (q, 7); -1 where there is
            no name.
        features: ``FEATURES`` of the chosen name, float64, shape (q, 7, 8); zeros where there is none.
        query_features: ``QUERY_FEATURES``, float64, shape (q, 6).
        nearest_lineages: The lineage of the nearest candidate that voted, by number in the labels, int64, shape (q,);
            -1 if there is none.
        tied: Lineages of the nearest voters, if several species among them are equally near.
    """

    nearest: Ints
    distance: Floats
    lineages: Ints
    features: Floats
    query_features: Floats
    nearest_lineages: Ints
    tied: list[tuple[int, ...]]

    def part(self, chosen: Ints) -> Evidence:
        """Return the evidence of the selected queries."""
        return Evidence(
            self.nearest[chosen], self.distance[chosen], self.lineages[chosen], self.features[chosen],
            self.query_features[chosen], self.nearest_lineages[chosen], [self.tied[i] for i in chosen.tolist()],
        )  # fmt: skip

    def of_rank(self, rank: int) -> Floats:
        """Return the features by which the name at a rank is judged, shape (q, ``RANK_SIZE``)."""
        return np.concatenate([self.features[:, rank], self.query_features], axis=1)

    def of_query(self) -> Floats:
        """Return the features that show what the reference lacks of each query, shape (q, ``QUERY_SIZE``)."""
        finite = np.where(np.isfinite(self.distance), self.distance, 1.0)
        bases, coverage = FEATURES.index("log_letters"), FEATURES.index("coverage")
        spread, voters = FEATURES.index("log_spread"), FEATURES.index("log_voters")
        species, genus = _INFORMATIVE[:2]
        parts = [
            np.log(np.maximum(finite, TIE))[:, None],
            self.features[:, species, [bases, voters]],
            self.features[:, genus][:, [coverage, spread, voters]],
            *(self.features[:, rank, :4] for rank in _INFORMATIVE),
            self.query_features,
        ]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class LeftOut:
    """Lineages that do not vote.

    Attributes:
        taxa: Taxon of each lineage of the labels, int64, shape (lineages,).
        query_taxa: The taxon of each query whose lineages do not vote, int64, shape (q,).
        rows: The row of each query on which they do not vote, int64, shape (q,); None: on no row.
        records: Records of that row under the taxon that is left out, int64, shape (q,); None if complete taxa are
            left out.
    """

    taxa: Ints
    query_taxa: Ints
    rows: Ints | None
    records: Ints | None = None

    def part(self, chosen: Ints) -> LeftOut:
        """Return what the selected queries leave out."""
        rows = None if self.rows is None else self.rows[chosen]
        records = None if self.records is None else self.records[chosen]
        return LeftOut(self.taxa, self.query_taxa[chosen], rows, records)


def weigh(candidates: Candidates, labels: RowLabels, left_out: LeftOut | None = None) -> Evidence:
    """Weigh the candidates of some queries, and return what they imply.

    Args:
        candidates: The candidates.
        labels: The lineages of the collection.
        left_out: Lineages that do not vote; None: all vote.
    """
    voters = _Voters.from_candidates(candidates, labels, left_out)
    q = len(candidates.rows)
    lineages = np.full((q, len(RANKS)), -1, np.int64)
    features = np.zeros((q, len(RANKS), len(FEATURES)))
    all_queries = np.arange(q)
    agreeing = voters.lineage >= 0
    for rank in range(len(RANKS)):
        taxon = np.where(agreeing, labels.taxa[voters.lineage, rank], -1)
        named = taxon >= 0
        weight = np.where(named, voters.weight, 0)
        names = np.where(named, taxon + 1, 0) + all_queries[:, None] * (int(labels.taxa.max(initial=0)) + 2)
        _, name_index = np.unique(names, return_inverse=True)
        sums = np.bincount(name_index.reshape(-1), weight.reshape(-1))
        votes = np.where(named, sums[name_index.reshape(names.shape)], -1)
        # Among names with equal votes, the one of the nearest voter wins: voters are in order of distance.
        column = votes.argmax(axis=1)
        known = named[all_queries, column]
        chosen = (taxon == taxon[all_queries, column][:, None]) & known[:, None]
        lineages[known, rank] = voters.lineage[all_queries, column][known]
        features[:, rank] = np.where(known[:, None], voters.features(chosen, named), 0)
        agreeing &= chosen | ~named | ~known[:, None]
    nearest = voters.nearest()
    column = (agreeing & nearest).argmax(axis=1)
    found = nearest[:, 0]
    return Evidence(
        nearest=np.where(found, voters.candidate[all_queries, column], -1),
        distance=voters.distance[:, 0],
        lineages=lineages,
        features=features,
        query_features=_query_features(candidates, voters, lineages, labels, left_out),
        nearest_lineages=np.where(found, voters.lineage[all_queries, column], -1),
        tied=voters.ties(labels),
    )


def _query_features(
    candidates: Candidates, voters: _Voters, lineages: Ints, labels: RowLabels, left_out: LeftOut | None
) -> Floats:
    """Return ``QUERY_FEATURES``, shape (q, 6)."""
    nearest = voters.nearest()
    # A sequence that barely aligns to the query is not identical to it. The last column stands for no candidate.
    differences = np.pad(candidates.mismatches + candidates.lacking, ((0, 0), (0, 1)))
    fewest = np.where(nearest, np.take_along_axis(differences, voters.candidate, 1), np.inf).min(axis=1)
    if not candidates.bases_known:
        fewest = np.where(voters.distance[:, 0] <= MIN_DISTANCE + TIE, 0.0, np.inf)
    chosen = lineages[:, SPECIES]
    taxon = np.where(chosen >= 0, labels.taxa[chosen, SPECIES], -1)
    records, sequences = labels.records_of_taxa[taxon], labels.sequences_of_taxa[taxon]
    if left_out is not None and left_out.records is not None:
        left_out_here = left_out.query_taxa == taxon
        records = records - np.where(left_out_here, left_out.records, 0)
        sequences = sequences - np.where(left_out_here, 1, 0)
    columns = [
        (fewest == 0).astype(np.float64),
        np.log(_distinct_counts(np.where(nearest, labels.taxa[voters.lineage, SPECIES], -1))),
        np.log(_distinct_counts(np.where(nearest, labels.taxa[voters.lineage, GENUS], -1))),
        np.log1p(np.minimum(fewest, _MAX_MISMATCHES)),
        np.log(np.where(taxon >= 0, np.maximum(records, 1), 1)),
        np.log(np.where(taxon >= 0, np.maximum(sequences, 1), 1)),
    ]
    return np.stack(columns, axis=1)


def _distinct_counts(taxa: Ints) -> Ints:
    """Return how many different taxa each row has, at least 1; -1 means no taxon. Shape (n, k) to (n,)."""
    ordered = np.sort(taxa, axis=1)
    changes = (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + (ordered[:, 0] >= 0)
    return np.asarray(np.maximum(changes, 1), np.int64)


@dataclass(frozen=True)
class _Voters:
    """Voters of each query in order of distance, padded: all arrays have shape (q, v)."""

    candidate: Ints
    lineage: Ints
    distance: Floats
    share: Floats
    weight: Floats
    wide: Floats
    bases: Ints
    lengths: Ints

    @classmethod
    def from_candidates(cls, candidates: Candidates, labels: RowLabels, left_out: LeftOut | None) -> _Voters:
        query, column = np.nonzero(candidates.rows >= 0)
        rows = candidates.rows[query, column]
        entry, position = labels.entries_of(rows)
        lineage = labels.entries[entry]
        query, column = query[position], column[position]
        records = labels.records[entry].astype(np.float64)
        # A sequence has one vote, which its lineages share in proportion to their records.
        share = records / np.bincount(position, records, minlength=len(rows))[position]
        if left_out is not None:
            kept = left_out.taxa[lineage] != left_out.query_taxa[query]
            if left_out.rows is not None:
                kept |= rows[position] != left_out.rows[query]
            query, column, lineage, share = query[kept], column[kept], lineage[kept], share[kept]
        distance = candidates.distances[query, column]
        order = np.lexsort((lineage, column, distance, query))
        query, column, lineage = query[order], column[order], lineage[order]
        share, distance = share[order], distance[order]
        q = len(candidates.rows)
        counts = np.bincount(query, minlength=q)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (q, max(int(counts.max(initial=0)), 1))

        def padded(values: npt.NDArray[np.generic], filling: float) -> npt.NDArray[np.generic]:
            out = np.full(shape, filling, values.dtype)
            out[query, within] = values
            return out

        distances = np.asarray(padded(distance, np.inf), np.float64)
        shares = np.asarray(padded(share, 0), np.float64)
        smallest = np.where(np.isfinite(distances[:, :1]), distances[:, :1], 1)
        return cls(
            candidate=np.asarray(padded(column, -1), np.int64),
            lineage=np.asarray(padded(lineage, -1), np.int64),
            distance=distances,
            share=shares,
            weight=shares * np.exp((smallest - distances) / candidates.widths[:, None]),
            wide=shares * np.exp((smallest - distances) / (_WIDE * smallest)),
            bases=np.asarray(padded(candidates.bases[query, column], 0), np.int64),
            lengths=candidates.lengths,
        )

    def features(self, chosen: Bools, named: Bools) -> Floats:
        """Return ``FEATURES`` at a rank, shape (q, 8), given which voters have the chosen name, and which have any."""
        all_queries = np.arange(len(chosen))
        best = np.where(chosen, self.distance, np.inf).argmin(axis=1)
        distance = self.distance[all_queries, best]
        other = np.where(named & ~chosen, self.distance, np.inf).min(axis=1)
        # If all candidates have the name, the nearest one with another name is at least as far as the last of them.
        last = np.where(np.isfinite(self.distance), self.distance, -np.inf).max(axis=1)
        other = np.where(np.isfinite(other), other, np.maximum(last, distance) * 1.1)
        finite = np.isfinite(self.distance).sum(axis=1)
        tenth = self.distance[all_queries, np.clip(finite, 1, _TENTH) - 1]
        bases = self.bases[all_queries, best]

        def share_of(weights: Floats) -> Floats:
            total = np.where(named, weights, 0).sum(axis=1)
            return np.asarray(np.where(chosen, weights, 0).sum(axis=1) / np.where(total > 0, total, 1), np.float64)

        with np.errstate(invalid="ignore", divide="ignore"):
            columns = [
                np.log(distance),
                np.log(other / distance),
                share_of(self.weight),
                share_of(self.wide),
                np.log1p(bases),
                bases / np.maximum(self.lengths, 1),
                np.log(tenth / self.distance[:, 0]),
                np.log(np.maximum(chosen.sum(axis=1), 1)),
            ]
        return np.asarray(np.nan_to_num(np.stack(columns, axis=1), nan=0.0, posinf=0.0, neginf=0.0), np.float64)

    def nearest(self) -> Bools:
        """Return which voters are as near as the nearest, shape (q, v)."""
        return (self.distance <= self.distance[:, :1] + TIE) & (self.lineage >= 0)

    def ties(self, labels: RowLabels) -> list[tuple[int, ...]]:
        """Return for each query the lineages of its nearest voters, one per species, if there are several."""
        nearest = self.nearest()
        species = np.where(self.lineage >= 0, labels.taxa[self.lineage, SPECIES], -1)
        several = nearest & (species >= 0)
        # Most queries have one species; only the others are examined one by one.
        first = np.where(several, species, np.iinfo(np.int64).max).min(axis=1)
        unsure = np.flatnonzero((several & (species != first[:, None])).any(axis=1))
        ties: list[tuple[int, ...]] = [()] * len(nearest)
        for i in unsure.tolist():
            columns = np.flatnonzero(several[i])
            names, firsts, name_index = np.unique(species[i, columns], return_index=True, return_inverse=True)
            weights = np.bincount(name_index, self.share[i, columns], minlength=len(names))
            if weights.max() < _MIN_CLEAR_SHARE * weights.sum():
                ties[i] = tuple(self.lineage[i, columns[np.sort(firsts)]].tolist())
        return ties
