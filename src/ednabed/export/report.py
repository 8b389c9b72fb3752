"""Reports of the content of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """Counts of a writer.

    Attributes:
        sequences: Number of distinct sequences written.
        records: Number of records that the output represents.
        samples: Number of samples among them if the format has samples; else None.
        reads: Number of reads if the format has reads; else None.
        notes: Notes for readers of the export, in sentences.
    """

    sequences: int
    records: int
    samples: int | None = None
    reads: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportReport:
    """Summary of an export.

    Attributes:
        format: Name of the format.
        target: The file or folder.
        files: Names of the files in it, if it is a folder.
        sequences: Number of distinct sequences.
        records: Number of records that they represent.
        samples: Number of samples; None if the format has none.
        reads: Number of reads; None if the format has none.
        notes: Notes for readers of the export, in sentences: what was omitted, changed or unknown.
    """

    format: str
    target: Path
    files: tuple[str, ...]
    sequences: int
    records: int
    samples: int | None
    reads: int | None
    notes: tuple[str, ...]
