"""Write distinct sequences as QIIME 2 artifacts (``.qza``): taxonomy, feature table and sequences, without provenance.

An artifact is a zip file with one folder, named by a UUID of version 4, that contains ``VERSION``, ``metadata.yaml``
(uuid, type and format) and ``data/``. This is archive format 0 (qiime2/qiime2, ``core/archive/format/v0.py`` and
``core/archive/archiver.py``), the format without provenance, which QIIME 2 still reads: ednabed itself records the
origin of the data, and a provenance in QIIME 2's form would claim actions of its plugins that did not run. The same
data give the same UUID and the same bytes, except for the date in BIOM.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ednabed.base.version import __version__
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_folder, check_target_folder
from ednabed.export.qiime2 import SEQUENCES, TABLE_BIOM, TAXONOMY, write_files
from ednabed.export.report import Written
from ednabed.export.selection import Selection

_ARTIFACTS = (
    ("taxonomy.qza", TAXONOMY, "data/taxonomy.tsv", "FeatureData[Taxonomy]", "TSVTaxonomyDirectoryFormat"),
    ("table.qza", TABLE_BIOM, "data/feature-table.biom", "FeatureTable[Frequency]", "BIOMV210DirFmt"),
    ("rep-seqs.qza", SEQUENCES, "data/dna-sequences.fasta", "FeatureData[Sequence]", "DNASequencesDirectoryFormat"),
)
"""Name of an artifact, its source file, its path in the artifact, its semantic type and its directory format."""
_NO_PROVENANCE = (
    "the artifacts are in QIIME 2's archive format 0, which has no provenance: QIIME 2's own record begins with them"
)
# The earliest time that a zip file can store.
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def write_qza(selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, about: dict[str, Any]) -> Written:
    """Write a folder of artifacts, which appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the features.
        target: The folder.
        about: Further content of ``export.json``.

    Returns:
        Counts of the output. If no bases are known, ``rep-seqs.qza`` is omitted.

    Raises:
        UsageError: The folder is a file, is in a run or a reference, or contains something else.
    """
    check_target_folder(target, "qza")
    with atomic_folder(target, "qza", about) as work, TemporaryDirectory(dir=work.parent, prefix=".export.") as parts:
        written = write_files(selection, names, ids, Path(parts))
        for name, source, data, type_, format_ in _ARTIFACTS:
            if (Path(parts) / source).exists():
                _write_artifact(work / name, Path(parts) / source, data, type_, format_)
    return Written(written.sequences, written.records, written.samples, written.reads, (*written.notes, _NO_PROVENANCE))


def _write_artifact(target: Path, source: Path, data: str, type_: str, format_: str) -> None:
    with source.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").digest()
    root = uuid.UUID(bytes=checksum[:16], version=4)
    texts = {
        "VERSION": f"QIIME 2\narchive: 0\nframework: ednabed {__version__}\n",
        "metadata.yaml": f"uuid: {root}\ntype: {type_}\nformat: {format_}\n",
    }
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(_member(f"{root}/{name}"), text)
        with source.open("rb") as file, archive.open(_member(f"{root}/{data}"), "w", force_zip64=True) as member:
            while block := file.read(1 << 20):
                member.write(block)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.compress_type = zipfile.ZIP_DEFLATED
    # As in QIIME 2's own archives: unpacked files are readable.
    member.external_attr = 0o644 << 16
    return member
