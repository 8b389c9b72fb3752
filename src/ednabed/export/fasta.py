"""Sequences as FASTA with the annotations that VSEARCH and USEARCH read: ``;size=`` (reads) and ``;sample=``.

One entry a distinct sequence, called by the id of its first record, or by its digest where a record of another sequence
has that id; or one a record. The letters stand in one line. In
an id, white space becomes ``_`` (a header ends there for other programs), and so does a ``;`` before what would be
read as an annotation (``;size=``). All else of an id stays as it is, also ``=`` or ``<`` at its beginning: FASTA is
for programs, which run nothing of it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ednabed.errors import StoreError
from ednabed.export.features import COLUMNS, features
from ednabed.export.names import Names
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.store.files import clean, replacing

_ANNOTATION = re.compile(r";(?=[A-Za-z_][\w.]*=)")
_SPACE = re.compile(r"\s+")


def write_fasta(selection: Selection, target: Path, *, occurrences: bool = False) -> Written:
    """Write a FASTA file, which appears whole or not at all.

    Args:
        selection: What to write.
        target: The file.
        occurrences: One entry a record (``>id;size=3;sample=S1``, either only where known) instead of one a distinct
            sequence (``>id;size=12``; a record without abundance is one read). A sequence whose id another has too is
            called by its digest, under which ``names`` finds it again.

    Returns:
        What was written. Sequences whose letters nobody knows (runs of older tools) are left out and told of.

    Raises:
        StoreError: Nobody knows the letters of any.
        UsageError: The target is a folder.
    """
    with replacing(target, "sequences.fasta") as stream:
        written = _records(selection, stream) if occurrences else _distinct(selection, stream)
        if not written.sequences:
            raise StoreError(
                f"{selection.collection.name} has no letters of these sequences, because an older tool stored vectors "
                "only; embed the input again"
            )
    return written


def _distinct(selection: Selection, stream: TextIO) -> Written:
    shared = _ids_of_several(selection)
    taken: set[str] = set()
    sequences = records = reads = renamed = 0
    for feature in features(selection, Names()):
        if feature.sequence is None:
            continue
        free = header_id(feature.name or feature.id)
        if feature.name in shared or free in taken:
            free, renamed = header_id(feature.id), renamed + 1
        taken.add(free)
        stream.write(f">{free};size={feature.reads}\n{feature.sequence}\n")
        sequences, records, reads = sequences + 1, records + feature.records, reads + feature.reads
    notes = [_left_out(len(selection) - sequences)] if sequences < len(selection) else []
    if renamed:
        notes.append(f"{renamed:,} sequences have an id that another has too, and are called by their digests")
    return Written(sequences, records, None, reads, tuple(notes))


def _ids_of_several(selection: Selection) -> set[str]:
    """Return the ids that records of several sequences have."""
    pairs = []
    for piece in selection.pieces(("id",)):
        ids = piece.records.column("id").cast(pa.string())
        rows = np.repeat(piece.rows, np.diff(piece.starts))
        pairs.append(pa.table({"id": ids, "row": rows}).group_by(["id", "row"]).aggregate([]))
    # No sequence is in two pieces, so a pair stands once.
    counts = pa.concat_tables(pairs).group_by("id").aggregate([("row", "count")])
    ids = counts.filter(pc.greater(counts.column("row_count"), 1)).column("id")
    return set(ids.drop_null().to_pylist())


def _records(selection: Selection, stream: TextIO) -> Written:
    sequences = records = reads = 0
    for piece in selection.pieces(COLUMNS):
        ids, samples, sizes = (piece.records.column(name).to_pylist() for name in ("id", "sample", "abundance"))
        letters = piece.sequences.column("sequence").to_pylist()
        for place, (begin, end) in enumerate(pairwise(piece.starts.tolist())):
            if letters[place] is None:
                continue
            sequences += 1
            for number in range(begin, end):
                header = header_id(ids[number] or piece.ids[place])
                size, sample = sizes[number], samples[number]
                header += "" if size is None else f";size={size}"
                header += "" if sample is None else f";sample={_SPACE.sub('_', clean(sample)).replace(';', '_')}"
                stream.write(f">{header}\n{letters[place]}\n")
                records, reads = records + 1, reads + (1 if size is None else int(size))
    notes = (_left_out(len(selection) - sequences),) if sequences < len(selection) else ()
    return Written(sequences, records, None, reads, notes)


def header_id(id: str) -> str:
    """Return an id as it can stand in a header."""
    return _ANNOTATION.sub("_", _SPACE.sub("_", clean(id).strip())) or "_"


def _left_out(count: int) -> str:
    return f"{count:,} sequences are left out, because nobody knows their letters (vectors of an older tool)"
