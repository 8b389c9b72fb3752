"""QIIME 2 artifacts (``.qza``): the data file in the zip is read directly, after names and sizes have been checked.

An artifact is a zip with one top folder, named by a UUID, that contains ``VERSION``, ``metadata.yaml`` (uuid, type and
format) and ``data/`` (https://develop.qiime2.org, *Anatomy of an Archive*). Nothing is ever unpacked to a path that the
archive chooses.
"""

from __future__ import annotations

import re
import zipfile
from typing import IO, BinaryIO, Literal

from ednabed.errors import InputError
from ednabed.sequences.zip_members import DAMAGE, MAX_BYTES, is_credible

Use = Literal["sequences", "labels", "counts", "samples"]
"""The purpose of reading a file."""

_METADATA_BYTES = 64 * 1024
_LOCAL_HEADER = 30
"""Number of bytes of a zip before the name of its first member."""

_ROOT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_FIELD = re.compile(r"^(uuid|type|format):\s*(.*?)\s*$", re.MULTILINE)

_KINDS: dict[str, tuple[str, Use]] = {
    "FeatureData[Sequence]": ("data/dna-sequences.fasta", "sequences"),
    "FeatureData[AlignedSequence]": ("data/aligned-dna-sequences.fasta", "sequences"),
    "FeatureData[Taxonomy]": ("data/taxonomy.tsv", "labels"),
    "FeatureTable[Frequency]": ("data/feature-table.biom", "counts"),
    "FeatureTable[PresenceAbsence]": ("data/feature-table.biom", "counts"),
}
_ADVICE: dict[Use, str] = {
    "sequences": "give it as an input of 'ednabed embed'",
    "labels": "give it as labels (`labels`)",
    "counts": "give it as a count table (`abundance`)",
    "samples": "give it as a table of samples (`samples`)",
}
_EXPECTED: dict[Use, str] = {
    "sequences": "FeatureData[Sequence]",
    "labels": "FeatureData[Taxonomy]",
    "counts": "FeatureTable[Frequency]",
    "samples": "a TSV or CSV",
}


class Artifact:
    """The data of an artifact as a stream.

    Attributes:
        type: The semantic type, such as ``FeatureTable[Frequency]``.
        stream: The decompressed data. ``close`` it when done.
    """

    def __init__(self, type_: str, archive: zipfile.ZipFile, stream: IO[bytes], path: str) -> None:
        self.type = type_
        self._archive = archive
        self.stream = stream
        self._path = path

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the data, empty at the end. Raises InputError if they are damaged."""
        try:
            return self.stream.read(size)
        except DAMAGE as error:
            raise _damaged(self._path, error) from error

    def close(self) -> None:
        """Close the archive; the file passed in stays open."""
        self.stream.close()
        self._archive.close()


def open_artifact(file: BinaryIO, path: str, use: Use) -> Artifact | None:
    """Open the data of an artifact.

    Args:
        file: A seekable zip archive.
        path: Its name, for messages.
        use: The purpose of reading.

    Returns:
        The artifact; None if the zip is another type of archive (a workbook, a Darwin Core Archive).

    Raises:
        InputError: It is a visualization or an artifact of another type than ``use`` needs, a member is outside its
            folder, its sizes are not credible, or it is damaged.
    """
    file.seek(_LOCAL_HEADER)
    begins = file.read(36).decode("ascii", "replace")
    try:
        archive = zipfile.ZipFile(file)
        names = archive.namelist()
    except DAMAGE as error:
        if not _ROOT.fullmatch(begins):
            return None
        raise InputError(
            f"{path}: is a QIIME 2 artifact that is truncated or damaged; copy or download it again"
        ) from error
    roots = {name.split("/", 1)[0] for name in names}
    metadata = [name for name in names if re.fullmatch(r"[^/]+/metadata\.yaml", name)]
    if not metadata or not any(_ROOT.fullmatch(root) for root in roots):
        archive.close()
        return None
    try:
        root = _check_names(names, roots, path)
        type_ = _type_of(archive, root, path)
        data, kind = _payload(type_, path)
        if kind != use:
            raise InputError(
                f"{path}: is a QIIME 2 artifact of type {type_}, expected {_EXPECTED[use]}; {_ADVICE[kind]}"
            )
        stream = _open(archive, f"{root}/{data}", path)
    except BaseException:
        archive.close()
        raise
    return Artifact(type_, archive, stream, path)


def _check_names(names: list[str], roots: set[str], path: str) -> str:
    """Return the one top folder; refuse every name that leaves it."""
    for name in names:
        parts = name.rstrip("/").split("/")
        if "\\" in name or "\0" in name or ":" in name or ".." in parts or "." in parts or "" in parts:
            raise InputError(
                f"{path}: contains a member named {name[:80]!r}, which leaves the folder of the artifact, so it was "
                "not created by QIIME 2; do not use it, and export the data again"
            )
    if len(roots) != 1:
        raise InputError(
            f"{path}: has {len(roots)} top folders, expected the one of a QIIME 2 artifact; export the data again"
        )
    return roots.pop()


def _type_of(archive: zipfile.ZipFile, root: str, path: str) -> str:
    text = _open(archive, f"{root}/metadata.yaml", path, _METADATA_BYTES)
    try:
        written = text.read(_METADATA_BYTES).decode("utf-8", "replace")
        fields: dict[str, str] = dict(_FIELD.findall(written))
    except DAMAGE as error:
        raise _damaged(path, error) from error
    finally:
        text.close()
    type_ = fields.get("type", "").strip("'\"")
    if not type_:
        raise InputError(f"{path}: its metadata.yaml has no type, expected a QIIME 2 artifact; export the data again")
    return type_


def _payload(type_: str, path: str) -> tuple[str, Use]:
    # Properties ("FeatureTable[Frequency % Properties('x')]") do not change the type of the data.
    bare = re.sub(r"\s*%.*?(?=\]|$)", "", type_)
    if bare in _KINDS:
        return _KINDS[bare]
    if bare == "Visualization":
        raise InputError(
            f"{path}: is a QIIME 2 visualization, which contains a web page; give the artifact (.qza) that it was "
            "created from"
        )
    known = ", ".join(kind for kind in _KINDS if kind != "FeatureTable[PresenceAbsence]")
    raise InputError(f"{path}: is a QIIME 2 artifact of type {type_}; give one of these types: {known}")


def _open(archive: zipfile.ZipFile, name: str, path: str, max_bytes: int = MAX_BYTES) -> IO[bytes]:
    try:
        member = archive.getinfo(name)
    except KeyError as error:
        raise InputError(
            f"{path}: the artifact has no {name.split('/', 1)[1]}; export the data with 'qiime tools export' and give "
            "the exported file"
        ) from error
    if not is_credible(member, max_bytes):
        raise InputError(
            f"{path}: {name.split('/', 1)[1]} would take {member.file_size:,} bytes, decompressed from "
            f"{member.compress_size:,}, which no artifact of this type does; export the data with 'qiime tools export' "
            "and give the exported file"
        )
    try:
        return archive.open(member)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: the artifact is truncated, damaged or encrypted ({error}); copy or download it again")
