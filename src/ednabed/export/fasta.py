"""Write sequences as FASTA with the annotations that VSEARCH and USEARCH read: ``;size=`` (reads) and ``;sample=``.

The file has one entry per distinct sequence, with its id from ``ids``; or one per record. In the id of a record, white
space becomes ``_`` (other programs end the id there), and so does a ``;`` before text that would be read as an
annotation (``;size=``). The rest of an id is kept, even ``=`` or ``<`` at its beginning: FASTA is read by programs,
which do not execute it. The bases are on one line.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from ednabed.base.atomic import replacing
from ednabed.base.text import clean
from ednabed.errors import StoreError
from ednabed.export.features import COLUMNS, features
from ednabed.export.ids import FeatureIds, header_id
from ednabed.export.names import Namer
from ednabed.export.report import Written
from ednabed.export.selection import Selection

_SPACE = re.compile(r"\s+")


def write_fasta(selection: Selection, ids: FeatureIds, target: Path, *, occurrences: bool = False) -> Written:
    """Write a FASTA file, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        ids: Ids of the distinct sequences.
        target: The file.
        occurrences: Write one entry per record (``>id;size=3;sample=S1``, each annotation only if known) instead of
            one per distinct sequence (``>id;size=12``; a record without abundance counts as one read).

    Returns:
        Counts of the output. Sequences whose bases are unknown (runs of older tools) are omitted and reported.

    Raises:
        StoreError: The bases of all sequences are unknown.
        UsageError: The target is a folder.
    """
    with replacing(target, "sequences.fasta") as stream:
        written = _records(selection, stream) if occurrences else _distinct(selection, ids, stream)
        if not written.sequences:
            raise StoreError(
                f"{selection.collection.name} has no bases of these sequences, because an older tool stored only "
                "vectors; embed the input again"
            )
    return written


def _distinct(selection: Selection, ids: FeatureIds, stream: TextIO) -> Written:
    sequences = records = reads = 0
    for feature in features(selection, Namer(), ids):
        if feature.sequence is None:
            continue
        stream.write(f">{feature.id};size={feature.reads}\n{feature.sequence}\n")
        sequences, records, reads = sequences + 1, records + feature.records, reads + feature.reads
    notes = (_omitted(len(selection) - sequences),) if sequences < len(selection) else ()
    return Written(sequences, records, None, reads, notes)


def _records(selection: Selection, stream: TextIO) -> Written:
    sequences = records = reads = 0
    for piece in selection.pieces(COLUMNS):
        ids, samples, sizes = (piece.records.column(name).to_pylist() for name in ("id", "sample", "abundance"))
        bases = piece.sequences.column("sequence").to_pylist()
        for index, (begin, end) in enumerate(pairwise(piece.starts.tolist())):
            if bases[index] is None:
                continue
            sequences += 1
            for number in range(begin, end):
                header = header_id(ids[number] or "") or piece.ids[index]
                size, sample = sizes[number], samples[number]
                header += "" if size is None else f";size={size}"
                header += "" if sample is None else f";sample={_SPACE.sub('_', clean(sample)).replace(';', '_')}"
                stream.write(f">{header}\n{bases[index]}\n")
                records, reads = records + 1, reads + (1 if size is None else int(size))
    notes = (_omitted(len(selection) - sequences),) if sequences < len(selection) else ()
    return Written(sequences, records, None, reads, notes)


def _omitted(count: int) -> str:
    return f"{count:,} sequences are omitted, because their bases are unknown (vectors of an older tool)"
