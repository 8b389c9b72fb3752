"""The choice of sequences for a job: uploaded files, or a run of the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from ednabed.dashboard.parts import (
    count_records,
    draft,
    keep_uploads,
    manager,
    named_in_errors,
    records_text,
    sound_runs,
)
from ednabed.errors import InputError, UsageError
from ednabed.sequences.counts import read_count_table

_FILES, _RUN = "files", "a run of this workspace"


@dataclass(frozen=True)
class Inputs:
    """The sequences that were chosen.

    Attributes:
        folder: Folder of the job to be started, which contains the uploads.
        paths: Sequence files.
        counts: Count table; None if none was given.
        records: Number of records in the files; None if there are too many to count beforehand.
        title: What to call the sequences.
        run: The run that the records belong to; None for uploaded files.
    """

    folder: Path
    paths: list[Path]
    counts: Path | None
    records: int | None
    title: str
    run: str | None = None


def choose_inputs(key: str) -> Inputs | None:
    """Show the choice and a button; return the choice once the button is pressed, else None.

    The files are first read through with the readers of the library, so that a broken one is reported at once.

    Raises:
        UsageError: Nothing was chosen.
        InputError: A file cannot be read.
    """
    runs = sound_runs()
    source = st.radio("Sequences", [_FILES, _RUN], horizontal=True, key=f"{key}_source") if runs else _FILES
    files, run, table = [], None, None
    if source == _RUN:
        run = st.selectbox("Run", runs, key=f"{key}_run")
    else:
        left, right = st.columns(2)
        files = left.file_uploader(
            "Sequence files (FASTA, FASTQ, TSV, CSV, Parquet; also .gz, .zst)",
            accept_multiple_files=True,
            key=f"{key}_files",
        )
        table = right.file_uploader(
            "Reads by sample, optional (TSV or CSV: ids in rows, samples in columns)", key=f"{key}_counts"
        )
    if not st.button(key.capitalize(), type="primary", key=f"{key}_begin"):
        return None
    if not files and run is None:
        raise UsageError("no file is chosen; choose at least one")
    with draft() as folder, st.spinner("Reading the files …"):
        if run is not None:
            records = manager().get_run_files(run).get("records")
            if records is None:
                raise InputError(f"{run} was created by an older tool and has no records; choose its sequence file")
            return Inputs(folder, [records], None, count_records([records], [run]), run, run)
        paths = keep_uploads(folder / "inputs", files)
        names = [file.name for file in files]
        count = count_records(paths, names)
        counts = None
        if table is not None:
            counts = keep_uploads(folder / "inputs", [table], len(paths) + 1)[0]
            with named_in_errors(counts, table.name):
                read_count_table(counts)
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"
    return Inputs(folder, paths, counts, count, title + records_text(count))
