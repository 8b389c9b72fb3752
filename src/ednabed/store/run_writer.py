"""Turn input files into a finished run folder, exactly once, regardless of interruptions.

Work happens in a folder whose name begins with a dot, next to the future run folder. Computed vectors go to the journal
in that folder, so if a killed command is started again, it computes only what is missing. A single rename gives the run
its final name once every file in it is complete and has a checksum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ednabed.base.atomic import write_atomic
from ednabed.base.files import check_name, file_entry, sha256_file
from ednabed.base.locks import exclusive
from ednabed.base.times import utc_now
from ednabed.base.version import software_versions
from ednabed.errors import InputError, StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.sequences import read_labels, read_samples
from ednabed.sequences.readers import READING
from ednabed.store.attempts import entries_of, record_attempt
from ednabed.store.count_inputs import CountInputs, counts_notes, counts_summary, find_count_inputs, open_counts
from ednabed.store.distinct import DistinctIndex
from ednabed.store.journal import VectorJournal
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.run_vectors import Computed, assemble, compute
from ednabed.store.runs import RECORDS, REJECTED, Run, run_folders, runs_root
from ednabed.store.staging import Acceptance, Input, Joined, RejectedFile, Staged, display_names, stage
from ednabed.store.vectors import EMBEDDINGS

log = logging.getLogger("ednabed")

STDIN = Path("-")


@dataclass(frozen=True)
class RunRequest:
    """The sequences to embed and the path of the run.

    Attributes:
        inputs: Files; ``Path("-")`` is standard input. If empty, the count tables, which must then contain sequences.
        workspace: Folder that contains ``consolidated_data``.
        dataset: Name of the study; the run gets a folder in it, named after the current time. If both this and
            ``output`` are None, the dataset is ``default``.
        output: Folder of the run itself, instead of a dataset.
        labels: TSV or CSV with id and lineage, or None.
        samples: TSV or CSV with sample metadata, or None.
        abundance: Count tables; the run then has one record for each feature and sample with reads.
        use_counts: False reads only the sequences from inputs that contain counts by sample.
        min_length: Minimum sequence length, in bases.
        max_sequences: Maximum number of accepted records; None accepts all.
        batch_size: Maximum sequences per batch; None applies only the token budget.
        keep_placeholders: Keep names such as ``uncultured bacterium`` in lineages instead of treating them as unknown.
        resume: False discards earlier unfinished work and creates another run even if the same one exists.
    """

    inputs: Sequence[Path]
    workspace: Path
    dataset: str | None = None
    output: Path | None = None
    labels: Path | None = None
    samples: Path | None = None
    abundance: Sequence[Path] = ()
    use_counts: bool = True
    min_length: int = 20
    max_sequences: int | None = None
    batch_size: int | None = None
    keep_placeholders: bool = False
    resume: bool = True

    def __post_init__(self) -> None:
        """Refuse an invalid request."""
        if not self.sources:
            raise UsageError("no input was given; give one or more sequence files, or - for standard input")
        if self.dataset is not None and self.output is not None:
            raise UsageError("`dataset` and `output` exclude each other; omit one of them")
        if self.dataset is not None:
            check_name("dataset", self.dataset)
        if self.max_sequences is not None and self.max_sequences < 1:
            raise UsageError(f"`max_sequences` is {self.max_sequences}; it must be at least 1")
        if self.abundance and not self.use_counts:
            raise UsageError("`abundance` and `use_counts=False` exclude each other; omit one of them")
        if [*self.sources, *self.separate_tables].count(STDIN) > 1:
            raise UsageError("standard input (-) can be given only once")

    @property
    def sources(self) -> Sequence[Path]:
        """The files whose sequences are embedded."""
        return self.inputs or self.abundance

    @property
    def separate_tables(self) -> Sequence[Path]:
        """The count tables that are not ``sources``."""
        return [path for path in self.abundance if path not in self.sources]


@dataclass(frozen=True)
class RunResult:
    """Outcome of ``embed_to_run``.

    Attributes:
        run: The finished run.
        existed: Whether the same run already existed, so that nothing was done.
        computed: Distinct sequences computed by this call.
        taken_up: Distinct sequences reused from an interrupted earlier attempt.
    """

    run: Run
    existed: bool
    computed: int
    taken_up: int


def embed_to_run(request: RunRequest, embedder: Embedder, *, show_progress: bool | None = None) -> RunResult:
    """Embed the inputs of ``request`` into a new run.

    Raises:
        InputError: An input cannot be read or contains no usable record; nothing is left behind.
        StoreError: ``output`` exists and is another run, or another process is doing the same work.
        EmbeddingError: The encoder failed on the record it names; computed vectors are kept for the next attempt.
    """
    parent, name = _parent_and_name(request)
    work = parent / f".partial-{_work_key(request, embedder)}-{name[:20]}"
    created = [folder for folder in work.parents if not folder.exists()]
    lock_left = False
    source = "standard input into the same folder" if STDIN in request.sources else "the same input"
    doing = f"embedding {source} ('ednabed embed')"
    try:
        with exclusive(work / "lock", doing):
            lock_left = True
            if not request.resume:
                _clear(work)
            try:
                result = _embed(request, embedder, work, show_progress)
                _clear(work)
            except BaseException:
                # Without computed vectors there is nothing to keep; with them, they stay for the next attempt.
                if not _has_vectors(work):
                    _clear(work)
                raise
            finally:
                # Done while the lock is held, so that no other process loses a lock file it has just acquired.
                lock_left = not _remove_empty(work, created)
    finally:
        if lock_left:
            # Windows cannot delete an open file, so the lock file is deleted only now, unless another process has it
            # open.
            _remove_empty(work, created)
    return result


def _embed(request: RunRequest, embedder: Embedder, work: Path, show_progress: bool | None) -> RunResult:
    inputs, tables = _local_files(request, work)
    found = find_count_inputs(inputs, tables, use_counts=request.use_counts)
    for number, source in enumerate(inputs):
        if number not in found.combined:
            # Fail at once if the file cannot be read as sequences.
            with source.open():
                pass
    stamps = {source: _stamp(source.path) for source in (*inputs, *found.separate_tables)}
    labels = (
        None if request.labels is None else read_labels(request.labels, keep_placeholders=request.keep_placeholders)
    )
    samples = None if request.samples is None else read_samples(request.samples)
    identity = _identity(request, embedder, found)
    existing = _same_run(request, identity, embedder.encoder.precision)
    if existing is not None:
        return RunResult(existing, existed=True, computed=0, taken_up=0)

    build = work / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    inputs, occurrences = open_counts(found, work, keep_placeholders=request.keep_placeholders)
    joined = Joined(labels, samples, occurrences)
    acceptance = Acceptance(embedder.spec.alphabet, request.min_length, request.max_sequences)
    rejected = RejectedFile(build / REJECTED)
    index = DistinctIndex(work / "index.sqlite")
    try:
        staged = stage(inputs, build, index, rejected, joined, acceptance, show_progress=show_progress)
        _warn(request, staged, joined)
        _check_unchanged(stamps)
        with VectorJournal(work / "journal", embedder.spec.dimension) as journal:
            vectors = Computed(staged.distinct)
            taken_up = vectors.take_up(journal, index)
            index.close()
            attempts = record_attempt(work, embedder, len(journal))
            computed = compute(staged, embedder, request.batch_size, journal, vectors, taken_up, show_progress)
            compute_entries = entries_of(attempts, len(journal))
            counts = assemble(staged, embedder, journal, vectors, rejected, build)
            if staged.reads is not None:
                counts |= counts_summary(occurrences, complete=staged.complete)
                counts["reads_rejected"] += staged.reads - counts["reads"]
    finally:
        index.close()
        rejected.close()
    for part in staged.parts:
        part.unlink()

    def manifest_of(dataset: str | None, run_id: str) -> RunManifest:
        return RunManifest(
            dataset=dataset,
            run_id=run_id,
            created=utc_now(),
            spec=embedder.spec,
            version=None,
            inputs=[{**a, **b} for a, b in zip(identity["inputs"], staged.inputs, strict=True)],
            labels=identity["labels"],
            options=identity["options"],
            counts=counts,
            compute=compute_entries,
            software=software_versions("numpy", "pyarrow", "torch"),
            files={f: file_entry(build / f) for f in (EMBEDDINGS, RECORDS, REJECTED)},
        )

    return RunResult(_publish(request, build, manifest_of), existed=False, computed=computed, taken_up=taken_up)


def _identity(request: RunRequest, embedder: Embedder, found: CountInputs) -> dict[str, Any]:
    """Return what a run must have in common with an existing one to be the same run."""

    def named(path: Path, name: str) -> dict[str, Any]:
        return {"name": name, "sha256": sha256_file(path)}

    options: dict[str, Any] = {
        "min_length": request.min_length,
        "max_sequences": request.max_sequences,
        "reading": READING,
        **({"keep_placeholders": True} if request.keep_placeholders else {}),
    }
    if request.samples is not None:
        options["samples"] = named(request.samples, request.samples.name)
    if found.tables:
        options["abundance"] = [named(table.path, table.name) for table in found.tables]
    return {
        "fingerprint": embedder.spec.fingerprint,
        "inputs": [{"name": i.name, **file_entry(i.path)} for i in found.inputs],
        "labels": None if request.labels is None else named(request.labels, request.labels.name),
        "options": options,
    }


def _warn(request: RunRequest, staged: Staged, joined: Joined) -> None:
    """Report what was remarkable in the inputs."""
    labels, samples = joined.labels, joined.samples
    table_notes = counts_notes(joined.counts, complete=staged.complete)
    for note in (*(() if labels is None else labels.notes), *staged.notes, *table_notes):
        log.warning("%s", note)
    if labels is not None and not labels.matched:
        log.warning("%s: none of its %d ids is in the input, so no record was labelled", request.labels, len(labels))
    if samples is not None and not samples.matched:
        log.warning("%s: no record belongs to any of its %d samples, so it was not used", request.samples, len(samples))


def _check_unchanged(stamps: Mapping[Input, tuple[int, int]]) -> None:
    for source, stamp in stamps.items():
        if _stamp(source.path) != stamp:
            raise InputError(
                f"{source.given}: changed while it was being read; run again when nothing writes to it any more"
            )


def _parent_and_name(request: RunRequest) -> tuple[Path, str]:
    """Return the parent of the future run folder, and a name for the work folder."""
    if request.output is not None:
        output = request.output if request.output.is_absolute() else request.workspace / request.output
        return output.parent, output.name
    dataset = request.dataset or "default"
    return runs_root(request.workspace) / dataset, dataset


def _work_key(request: RunRequest, embedder: Embedder) -> str:
    """Return a key for the work; the same command has the same key.

    The key does not depend on file contents, so work on a file that has since been edited is also reused.
    """
    key = [
        embedder.spec.fingerprint,
        embedder.encoder.precision,
        [str(p) if p == STDIN else str(p.resolve()) for p in request.sources],
        None if request.labels is None else str(request.labels.resolve()),
        request.min_length,
        request.max_sequences,
        request.keep_placeholders,
    ]
    if request.samples is not None:
        key.append(str(request.samples.resolve()))
    if request.abundance:
        key.append(["abundance", *(str(p) if p == STDIN else str(p.resolve()) for p in request.abundance)])
    if not request.use_counts:
        key.append("no counts")
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]


def _local_files(request: RunRequest, work: Path) -> tuple[list[Input], list[Input]]:
    """Return inputs and count tables that can be read repeatedly; standard input and pipes are copied to files."""
    local: dict[Path, Path] = {}
    for number, path in enumerate([*request.sources, *request.separate_tables]):
        if path == STDIN:
            local[path] = work / "stdin"
            with local[path].open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        elif path.exists() and not path.is_file() and not path.is_dir():
            local[path] = work / f"pipe-{number}"
            with path.open("rb") as pipe, local[path].open("wb") as file:
                shutil.copyfileobj(pipe, file)

    def files(paths: Sequence[Path]) -> list[Input]:
        names = zip(paths, display_names(list(paths)), strict=True)
        return [Input(str(path), local.get(path, path), name, request.keep_placeholders) for path, name in names]

    return files(request.sources), files(request.abundance)


def _stamp(path: Path) -> tuple[int, int]:
    """Return the size and modification time of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _same_run(request: RunRequest, identity: Mapping[str, Any], precision: str) -> Run | None:
    """Return the existing run of this same request, or None.

    Raises:
        StoreError: ``output`` exists and contains something else.
    """
    parent, name = _parent_and_name(request)
    if request.output is not None:
        folder = parent / name
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if request.resume and (folder / MANIFEST).exists():
            run = Run.open(folder)
            if _is_same(run, identity, precision):
                return run
        what = "contains something else" if request.resume else "is never overwritten"
        raise StoreError(f"{folder} exists and {what}; give another `output`, or move that folder away")
    for folder in reversed(run_folders(parent)) if request.resume else ():
        if (folder / MANIFEST).exists():
            try:
                run = Run.open(folder)
            except StoreError:
                # Damaged or written by a newer ednabed: it is not the run looked for, and no reason to stop.
                continue
            if _is_same(run, identity, precision):
                return run
    return None


def _is_same(run: Run, identity: Mapping[str, Any], precision: str) -> bool:
    """Return whether a run is what this request would produce. A run with missing files is not."""
    manifest = run.manifest
    if manifest is None or not run.is_complete() or any(entry["precision"] != precision for entry in manifest.compute):
        return False
    inputs = [{key: entry[key] for key in ("name", "sha256", "bytes")} for entry in manifest.inputs]
    return {
        "fingerprint": manifest.spec.fingerprint,
        "inputs": inputs,
        "labels": manifest.labels,
        "options": manifest.options,
    } == identity


def _publish(request: RunRequest, build: Path, manifest_of: Callable[[str | None, str], RunManifest]) -> Run:
    """Write the manifest into the finished folder and rename the folder to its final name."""
    parent, name = _parent_and_name(request)
    if request.output is not None:
        folder = parent / name
        write_atomic(build / MANIFEST, manifest_of(None, name).to_text())
        try:
            if folder.exists():
                folder.rmdir()
            build.rename(folder)
        except OSError as error:
            raise StoreError(
                f"{folder} was created by another program meanwhile ({error.strerror}); move that folder away and "
                "run the same command again, which then computes nothing twice"
            ) from error
        return Run.open(folder)
    moment = datetime.now()
    while True:
        folder = parent / moment.strftime("%Y-%m-%d_%H-%M-%S")
        if not folder.exists():
            write_atomic(build / MANIFEST, manifest_of(parent.name, folder.name).to_text())
            try:
                build.rename(folder)
            except OSError:
                if not folder.exists():
                    raise
            else:
                return Run.open(folder)
        moment += timedelta(seconds=1)


def _has_vectors(work: Path) -> bool:
    entries = work / "journal" / "digests.bin"
    return entries.exists() and entries.stat().st_size > 0


def _clear(work: Path) -> None:
    """Remove everything in the work folder except its lock file, which this process holds."""
    for entry in work.iterdir() if work.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _remove_empty(work: Path, created: list[Path]) -> bool:
    """Remove the work folder if only its lock file is left, and the parent folders created for it if they are empty.

    Returns False if only the lock file is left and it could not be removed.
    """
    if [entry.name for entry in work.iterdir()] != ["lock"]:
        return True
    try:
        (work / "lock").unlink()
        work.rmdir()
    except OSError:
        return False
    for folder in created:
        with suppress(OSError):
            folder.rmdir()
    return True
