"""Recognise the format of an input by its first bytes, and give advice for the many files that cannot be read here.

Sequences are read from FASTA, FASTQ, Parquet or a table with a header line. For other common files (QIIME 2 artifacts,
Excel, BIOM, BAM, GenBank, archives, UTF-16 text), the error is one sentence that explains how to export them.
"""

from __future__ import annotations

import re
from typing import Literal

from ednabed.errors import InputError

Format = Literal["fasta", "fastq", "parquet", "table", "dwca"]

UTF8_BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_SAM = re.compile(rb"@(?:HD|SQ|RG|PG|CO)\t")

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xfe", "is UTF-16 text; save it as UTF-8 (in Excel: 'CSV UTF-8')"),
    (b"\xfe\xff", "is UTF-16 text; save it as UTF-8 (in Excel: 'CSV UTF-8')"),
    (b"\x89HDF", "is HDF5, such as a BIOM count table; give its sequences as input and this file as their count "
                 "table"),
    (b"BAM\x01", "is BAM; export it first with 'samtools fasta' or 'samtools fastq'"),
    (b"CRAM", "is CRAM; export it first with 'samtools fasta' or 'samtools fastq'"),
    (b"BZh", "is compressed with bzip2; decompress it first, or compress with gzip or zstd"),
    (b"\xfd7zXZ", "is compressed with xz; decompress it first, or compress with gzip or zstd"),
    (b"\x1f\x8b", "is compressed twice; decompress it once with gunzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed twice; decompress it once"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel or Word file; save it as CSV or as plain text first"),
    (b"SQLite format 3", "is an SQLite database; export the table as CSV first"),
    (b"%PDF", "is a PDF; give the sequences as FASTA"),
    (b"ARROW1", "is an Arrow/Feather file; save it as Parquet or CSV first"),
    (b"\x93NUMPY", "is a numpy array, not sequences; give the sequences as FASTA or a table"),
    (b"LOCUS  ", "is GenBank; export it first as FASTA"),
    (b"ID   ", "is EMBL; export it first as FASTA"),
    (b"#NEXUS", "is NEXUS; export it first as FASTA"),
    (b"<", "is XML or HTML, perhaps the web page of a failed download; download the sequences again as FASTA"),
)  # fmt: skip


def sniff(head: bytes, path: str) -> Format:
    """Return the format of the decompressed input, recognised by its first bytes.

    Args:
        head: The first bytes, not only white space.
        path: The name used in messages.

    Raises:
        InputError: The format is not supported; the message gives the next step.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        raise InputError(f"{path}: is a zip archive; {_unzip_advice(head, path)}")
    if head[257:262] == b"ustar":
        raise InputError(f"{path}: is a tar archive; unpack it first and give the sequence files in it")
    text = head.removeprefix(UTF8_BOM).lstrip()
    for start, sentence in _FOREIGN:
        if text.startswith(start) or head.startswith(start):
            raise InputError(f"{path}: {sentence}")
    if _CONTROL.search(head):
        raise binary_error(path)
    if text.startswith((b'{"', b"{ ", b"{\n", b"{\r", b"[{")):
        raise InputError(
            f"{path}: is JSON, such as a BIOM count table; give its sequences as input and this file as their count "
            "table"
        )
    if text.startswith(b"@"):
        if _SAM.match(text):
            raise InputError(f"{path}: is SAM; export it first with 'samtools fasta' or 'samtools fastq'")
        return "fastq"
    # Both FASTA and tables may begin with comment lines ('# Constructed from biom file').
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith(b"#")), b"")
    return "fasta" if first.startswith(b">") else "table"


def binary_error(path: str) -> InputError:
    """Return the error for a file that is not text."""
    return InputError(
        f"{path}: is a binary file or UTF-16 text, not sequences as text; "
        "give FASTA, FASTQ, TSV or CSV (UTF-8, plain, .gz or .zst) or Parquet"
    )


def _unzip_advice(head: bytes, path: str) -> str:
    lower = path.lower()
    if lower.endswith((".qza", ".qzv")) or b"/VERSION" in head[:4096]:
        return f"export QIIME 2 artifacts first, with 'qiime tools export --input-path {path} --output-path exported'"
    if lower.endswith(".xlsx") or b"[Content_Types].xml" in head[:4096]:
        return "export Excel workbooks first: save the sheet as 'CSV UTF-8'"
    return "unpack it first and give the sequence file in it"
