"""Report data that an export lacks and its users will need, with the command that adds it."""

from __future__ import annotations

from ednabed.export.names import Namer
from ednabed.export.selection import Selection

NEED_NAMES = ("tsv", "parquet", "h5ad", "qiime2", "qza", "mdt", "faire", "dwc", "krona")
NEED_SAMPLES = ("qiime2", "qza", "mdt", "faire", "dwc")


def missing(selection: Selection, format: str, names: Namer, *, per_sample: bool = False) -> list[str]:
    """Return a sentence for each thing that is missing, once an export has been written.

    Coordinates and dates are reported by the formats that require them (``dwc``, ``mdt``).

    Args:
        selection: The sequences and records that were exported.
        format: Name of the format.
        names: Source of the names.
        per_sample: For ``krona``: whether one file per sample was written.
    """
    notes = []
    if format in NEED_NAMES and names.requested and not names.named and not names.has_assignments:
        runs = selection.runs()
        more = f" (and {len(runs) - 1:,} more runs)" if len(runs) > 1 else ""
        notes.append(
            f"no record has a name; classify the sequences of this run{more} against a labelled reference ('ednabed "
            f"classify --run {runs[0]} --reference DIR'), then export again"
        )
    if format in NEED_SAMPLES or per_sample:
        samples = selection.samples()
        unknown = [sample for sample in samples if sample[1] is None]
        if len(unknown) == len(samples):
            notes.append(
                "no record names its sample, so all reads are counted under no_sample; embed the input again with its "
                "count table ('ednabed embed FILE --abundance TABLE') or with ;sample= in its headers"
            )
        elif unknown:
            datasets = ", ".join(dict.fromkeys(dataset for dataset, _ in unknown))
            notes.append(f"some records of {datasets} do not name a sample; their reads are counted under no_sample")
    return notes
