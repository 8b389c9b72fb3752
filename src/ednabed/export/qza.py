"""Distinct sequences as QIIME 2 artifacts (``.qza``): taxonomy, feature table and sequences, without provenance.

An artifact is a zip with one folder, named by a UUID of version 4, of ``VERSION``, ``metadata.yaml`` (uuid, type and
format) and ``data/``. This is archive format 0 (qiime2/qiime2, ``core/archive/format/v0.py`` and ``core/archive/
archiver.py``), the one that holds no provenance, which QIIME 2 reads to this day: where the data come from was recorded
by ednabed, and a provenance in QIIME 2's form would claim actions of its plugins that did not run. The same data make
the same UUID and the same bytes, but for the date in BIOM.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ednabed import __version__
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import check_target_folder, whole_folder
from ednabed.export.qiime2 import SEQUENCES, TABLE_BIOM, TAXONOMY, write_files
from ednabed.export.report import Written
from ednabed.export.selection import Selection

_ARTIFACTS = (
    ("taxonomy.qza", TAXONOMY, "data/taxonomy.tsv", "FeatureData[Taxonomy]", "TSVTaxonomyDirectoryFormat"),
    ("table.qza", TABLE_BIOM, "data/feature-table.biom", "FeatureTable[Frequency]", "BIOMV210DirFmt"),
    ("rep-seqs.qza", SEQUENCES, "data/dna-sequences.fasta", "FeatureData[Sequence]", "DNASequencesDirectoryFormat"),
)
"""Name of an artifact, the file that it is made of, its place in the artifact, semantic type and directory format."""
_NO_PROVENANCE = (
    "the artifacts are of QIIME 2's archive format 0, which holds no provenance: what QIIME 2 records begins with them"
)
# The first moment that a zip can hold.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def write_qza(selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, about: dict[str, Any]) -> Written:
    """Write a folder of artifacts, which appears whole or not at all.

    Args:
        selection: What to write.
        names: Where names come from.
        ids: What features are called.
        target: The folder.
        about: What ``export.json`` says more.

    Returns:
        What was written. Where no bases are known there is no ``rep-seqs.qza``.

    Raises:
        UsageError: The folder is a file, lies in a run or a reference, or holds something else.
    """
    check_target_folder(target, "qza")
    with whole_folder(target, "qza", about) as work, TemporaryDirectory(dir=work.parent, prefix=".export.") as place:
        written = write_files(selection, names, ids, Path(place))
        for name, source, data, type_, format_ in _ARTIFACTS:
            if (Path(place) / source).exists():
                _write_artifact(work / name, Path(place) / source, data, type_, format_)
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
    member = zipfile.ZipInfo(name, _MOMENT)
    member.compress_type = zipfile.ZIP_DEFLATED
    # As QIIME 2's own: what is unpacked can be read.
    member.external_attr = 0o644 << 16
    return member
