"""What an export holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """What a writer counted.

    Attributes:
        sequences: Distinct sequences written.
        records: Records that stand behind what was written.
        samples: Samples among them, where the format has samples; else None.
        reads: Reads, where the format has reads; else None.
        notes: Sentences that a reader of the export should know.
    """

    sequences: int
    records: int
    samples: int | None = None
    reads: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportReport:
    """What was exported.

    Attributes:
        format: Name of the format.
        target: The file or folder.
        files: Names of the files in it, where it is a folder.
        sequences: Distinct sequences.
        records: Records that stand behind them.
        samples: Samples; None where the format has none.
        reads: Reads; None where the format has none.
        notes: Sentences that a reader of the export should know: what was left out, changed or unknown.
    """

    format: str
    target: Path
    files: tuple[str, ...]
    sequences: int
    records: int
    samples: int | None
    reads: int | None
    notes: tuple[str, ...]
