"""What several pages share: errors in their place, the choice of a reference, running work, tables and downloads."""

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
from ednabed.api.names import assignments_state, find_assignments
from ednabed.api.points import RowFacts, row_facts
from ednabed.api.status import ReferenceState, reference_states
from ednabed.dashboard.job import Job
from ednabed.dashboard.jobs import Jobs
from ednabed.dashboard.settings import settings
from ednabed.dashboard.texts import cell, file_name, plain, time_text
from ednabed.errors import EdnabedError, InputError, StoreError
from ednabed.reference.opened import Reference
from ednabed.sequences import open_records

ACTIVE = ("waiting", "running")
"""States of work that has not ended."""
_SECONDS = 1.0
_MOST_LETTERS = 500_000_000
_SHOWN_AT_WORK = 4_000
_SOON = 5.0
_WORDS = {
    "waiting": "waits for other work",
    "running": "at work",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled; nothing half-written is left",
    "lost": "ended without telling; start it again",
    "broken": "its folder is damaged",
}
log = logging.getLogger("ednabed")


@contextmanager
def told_errors() -> Iterator[None]:
    """Show an error of a part of the page in its place, so that the rest of it lives on."""
    try:
        yield
    except EdnabedError as error:
        st.error(plain(str(error)))
    except OSError as error:
        log.exception("a part of the page failed")
        st.error(plain(f"{error.filename or ''}: {error.strerror or error}; look at the disk and its free space"))
    except Exception as error:
        # Streamlit's own signals (stop, rerun) are no Exception.
        log.exception("a part of the page failed")
        st.error(plain(f"This part of the page failed ({type(error).__name__}: {error}); the terminal shows where."))


def manager() -> DataManager:
    """Return the workspace of the page; all visits share one, which keeps what the last search opened."""
    return _manager(str(settings().workspace))


@st.cache_resource(show_spinner=False)
def _manager(workspace: str) -> DataManager:
    return DataManager(workspace)


def sound_runs() -> list[str]:
    """Return the labels of the runs that can be used."""
    return [run.label for run in manager().list_runs() if run.fault is None]


def jobs() -> Jobs:
    """Return the work that was begun in this workspace."""
    return Jobs(settings().workspace)


# -- references --------------------------------------------------------------------------------------------------------


def choose_reference(key: str, *, calibrated: bool = False, label: str = "Reference") -> ReferenceState | None:
    """Let the person choose a reference; tell what to do where there is none.

    Args:
        key: Of the widget.
        calibrated: Offer calibrated ones only.
        label: What the box is called.
    """
    states = [state for state in reference_states(settings().workspace) if state.manifest is not None]
    fitting = [state for state in states if state.calibrated or not calibrated]
    if not fitting:
        if states:
            st.info("No reference of this workspace is calibrated yet. *Studies* has a button for that.")
        else:
            st.info("This workspace has no reference yet. On the page *Studies*, add a study and consolidate.")
        return None
    of_address = {state.address: state for state in fitting}
    chosen = of_address[st.selectbox(label, list(of_address), key=key)]
    st.caption(_reference_text(chosen))
    return chosen


def reference_at(address: str) -> ReferenceState:
    """Return the reference of an address.

    Raises:
        StoreError: It is gone or damaged.
    """
    for state in reference_states(settings().workspace):
        if state.address == address:
            if state.fault is not None:
                raise StoreError(state.fault)
            return state
    raise StoreError(f"the reference {address} is not there any more; choose another")


def _reference_text(state: ReferenceState) -> str:
    assert state.manifest is not None
    counts = state.manifest.counts
    more = ", calibrated" if state.calibrated else ""
    return f"{counts['sequences']:,} sequences of {counts['records']:,} records, {state.manifest.spec.model}{more}"


def open_reference(state: ReferenceState) -> Reference:
    """Return a reference, opened once for all visits until it has another build."""
    assert state.manifest is not None
    return _opened(str(settings().workspace), state.address, state.manifest.build)


@st.cache_resource(max_entries=3, show_spinner=False)
def _opened(workspace: str, address: str, build: str) -> Reference:
    opened = DataManager(workspace).open_reference(address)
    if opened.manifest.build != build:
        raise StoreError(f"{address} has got another build just now; load the page again")
    return opened


def facts_of(state: ReferenceState, assignments: str | None = None) -> RowFacts:
    """Return the facts on the rows of a reference, read once for each build and the assignments of its runs.

    Args:
        state: The reference.
        assignments: See ``names.find_assignments``.
    """
    assert state.manifest is not None
    workspace = settings().workspace
    files = assignments_state(open_reference(state), workspace, assignments)
    return _facts(str(workspace), state.address, state.manifest.build, assignments, files)


@st.cache_resource(max_entries=3, show_spinner="Reading the records …")
def _facts(workspace: str, address: str, build: str, assignments: str | None, files: tuple[str, ...]) -> RowFacts:
    reference = _opened(workspace, address, build)
    return row_facts(reference, find_assignments(reference, Path(workspace), assignments).row_names(reference))


# -- uploads -----------------------------------------------------------------------------------------------------------


@contextmanager
def draft() -> Iterator[Path]:
    """Give a folder for work that may not begin: an error in the block takes it away, uploads and all."""
    folder = jobs().new_folder()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def keep_uploads(folder: Path, uploads: Sequence[Any], first: int = 1) -> list[Path]:
    """Write uploads into a folder made for them, under names of ours; return the paths in their order."""
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
def called(path: Path, name: str) -> Iterator[None]:
    """Call a file in the errors of the block by the name that it had."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def count_records(paths: Sequence[Path], names: Sequence[str]) -> int | None:
    """Read files through to their ends, so that a broken one is told before work begins; return their records.

    None where they hold more letters than a page should wait for (``_MOST_LETTERS``): the work itself reads on.

    Raises:
        InputError: One cannot be read as sequences; it is called by the name it had.
    """
    count = letters = 0
    for path, name in zip(paths, names, strict=True):
        with called(path, name), open_records(path) as records:
            for batch in records:
                count += batch.num_rows
                letters += batch.column("sequence").nbytes
                if letters > _MOST_LETTERS:
                    return None
    return count


def records_text(count: int | None) -> str:
    """Write a number of records that may be unknown."""
    return "" if count is None else f" ({count:,} record{'' if count == 1 else 's'})"


# -- running work ------------------------------------------------------------------------------------------------------


def jobs_of(kind: str) -> list[Job]:
    """Return the work of a kind, the newest first."""
    return [job for job in jobs().list() if job.about.get("kind") == kind]


def show_started(job: Job) -> None:
    """Put work into the address of the page, and show the page anew."""
    st.query_params["job"] = job.id
    st.rerun()


def choose_job(kind: str, label: str) -> Job | None:
    """Let the person choose among the work of a kind, the newest first; None where there is none."""
    found = jobs_of(kind)
    if not found:
        return None
    ids = [job.id for job in found]
    asked = st.query_params.get("job")
    index = ids.index(asked) if asked in ids else 0
    if len(found) == 1:
        return found[0]
    texts = {job.id: _job_text(job) for job in found}
    chosen = st.selectbox(
        label, ids, index=index, format_func=lambda key: texts.get(key, key), key=f"{kind}_jobs_{ids[index]}"
    )
    if chosen != asked:
        st.query_params["job"] = chosen
    return next(job for job in found if job.id == chosen)


def _job_text(job: Job) -> str:
    return f"{job.created:%Y-%m-%d %H:%M} UTC: {job.title}"


def job_panel(job: Job, *, unfolded: bool = False, place: str = "") -> bool:
    """Show how work stands, live, with a button that cancels it. Returns whether it is done.

    Args:
        job: The work.
        unfolded: Show what it said, because that is its result.
        place: Tells this panel from another of the same work on the page.
    """
    state = job.state
    at_work = state in ACTIVE

    @st.fragment(run_every=_SECONDS if at_work else None)
    def panel() -> None:
        with told_errors():
            _panel(jobs().get(job.id), at_work, unfolded, place)

    panel()
    return state == "done"


def _panel(now: Job, was_at_work: bool, unfolded: bool, place: str) -> None:
    state = now.state
    if was_at_work and state not in ACTIVE:
        st.rerun()
    progress = now.progress
    with st.container(border=True):
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.markdown(f"**{plain(now.title)}**: {_WORDS[state]}")
        if state in ACTIVE:
            if right.button("Cancel", key=f"cancel_{place}_{now.id}", width="stretch"):
                now.cancel()
            if progress is None:
                st.progress(0.0, text="beginning …")
            else:
                total = progress.total or (now.about.get("records") if progress.unit == "query" else None)
                of = f" of {total:,}" if total else ""
                left_over = ""
                if total and progress.rate and progress.seconds > _SOON and progress.done > total // 50:
                    left_over = f", about {time_text(max(0, total - progress.done) / progress.rate)} left"
                share = min(1.0, progress.done / total) if total else 0.0
                text = f"{progress.doing}: {progress.done:,}{of}, {time_text(progress.seconds)}{left_over}"
                st.progress(share, text=text)
        elif state in ("failed", "lost", "broken"):
            st.error(plain(now.error or _WORDS[state]))
        with st.expander("Messages, and the same as a command", expanded=unfolded and state not in ACTIVE):
            st.code(now.command, language=None, wrap_lines=True)
            said = "\n".join(text for text in (now.notices.strip(), now.output.strip()) if text)
            if state in ACTIVE:
                said = said[-_SHOWN_AT_WORK:]
            st.code(said or "nothing yet", language=None, wrap_lines=True)
            told = "Its uploads and results in the folder of this work go too."
            if state not in ACTIVE and st.button("Remove it", key=f"remove_{place}_{now.id}", help=told):
                now.remove()
                st.query_params.pop("job", None)
                st.rerun()


# -- tables and downloads ----------------------------------------------------------------------------------------------


def table(columns: Mapping[str, Sequence[Any]], **options: Any) -> Any:
    """Show a table; texts in it are shown as they stand, and are no formulas for whoever downloads it."""
    shown = {name: [cell(v) if isinstance(v, str) else v for v in values] for name, values in columns.items()}
    return st.dataframe(shown, width="stretch", hide_index=True, **options)


def made_file(name: str, write: Callable[[Path], None]) -> bytes:
    """Return the bytes of a file that a function of the library writes."""
    with tempfile.TemporaryDirectory(prefix="ednabed-") as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()
