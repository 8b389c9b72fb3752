"""Parts that several pages share: display of errors, choice of a reference, jobs, tables and downloads."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from ednabed.api.manager import DataManager
from ednabed.dashboard.job import Job
from ednabed.dashboard.jobs import Jobs
from ednabed.dashboard.settings import settings
from ednabed.dashboard.status import ReferenceState, reference_states
from ednabed.dashboard.texts import cell, file_name, literal, message, time_text
from ednabed.errors import EdnabedError, InputError, StoreError
from ednabed.reference.opened import Reference
from ednabed.sequences import open_records
from ednabed.workflows.names import assignments_state, find_assignments
from ednabed.workflows.points import RowFacts, row_facts
from ednabed.workflows.search import Searcher

ACTIVE = ("waiting", "running")
"""States of jobs that have not ended."""
_SECONDS = 1.0
_MAX_BASES = 500_000_000
_MAX_SHOWN = 4_000
_SOON = 5.0
_WORDS = {
    "waiting": "waiting for other jobs",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled; no half-written files are left",
    "lost": "stopped without reporting an end; start it again",
    "broken": "its folder is damaged",
}
log = logging.getLogger("ednabed")


@contextmanager
def shown_errors() -> Iterator[None]:
    """Show an error in place of the part of the page that raised it, so that the rest still works."""
    try:
        yield
    except EdnabedError as error:
        st.error(message(str(error)))
    except OSError as error:
        log.exception("a part of the page failed")
        st.error(literal(f"{error.filename or ''}: {error.strerror or error}; check the disk and its free space"))
    except Exception as error:
        # Streamlit's own signals (stop, rerun) are not subclasses of Exception.
        log.exception("a part of the page failed")
        st.error(literal(f"This part of the page failed ({type(error).__name__}: {error}); the terminal shows where."))


def manager() -> DataManager:
    """Return the ``DataManager`` of the workspace."""
    return DataManager(settings().workspace)


def searcher() -> Searcher:
    """Return the ``Searcher`` of the workspace; all visits share it, with what the last search opened."""
    return _searcher(str(settings().workspace))


@st.cache_resource(show_spinner=False)
def _searcher(workspace: str) -> Searcher:
    return Searcher(Path(workspace))


def sound_runs() -> list[str]:
    """Return the labels of the runs without faults."""
    return [run.label for run in manager().list_runs() if run.fault is None]


def jobs() -> Jobs:
    """Return the jobs of this workspace."""
    return Jobs(settings().workspace)


# -- references --------------------------------------------------------------------------------------------------------


def choose_reference(key: str, *, calibrated: bool = False, label: str = "Reference") -> ReferenceState | None:
    """Let the user choose a reference; if there is none, show what to do and return None.

    Args:
        key: Key of the widget.
        calibrated: Offer only calibrated references.
        label: Label of the box.
    """
    states = [state for state in reference_states(settings().workspace) if state.manifest is not None]
    offered = [state for state in states if state.calibrated or not calibrated]
    if not offered:
        if states:
            st.info("No reference of this workspace is calibrated yet. The page *Studies* has a button for that.")
        else:
            st.info("This workspace has no reference yet. On the page *Studies*, add a study and consolidate.")
        return None
    by_address = {state.address: state for state in offered}
    chosen = by_address[st.selectbox(label, list(by_address), key=key)]
    st.caption(_reference_text(chosen))
    return chosen


def reference_at(address: str) -> ReferenceState:
    """Return the reference at an address.

    Raises:
        StoreError: It does not exist or is damaged.
    """
    for state in reference_states(settings().workspace):
        if state.address == address:
            if state.fault is not None:
                raise StoreError(state.fault)
            return state
    raise StoreError(f"the reference {address} no longer exists; choose another")


def _reference_text(state: ReferenceState) -> str:
    assert state.manifest is not None
    counts = state.manifest.counts
    suffix = ", calibrated" if state.calibrated else ""
    return f"{counts['sequences']:,} sequences in {counts['records']:,} records, {state.manifest.spec.model}{suffix}"


def cached_reference(state: ReferenceState) -> Reference:
    """Return an opened reference, shared by all visits until it has another build."""
    assert state.manifest is not None
    return _opened(str(settings().workspace), state.address, state.manifest.build)


@st.cache_resource(max_entries=3, show_spinner=False)
def _opened(workspace: str, address: str, build: str) -> Reference:
    opened = DataManager(workspace).open_reference(address)
    if opened.manifest.build != build:
        raise StoreError(f"{address} was just replaced by another build; reload the page")
    return opened


def facts_of(state: ReferenceState, assignments: str | None = None) -> RowFacts:
    """Return the facts about the rows of a reference, read once per build and assignments of its runs.

    Args:
        state: The reference.
        assignments: See ``names.find_assignments``.
    """
    assert state.manifest is not None
    workspace = settings().workspace
    files = assignments_state(cached_reference(state), workspace, assignments)
    return _facts(str(workspace), state.address, state.manifest.build, assignments, files)


@st.cache_resource(max_entries=3, show_spinner="Reading the records …")
def _facts(workspace: str, address: str, build: str, assignments: str | None, files: tuple[str, ...]) -> RowFacts:
    reference = _opened(workspace, address, build)
    return row_facts(reference, find_assignments(reference, Path(workspace), assignments).row_names(reference))


# -- uploads -----------------------------------------------------------------------------------------------------------


@contextmanager
def draft() -> Iterator[Path]:
    """Create a folder for a job that may not be started: an error in the block removes it with its uploads."""
    folder = jobs().new_folder()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep_uploads(folder: Path, uploads: Sequence[Any], first: int = 1) -> list[Path]:
    """Write uploads under safe names into a folder made for them; return the paths in the order of the uploads.

    Args:
        folder: The folder; created if it does not exist.
        uploads: Uploaded files of Streamlit.
        first: Number of the first upload, which begins its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, upload in enumerate(uploads, start=first):
        path = folder / file_name(upload.name, number)
        with path.open("wb") as file:
            upload.seek(0)
            shutil.copyfileobj(upload, file)
        paths.append(path)
    return paths


@contextmanager
def named_in_errors(path: Path, name: str) -> Iterator[None]:
    """Raise an InputError of the block again with the original name of the file instead of its path."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def count_records(paths: Sequence[Path], names: Sequence[str]) -> int | None:
    """Read files to their ends, so that a broken one is reported before a job starts; return the number of records.

    Return None if they contain more bases than a page should wait for (``_MAX_BASES``): the job itself reads the rest.

    Raises:
        InputError: One cannot be read as sequences; the message has its original name.
    """
    count = bases = 0
    for path, name in zip(paths, names, strict=True):
        with named_in_errors(path, name), open_records(path) as records:
            for batch in records:
                count += batch.num_rows
                bases += batch.column("sequence").nbytes
                if bases > _MAX_BASES:
                    return None
    return count


def records_text(count: int | None) -> str:
    """Return a number of records as a suffix of a title; empty if unknown."""
    return "" if count is None else f" ({count:,} record{'' if count == 1 else 's'})"


# -- jobs --------------------------------------------------------------------------------------------------------------


def jobs_of(kind: str) -> list[Job]:
    """Return the jobs of a kind, newest first."""
    return [job for job in jobs().list() if job.about.get("kind") == kind]


def show_started(job: Job) -> None:
    """Put a job into the address of the page, and show the page again."""
    st.query_params["job"] = job.id
    st.rerun()


def choose_job(kind: str, label: str) -> Job | None:
    """Let the user choose among the jobs of a kind, newest first; return None if there is none."""
    found = jobs_of(kind)
    if not found:
        return None
    ids = [job.id for job in found]
    requested = st.query_params.get("job")
    index = ids.index(requested) if requested in ids else 0
    if len(found) == 1:
        return found[0]
    texts = {job.id: _job_text(job) for job in found}
    chosen = st.selectbox(
        label, ids, index=index, format_func=lambda key: texts.get(key, key), key=f"{kind}_jobs_{ids[index]}"
    )
    if chosen != requested:
        st.query_params["job"] = chosen
    return next(job for job in found if job.id == chosen)


def _job_text(job: Job) -> str:
    return f"{job.created:%Y-%m-%d %H:%M} UTC: {job.title}"


def job_panel(job: Job, *, unfolded: bool = False, section: str = "") -> bool:
    """Show the state of a job, updated live, with a button that cancels it; return whether it is done.

    Args:
        job: The job.
        unfolded: Show its messages when it has ended, because they are its result.
        section: Distinguishes this panel from another one of the same job on the page.
    """
    state = job.state
    is_active = state in ACTIVE

    @st.fragment(run_every=_SECONDS if is_active else None)
    def panel() -> None:
        with shown_errors():
            _panel(jobs().get(job.id), is_active, unfolded, section)

    panel()
    return state == "done"


def _panel(job: Job, was_active: bool, unfolded: bool, section: str) -> None:
    state = job.state
    if was_active and state not in ACTIVE:
        st.rerun()
    progress = job.progress
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.markdown(f"**{literal(job.title)}**: {_WORDS[state]}")
        if state in ACTIVE:
            if right.button("Cancel", key=f"cancel_{section}_{job.id}", width="stretch"):
                job.cancel()
            if progress is None:
                st.progress(0.0, text="starting …")
            else:
                total = progress.total or (job.about.get("records") if progress.unit == "query" else None)
                of_total = f" of {total:,}" if total else ""
                time_left = ""
                if total and progress.rate and progress.seconds > _SOON and progress.done > total // 50:
                    time_left = f", about {time_text(max(0, total - progress.done) / progress.rate)} left"
                share = min(1.0, progress.done / total) if total else 0.0
                text = f"{progress.doing}: {progress.done:,}{of_total}, {time_text(progress.seconds)}{time_left}"
                st.progress(share, text=text)
        elif state in ("failed", "lost", "broken"):
            st.error(literal(job.error or _WORDS[state]))
        with st.expander("Messages and command line", expanded=unfolded and state not in ACTIVE):
            st.code(job.command, language=None, wrap_lines=True)
            messages = "\n".join(text for text in (job.notices.strip(), job.output.strip()) if text)
            if state in ACTIVE:
                messages = messages[-_MAX_SHOWN:]
            st.code(messages or "nothing yet", language=None, wrap_lines=True)
            warning = "The uploads and results in the folder of this job are removed too."
            if state not in ACTIVE and st.button("Remove this job", key=f"remove_{section}_{job.id}", help=warning):
                job.remove()
                st.query_params.pop("job", None)
                st.rerun()


# -- tables and downloads ----------------------------------------------------------------------------------------------


def show_table(columns: Mapping[str, Sequence[Any]], **options: Any) -> Any:
    """Show a table; text in it is shown unchanged, except that no cell is a formula in a downloaded table."""
    shown = {name: [cell(v) if isinstance(v, str) else v for v in values] for name, values in columns.items()}
    return st.dataframe(shown, width="stretch", hide_index=True, **options)


def file_bytes(name: str, write: Callable[[Path], None]) -> bytes:
    """Return the content of a file that a function of the library writes to the path it is given."""
    with tempfile.TemporaryDirectory(prefix="ednabed-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()
