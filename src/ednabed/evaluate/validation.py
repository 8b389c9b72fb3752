"""A quick sanity check of an embedder: are related sequences nearer to each other than to unrelated ones?

Three real records come with the package: COI of two species of one genus, and 18S of an animal of another phylum. For
each labelled sequence that has closer and more distant relatives among the others, the check tests whether its nearest
neighbour is among its closest relatives (those with which it shares most ranks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ednabed.base.arrays import FloatArray
from ednabed.engine.embed import Engine
from ednabed.errors import InputError
from ednabed.models.base import Embedder
from ednabed.sequences import Labels, format_lineage, normalise, normalise_one, open_records, parse_lineage
from ednabed.sequences.lineage import Lineage, split_lineage

# Limited because all pairs are compared and printed.
_MAX_RECORDS = 200
# Cosines of equal vectors differ by less than this.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Validation:
    """Outcome of a check.

    Attributes:
        ids: Ids of the records, in order.
        lineages: Lineages of the records.
        similarity: Cosine of each pair, float32, shape (n, n).
        failures: One sentence for each record that is not nearer to a closest relative than to all others.
        checked: Number of records that have closer and more distant relatives among the others.
    """

    ids: list[str]
    lineages: list[str]
    similarity: FloatArray
    failures: list[str]
    checked: int

    @property
    def passed(self) -> bool:
        """Whether no record failed."""
        return not self.failures

    def to_text(self) -> str:
        """Format the matrix as text, with the verdict below."""
        names = [f"{i + 1}" for i in range(len(self.ids))]
        lines = ["      " + "".join(f"{name:>8}" for name in names)]
        for i, name in enumerate(names):
            row = "".join(f"{value:8.4f}" for value in self.similarity[i])
            label = next((r for r in reversed(self.lineages[i].split(";")) if r), "")
            lines.append(f"{name:>6}{row}  {self.ids[i]} {label}".rstrip())
        n_passed = self.checked - len(self.failures)
        lines.append(
            f"{n_passed} of {self.checked} sequences have a closest relative as their nearest neighbour"
            if self.checked
            else "not checked: the check needs three or more sequences, the first two of them related"
        )
        return "\n".join([*lines, *self.failures])


def validate(embedder: Embedder, fasta: Path | None = None, labels: Labels | None = None) -> Validation:
    """Compare labelled sequences with each other.

    Args:
        embedder: The embedder to check.
        fasta: File of labelled sequences in any readable format, at most 200; None takes the three that come with the
            package.
        labels: Lineages by id, for files that contain none.

    Raises:
        InputError: The file cannot be read, has too many records, or its labels allow no comparison.
    """
    if fasta is not None:
        return _validate(embedder, fasta, labels)
    packaged = files("ednabed.evaluate").joinpath("data", "validation.tsv")
    # Read through importlib, so that a package inside a zip file works too.
    rows = [line.split("\t") for line in packaged.read_text(encoding="utf-8").splitlines()[1:]]
    return compare(embedder, [(row[0], row[1], row[2].encode()) for row in rows])


def _validate(embedder: Embedder, fasta: Path, labels: Labels | None) -> Validation:
    rows: list[tuple[str, str, bytes]] = []
    with open_records(fasta, labels=labels) as records:
        for raw in records:
            accepted, refused = normalise(raw, alphabet=embedder.spec.alphabet)
            if len(refused):
                name, reason = refused.column("id")[0].as_py(), refused.column("reason")[0].as_py()
                raise InputError(f"{fasta}: record {name!r} cannot be embedded ({reason}); correct or remove it")
            ids, lineages, sequences = (accepted.column(c).to_pylist() for c in ("id", "lineage", "sequence"))
            rows += [(i, n or "", s.encode()) for i, n, s in zip(ids, lineages, sequences, strict=True)]
            if len(rows) > _MAX_RECORDS:
                raise InputError(
                    f"{fasta}: more than {_MAX_RECORDS} records; this check compares all pairs, so give it fewer"
                )
    return compare(embedder, rows, str(fasta))


def compare(embedder: Embedder, rows: list[tuple[str, str, bytes]], source: str = "validation sequences") -> Validation:
    """Embed (id, lineage, normalised sequence) rows and compare all pairs.

    Raises:
        InputError: A sequence cannot be embedded, or no record has closer and more distant relatives among the others.
    """
    lineages = [row[1] for row in rows]
    shared = np.array([[_shared_ranks(a, b) for b in lineages] for a in lineages], int).reshape(len(rows), len(rows))
    result = _compare(embedder, rows, shared, source)
    if not result.checked:
        raise InputError(
            f"{source}: no record has closer and more distant relatives among the others; give three or more sequences "
            "with lineages (a labels file, or tax=… in the headers), two of them related"
        )
    return result


def compare_pairs(embedder: Embedder, pairs: Sequence[tuple[str, str]]) -> Validation:
    """Compare (sequence, label) pairs, whose labels may be lineages or any text.

    Lineages determine which sequences are related. If no label is a lineage of two or more names, the first two of
    three or more sequences are taken as related; fewer sequences are compared without a verdict.

    Raises:
        InputError: There are no pairs, a sequence cannot be used, or lineages are mixed with other labels or do not
            allow a comparison.
    """
    if not pairs:
        raise InputError("validation sequences: none given; give pairs of sequence and label")
    rows = []
    for number, (sequence, label) in enumerate(pairs, start=1):
        try:
            rows.append((label, normalise_one(sequence, embedder.spec.alphabet)))
        except InputError as error:
            raise InputError(f"validation sequences: number {number} ({label}): {error}") from None
    ranks = [_lineage_or_none(label) for label, _ in rows]
    if any(names is not None and sum(map(bool, names)) > 1 for names in ranks):
        lineages = [parse_lineage(label) for label, _ in rows]
        return compare(
            embedder,
            [
                (f"sequence {number}", "" if names is None else format_lineage(names), bases)
                for number, (names, (_, bases)) in enumerate(zip(lineages, rows, strict=True), start=1)
            ],
        )
    shared = np.zeros((len(rows), len(rows)), int)
    if len(rows) > 2:
        shared[0, 1] = shared[1, 0] = 1
    return _compare(embedder, [(label, "", bases) for label, bases in rows], shared, "validation sequences")


def _lineage_or_none(label: str) -> Lineage | None:
    try:
        return parse_lineage(label)
    except InputError:
        # Labels may be any text; the caller, who sees all of them, decides whether that is allowed.
        return None


def _compare(
    embedder: Embedder, rows: list[tuple[str, str, bytes]], shared: npt.NDArray[np.int_], source: str
) -> Validation:
    """Compare all pairs; ``shared`` is the number of ranks that each pair shares, shape (n, n)."""
    ids, lineages = [row[0] for row in rows], [row[1] for row in rows]
    vectors, refused = Engine(embedder).embed([row[2] for row in rows])
    for i, reason in refused.items():
        raise InputError(
            f"{source}: record {ids[i]!r} cannot be embedded by {embedder.spec.model} ({reason}); remove it"
        )
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    similarity = np.clip(unit @ unit.T, -1, 1)
    failures = []
    checked = 0
    for i in range(len(ids)):
        others = np.delete(np.arange(len(ids)), i)
        if not len(others) or shared[i, others].min() == shared[i, others].max():
            continue
        checked += 1
        close = shared[i, others] == shared[i, others].max()
        relative, stranger = (group[similarity[i, group].argmax()] for group in (others[close], others[~close]))
        # A tie does not pass: an encoder that gives every sequence the same vector must fail.
        if similarity[i, relative] - similarity[i, stranger] <= _ROUNDING:
            failures.append(
                f"{ids[i]} is not nearer to its relative {ids[relative]} ({similarity[i, relative]:.4f}) than to "
                f"{ids[stranger]} ({similarity[i, stranger]:.4f})"
            )
    return Validation(ids, lineages, similarity, failures, checked)


def _shared_ranks(first: str, second: str) -> int:
    """Count the ranks at which two lineages have the same name."""
    return sum(1 for a, b in zip(split_lineage(first), split_lineage(second), strict=True) if a and a == b)
