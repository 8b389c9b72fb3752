"""Sequences as FASTA with the annotations that VSEARCH and USEARCH read: ``;size=`` (reads) and ``;sample=``.

One entry per distinct sequence, called as ``ids`` says; or one per record, whose id has ``_`` for white space (a header
ends there for other programs) and for a ``;`` before what would be read as an annotation (``;size=``). All else of an
id stays as it is, also ``=`` or ``<`` at its beginning: FASTA is for programs, which run nothing of it. The bases are
in one line.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from ednabed.errors import StoreError
from ednabed.export.features import COLUMNS, features
from ednabed.export.ids import FeatureIds, header_id
from ednabed.export.names import Namer
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.store.files import clean, replacing

_SPACE = re.compile(r"\s+")


def write_fasta(selection: Selection, ids: FeatureIds, target: Path, *, occurrences: bool = False) -> Written:
    """Write a FASTA file, which appears whole or not at all.

    Args:
        selection: What to write.
        ids: What distinct sequences are called.
        target: The file.
        occurrences: One entry a record (``>id;size=3;sample=S1``, either only where known) instead of one a distinct
            sequence (``>id;size=12``; a record without abundance is one read).

    Returns:
        What was written. Sequences whose bases are unknown (runs of older tools) are left out and reported.

    Raises:
        StoreError: Nobody knows the letters of any.
        UsageError: The target is a folder.
    """
    with replacing(target, "sequences.fasta") as stream:
        written = _records(selection, stream) if occurrences else _distinct(selection, ids, stream)
        if not written.sequences:
            raise StoreError(
                f"{selection.collection.name} has no letters of these sequences, because an older tool stored vectors "
                "only; embed the input again"
            )
    return written


def _distinct(selection: Selection, ids: FeatureIds, stream: TextIO) -> Written:
    sequences = records = reads = 0
    for feature in features(selection, Namer(), ids):
        if feature.sequence is None:
            continue
        stream.write(f">{feature.id};size={feature.reads}\n{feature.sequence}\n")
        sequences, records, reads = sequences + 1, records + feature.records, reads + feature.reads
    notes = (_left_out(len(selection) - sequences),) if sequences < len(selection) else ()
    return Written(sequences, records, None, reads, notes)


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
                header = header_id(ids[number] or "") or piece.ids[place]
                size, sample = sizes[number], samples[number]
                header += "" if size is None else f";size={size}"
                header += "" if sample is None else f";sample={_SPACE.sub('_', clean(sample)).replace(';', '_')}"
                stream.write(f">{header}\n{letters[place]}\n")
                records, reads = records + 1, reads + (1 if size is None else int(size))
    notes = (_left_out(len(selection) - sequences),) if sequences < len(selection) else ()
    return Written(sequences, records, None, reads, notes)


def _left_out(count: int) -> str:
    return f"{count:,} sequences are left out, because their bases are unknown (vectors of an older tool)"
