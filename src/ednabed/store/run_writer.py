"""From input files to a finished run folder, exactly once, whatever interrupts it.

Work happens in a folder whose name begins with a dot, beside where the run will be. Computed vectors go to its journal,
so the same command, started again after a kill, computes only what is missing. The run appears under its own name by
one rename, when every file in it is complete and checksummed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ednabed.base.sealed import Seal
from ednabed.base.stored_json import BadJson, parse_json, require
from ednabed.errors import InputError, StoreError, UsageError
from ednabed.models.base import Embedder
from ednabed.sequences import read_labels, read_samples
from ednabed.sequences.readers import READING
from ednabed.store.count_inputs import counts_notes, counts_summary, find_count_inputs, open_counts
from ednabed.store.distinct import DistinctIndex
from ednabed.store.files import check_name, exclusive, sha256_file, write_atomic
from ednabed.store.journal import VectorJournal
from ednabed.store.manifest import MANIFEST, RunManifest
from ednabed.store.run_vectors import Computed, assemble, compute
from ednabed.store.runs import RECORDS, REJECTED, Run, run_folders, runs_root
from ednabed.store.staging import Input, RejectedFile, display_names, stage
from ednabed.store.vectors import EMBEDDINGS

log = logging.getLogger("ednabed")

STDIN = Path("-")
_TRIES = Seal("ednabed.tries/1")


@dataclass(frozen=True)
class RunRequest:
    """What to embed and where to put it.

    Attributes:
        inputs: Files; ``Path("-")`` is standard input. Empty: the count tables, which then must hold sequences.
        workspace: Folder that holds ``consolidated_data``.
        dataset: Name of the study; the run gets a folder named by the time below it. None with ``output`` None is
            ``default``.
        output: Folder of the run itself, instead of a dataset.
        labels: TSV or CSV with id and lineage, or None.
        samples: TSV or CSV with samples and what is known of them, or None.
        abundance: Count tables; the run then has one record for each feature and sample with reads.
        use_counts: False reads inputs that hold counts by sample as sequences alone.
        min_length: Shortest sequence accepted.
        max_sequences: Stop after so many accepted records; None takes all.
        batch_size: Most sequences a batch; None leaves the token budget.
        keep_placeholders: Keep names such as ``uncultured bacterium`` in lineages, which else are unknown.
        resume: False throws earlier unfinished work away and makes another run even where the same one exists.
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
        """Refuse what cannot be done."""
        if not self.sources:
            raise UsageError("no input was named; give one or more sequence files, or - for standard input")
        if self.dataset is not None and self.output is not None:
            raise UsageError("a dataset and an output folder exclude each other; name one of them")
        if self.dataset is not None:
            check_name("dataset", self.dataset)
        if self.max_sequences is not None and self.max_sequences < 1:
            raise UsageError(f"max_sequences is {self.max_sequences}; it must be at least 1")
        if self.abundance and not self.use_counts:
            raise UsageError("count tables were named, but counts are not to be used; omit one of the two")
        if [*self.sources, *self.apart].count(STDIN) > 1:
            raise UsageError("standard input (-) can be named once only")

    @property
    def sources(self) -> Sequence[Path]:
        """The files whose sequences are embedded."""
        return self.inputs or self.abundance

    @property
    def apart(self) -> Sequence[Path]:
        """The count tables that are not ``sources``."""
        return [path for path in self.abundance if path not in self.sources]


@dataclass(frozen=True)
class RunResult:
    """What came out.

    Attributes:
        run: The finished run.
        existed: Whether the same run was there already and nothing was done.
        computed: Distinct sequences computed this time.
        taken_up: Distinct sequences that an interrupted earlier try had computed.
    """

    run: Run
    existed: bool
    computed: int
    taken_up: int


def embed_to_run(request: RunRequest, embedder: Embedder, *, show_progress: bool | None = None) -> RunResult:
    """Embed the inputs of ``request`` into a new run.

    Raises:
        InputError: An input cannot be read, or holds no usable record; nothing is left behind.
        StoreError: ``output`` exists and is another run, or another process is at the same work.
        EmbeddingError: The encoder failed on a named record; computed vectors are kept for the next try.
    """
    parent, name = _place(request)
    work = parent / f".partial-{_work_key(request, embedder)}-{name[:20]}"
    made = [folder for folder in work.parents if not folder.exists()]
    held = False
    source = "standard input into the same place" if STDIN in request.sources else "the same input"
    doing = f"embedding {source} ('ednabed embed')"
    try:
        with exclusive(work / "lock", doing):
            held = True
            if not request.resume:
                _clear(work)
            try:
                result = _embed(request, embedder, work, show_progress)
                _clear(work)
            except BaseException:
                # Nothing computed, nothing to keep; computed vectors stay for the next try.
                if not _has_vectors(work):
                    _clear(work)
                raise
            finally:
                # While the lock is held, so that it is not taken from under another process.
                held = not _remove_empty(work, made)
    finally:
        if held:
            # Windows keeps an open file, so the lock file can go only now; one that another process has opened stays.
            _remove_empty(work, made)
    return result


def _embed(request: RunRequest, embedder: Embedder, work: Path, show_progress: bool | None) -> RunResult:
    inputs, tables = _local_files(request, work)
    found = find_count_inputs(inputs, tables, use_counts=request.use_counts)
    for number, source in enumerate(inputs):
        if number not in found.holding:
            # Tells at once whether the file can be read as sequences at all.
            with source.open():
                pass
    files = [*inputs, *found.apart]
    stamps = [_stamp(source.path) for source in files]
    labels = (
        None if request.labels is None else read_labels(request.labels, keep_placeholders=request.keep_placeholders)
    )
    samples = None if request.samples is None else read_samples(request.samples)
    identity: dict[str, Any] = {
        "fingerprint": embedder.spec.fingerprint,
        "inputs": [{"name": i.name, "sha256": sha256_file(i.path), "bytes": i.path.stat().st_size} for i in inputs],
        "labels": None
        if request.labels is None
        else {"name": request.labels.name, "sha256": sha256_file(request.labels)},
        "options": {
            "min_length": request.min_length,
            "max_sequences": request.max_sequences,
            "reading": READING,
            **({"keep_placeholders": True} if request.keep_placeholders else {}),
        },
    }
    if request.samples is not None:
        identity["options"]["samples"] = {"name": request.samples.name, "sha256": sha256_file(request.samples)}
    if found.tables:
        identity["options"]["abundance"] = [{"name": t.name, "sha256": sha256_file(t.path)} for t in found.tables]
    existing = _same_run(request, identity, embedder.encoder.precision)
    if existing is not None:
        return RunResult(existing, existed=True, computed=0, taken_up=0)

    build = work / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    inputs, occurrences = open_counts(found, work, keep_placeholders=request.keep_placeholders)
    rejected = RejectedFile(build / REJECTED)
    index = DistinctIndex(work / "index.sqlite")
    try:
        staged = stage(
            inputs, build, index, rejected,
            labels=labels, samples=samples, counts=occurrences, alphabet=embedder.spec.alphabet,
            min_length=request.min_length, max_sequences=request.max_sequences,
            show_progress=show_progress,
        )  # fmt: skip
        table_notes = counts_notes(occurrences, whole=staged.whole)
        for note in (*(() if labels is None else labels.notes), *staged.notes, *table_notes):
            log.warning("%s", note)
        if labels is not None and not labels.matched:
            log.warning(
                "%s: none of its %d ids stands in the input, so no record got its label", request.labels, len(labels)
            )
        if samples is not None and not samples.matched:
            log.warning("%s: no record is of one of its %d samples, so it told nothing", request.samples, len(samples))
        for source, stamp in zip(files, stamps, strict=True):
            if _stamp(source.path) != stamp:
                raise InputError(
                    f"{source.given}: changed while it was read; run again when nothing writes to it any more"
                )
        with VectorJournal(work / "journal", embedder.spec.dimension) as journal:
            vectors = Computed(staged.distinct)
            taken_up = vectors.take_up(journal, index)
            index.close()
            tries = _note_try(work, embedder, len(journal))
            computed = compute(staged, embedder, request.batch_size, journal, vectors, taken_up, show_progress)
            tries_done = _by_try(tries, len(journal))
            counts = assemble(staged, embedder, journal, vectors, rejected, build)
            if staged.reads is not None:
                counts |= counts_summary(occurrences, whole=staged.whole)
                counts["reads_rejected"] += staged.reads - counts["reads"]
    finally:
        index.close()
        rejected.close()
    for part in staged.parts:
        part.unlink()

    run = _publish(
        request,
        build,
        lambda dataset, run_id: RunManifest(
            dataset=dataset,
            run_id=run_id,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            spec=embedder.spec,
            version=None,
            inputs=[{**a, **b} for a, b in zip(identity["inputs"], staged.inputs, strict=True)],
            labels=identity["labels"],
            options=identity["options"],
            counts=counts,
            compute=tries_done,
            software=_software(),
            files={
                f: {"sha256": sha256_file(build / f), "bytes": (build / f).stat().st_size}
                for f in (EMBEDDINGS, RECORDS, REJECTED)
            },
        ),
    )
    return RunResult(run, existed=False, computed=computed, taken_up=taken_up)


def _place(request: RunRequest) -> tuple[Path, str]:
    """Return the folder in which the run folder will be, and a name for the work folder."""
    if request.output is not None:
        output = request.output if request.output.is_absolute() else request.workspace / request.output
        return output.parent, output.name
    dataset = request.dataset or "default"
    return runs_root(request.workspace) / dataset, dataset


def _work_key(request: RunRequest, embedder: Embedder) -> str:
    """Name the work: the same command has the same key. Contents are not in it, so an edited file is taken up too."""
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
    """Return inputs and count tables that can be read more than once; standard input and pipes are copied to files."""
    local: dict[Path, Path] = {}
    for number, path in enumerate([*request.sources, *request.apart]):
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
    """Return size and time of change of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _same_run(request: RunRequest, identity: Mapping[str, Any], precision: str) -> Run | None:
    """Return the run that this very job made before.

    Raises:
        StoreError: ``output`` exists and holds something else.
    """
    parent, name = _place(request)
    if request.output is not None:
        folder = parent / name
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        if request.resume and (folder / MANIFEST).exists():
            run = Run.open(folder)
            if _is_same(run, identity, precision):
                return run
        what = "holds something else" if request.resume else "is never written over"
        raise StoreError(f"{folder} exists and {what}; name another --output, or move that folder away")
    for folder in reversed(run_folders(parent)) if request.resume else ():
        if (folder / MANIFEST).exists():
            try:
                run = Run.open(folder)
            except StoreError:
                # Damaged, or of a newer ednabed: whatever it is, it is not this run, and no reason to stop.
                continue
            if _is_same(run, identity, precision):
                return run
    return None


def _is_same(run: Run, identity: Mapping[str, Any], precision: str) -> bool:
    """Tell whether a run is what this job would make. One whose files are gone is not."""
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
    """Write the manifest into the finished folder and give the folder its name."""
    parent, name = _place(request)
    if request.output is not None:
        folder = parent / name
        write_atomic(build / MANIFEST, manifest_of(None, name).to_text())
        try:
            if folder.exists():
                folder.rmdir()
            build.rename(folder)
        except OSError as error:
            raise StoreError(
                f"{folder} was made by another program meanwhile ({error.strerror}); move that folder away and "
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


def _note_try(work: Path, embedder: Embedder, first_row: int) -> list[dict[str, Any]]:
    """Note device and precision of this try and the journal row at which it begins, before it computes anything."""
    path = work / "tries.json"
    tries = _read_tries(path) if path.exists() else []
    tries.append({"device": embedder.encoder.device, "precision": embedder.encoder.precision, "first_row": first_row})
    write_atomic(path, _TRIES.text({"tries": tries}))
    return tries


def _read_tries(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    try:
        # Before it was sealed it was a list.
        tries = parse_json(raw) if raw.startswith(b"[") else _TRIES.read(raw).get("tries")
        if not isinstance(tries, list):
            raise BadJson("it holds no list of tries")
        for entry in tries:
            require(entry, {"device": str, "precision": str, "first_row": int}, "a try")
        return tries
    except ValueError as error:
        raise StoreError(
            f"{path} is damaged ({error}), so on which device its vectors were computed is unknown; begin again with "
            "--no-resume"
        ) from error


def _by_try(tries: list[dict[str, Any]], rows: int) -> list[dict[str, Any]]:
    """Return device, precision and number of sequences of each try that computed something."""
    ends = [entry["first_row"] for entry in tries[1:]] + [rows]
    return [
        {"device": entry["device"], "precision": entry["precision"], "sequences": end - entry["first_row"]}
        for entry, end in zip(tries, ends, strict=True)
        if end > entry["first_row"]
    ]


def _software() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in ("ednabed", "numpy", "pyarrow", "torch"):
        # torch need not be there.
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _has_vectors(work: Path) -> bool:
    entries = work / "journal" / "digests.bin"
    return entries.exists() and entries.stat().st_size > 0


def _clear(work: Path) -> None:
    """Remove all of the work folder but its lock file, which this process holds."""
    for entry in work.iterdir() if work.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def _remove_empty(work: Path, made: list[Path]) -> bool:
    """Remove the work folder if only its lock file is left, and the folders made for it that stayed empty.

    Returns False when the lock file is all that is left and could not be removed.
    """
    if [entry.name for entry in work.iterdir()] != ["lock"]:
        return True
    try:
        (work / "lock").unlink()
        work.rmdir()
    except OSError:
        return False
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
    return True
