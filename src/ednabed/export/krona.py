"""Write reads by lineage as text for Krona's ``ktImportText``: reads, then the names from kingdom on, tab-separated.

Names end at the deepest known one; an intermediate rank without a name becomes ``no class`` and so on, so that each
ring is a rank. Reads without a name are ``Unassigned``. Krona writes names into its page without escaping them, so
``<``, ``>``, ``&`` and ``"`` become ``_``; control characters become blanks.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from ednabed.base.atomic import replacing
from ednabed.base.text import clean
from ednabed.export.features import features, sample_names
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Identification, Namer
from ednabed.export.place import atomic_folder
from ednabed.export.report import Written
from ednabed.export.selection import Sample, Selection
from ednabed.sequences.lineage import RANKS

UNASSIGNED = "Unassigned"
_MARKUP = str.maketrans('<>&"', "____")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def write_krona(
    selection: Selection,
    names: Namer,
    ids: FeatureIds,
    target: Path,
    *,
    per_sample: bool = False,
    about: dict[str, Any] | None = None,
) -> Written:
    """Write one file of all samples, or a folder with one file per sample; either appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids by which assignments may refer to features; they are not written.
        target: The file; with ``per_sample`` the folder.
        per_sample: Write one file per sample, named after it as far as file names allow; ``export.json`` maps files to
            samples.
        about: Further content of ``export.json``, with ``per_sample``.

    Raises:
        UsageError: The target is a folder where a file is expected, or contains something else.
    """
    sums: dict[Sample | None, Counter[tuple[str, ...]]] = {}
    records = 0
    for feature in features(selection, names, ids):
        wedges = _wedges(feature.named)
        records += feature.records
        for sample, reads in feature.counts.items():
            sums.setdefault(sample if per_sample else None, Counter())[wedges] += reads
    reads = sum(counts.total() for counts in sums.values())
    if not per_sample:
        with replacing(target, "krona.txt") as stream:
            stream.write(_text(sums[None]))
        return Written(len(selection), records, None, reads)
    written = sample_names({sample: None for sample in sums if sample is not None})
    files = _file_names(written)
    body = {**(about or {}), "samples": {files[sample]: name for sample, name in written.items()}}
    with atomic_folder(target, "krona", body) as work:
        for sample, file in files.items():
            (work / file).write_text(_text(sums[sample]), encoding="utf-8", newline="\n")
    return Written(len(selection), records, len(files), reads)


def _text(counts: Counter[tuple[str, ...]]) -> str:
    return "".join("\t".join((str(reads), *wedges)) + "\n" for wedges, reads in sorted(counts.items()) if reads)


def _wedges(named: Identification) -> tuple[str, ...]:
    if not named.rank:
        return (UNASSIGNED,)
    depth = RANKS.index(named.rank) + 1
    pairs = zip(RANKS[:depth], named.lineage[:depth], strict=True)
    return tuple(clean(name).translate(_MARKUP) or f"no {rank}" for rank, name in pairs)


def _file_names(samples: dict[Sample, str]) -> dict[Sample, str]:
    """Return a file name for each sample that every operating system accepts."""
    files: dict[Sample, str] = {}
    taken: set[str] = set()
    for sample, name in samples.items():
        # The prefix avoids device names of Windows (con, nul) and hidden files.
        base = "sample_" + _UNSAFE.sub("_", name).strip("._")[:80]
        stem, number = base, 2
        # File names on Windows and macOS are not case-sensitive.
        while stem.lower() in taken:
            stem, number = f"{base}_{number}", number + 1
        taken.add(stem.lower())
        files[sample] = f"{stem}.txt"
    return files
