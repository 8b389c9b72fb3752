"""``ednabed runs``: list, show, verify, map and remove the runs of a workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.common import (
    Context,
    assignments_option,
    emit,
    emit_json,
    json_option,
    notice,
    pass_context,
    problem,
    table,
    threads_option,
)
from ednabed.cli.words import in_options
from ednabed.errors import EdnabedError, StoreError

# Maximum classes that are named in a line of text.
_CLASSES = 5


@click.group()
def runs() -> None:
    """List, show, verify, map and remove runs."""


@runs.command("list")
@json_option
@pass_context
def list_runs(context: Context, as_json: bool) -> None:
    """List the runs of the workspace, one per line, including damaged ones.

    \b
    Example:
      ednabed runs list
    """
    from ednabed.store.runs import Run, runs_root, unfinished, walk_runs

    rows: list[dict[str, Any]] = []
    for folder in walk_runs(runs_root(context.workspace)):
        row: dict[str, Any] = {"run": folder.relative_to(runs_root(context.workspace)).as_posix(), "state": "complete"}
        try:
            manifest = Run.open(folder).manifest
        except EdnabedError as error:
            row["state"] = f"damaged: {in_options(str(error))}"
        else:
            if manifest is None:
                row["state"] = "no manifest (older tool)"
            else:
                row |= {
                    "model": manifest.spec.model,
                    "fingerprint": manifest.spec.fingerprint,
                    "records": manifest.counts["embedded"],
                    "dimension": manifest.spec.dimension,
                    "created": manifest.created,
                }
        rows.append(row)
    for folder in unfinished(runs_root(context.workspace)):
        notice(
            f"{folder}: unfinished; repeat the command that began it to continue, or delete the folder to discard it"
        )
    if as_json:
        emit_json(rows)
    elif not rows:
        notice(f"no runs in {runs_root(context.workspace)}; 'ednabed embed FILE' creates one")
    else:
        header = ["run", "model", "fingerprint", "records", "dimension", "state"]
        cells = [[str(row.get(key, ""))[: 12 if key == "fingerprint" else None] for key in header] for row in rows]
        emit(table(header, cells))


@runs.command()
@click.argument("run")
@json_option
@pass_context
def show(context: Context, run: str, as_json: bool) -> None:
    """Show how a run was created. RUN is dataset/run, a dataset (its newest run) or a folder.

    \b
    Example:
      ednabed runs show lake_2026
    """
    import json

    from ednabed.store.assignment import STATUSES
    from ednabed.store.assignments import survey_kept
    from ednabed.store.runs import find_run

    found = find_run(context.workspace, run)
    if found.manifest is None:
        vectors = found.load_embeddings()
        summary = {"run": str(found.folder), "records": len(vectors), "dimension": vectors.shape[1], "made_by": None}
        if as_json:
            emit_json(summary)
        else:
            emit(
                f"{found.folder}: {len(vectors):,} x {vectors.shape[1]}, created by an older tool, so the model is "
                "unknown"
            )
        return
    assigned, faults = survey_kept(found.folder, found.identity)
    if as_json:
        kept = [{"file": str(one.path), **asdict(one.facts)} for one in assigned]
        emit_json({**json.loads(found.manifest.to_text()), "assignments": kept})
        return
    manifest = found.manifest
    spec = manifest.spec
    emit(f"run          {found.folder}")
    emit(f"created      {manifest.created} by ednabed {manifest.software.get('ednabed', 'of an unknown version')}")
    emit(f"model        {spec.model}, {spec.dimension} dimensions, {spec.licence or 'no licence stated'}")
    emit(f"fingerprint  {spec.fingerprint}")
    depth = "" if spec.layer is None else f"layer {spec.layer}, "
    limit = "no token limit" if spec.max_tokens is None else f"{spec.max_tokens} tokens"
    emit(f"policy       {depth}pooling {spec.pooling}, {limit}, strand {spec.strand}, long {spec.long}")
    emit(f"alphabet     {spec.alphabet}")
    for entry in manifest.compute:
        emit(f"computed     {entry['sequences']:,} sequences on {entry['device']} in {entry['precision']}")
    for entry in manifest.inputs:
        emit(f"input        {entry['name']}: {entry['accepted']:,} of {entry['read']:,} records accepted")
    for name, value in manifest.counts.items():
        emit(f"{name:<12} {value:,}")
    for name, entry in manifest.files.items():
        emit(f"file         {name}, {human_bytes(entry['bytes'])}")
    for one in assigned:
        facts = one.facts
        counts = ", ".join(f"{facts.statuses.get(name, 0):,} {name}" for name in STATUSES if facts.statuses.get(name))
        emit(f"assignments  by {facts.reference}, build {facts.build}, {facts.created[:19]}: {counts}")
        for line in _known_species(facts.shares):
            emit(f"{'':<12} {line}")
    for fault in faults:
        notice(fault)


def _known_species(shares: Mapping[str, Any]) -> list[str]:
    """Return one line per marker: the share of species assumed to be in the reference, and its source."""
    sources = {
        "estimated": "estimated from {queries:,} distinct sequences",
        "fixed": "as requested",
        "default": "the default",
    }
    lines = []
    for marker, share in shares.items():
        source = sources.get(share["source"], "unknown").format(**share)
        lines.append(f"known species{f' of {marker}' if marker else ''}: {share['known']:.2f}, {source}")
    return lines


@runs.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@json_option
@pass_context
def verify(context: Context, names: tuple[str, ...], as_json: bool) -> None:
    """Verify the checksums of runs and of the assignments kept next to them.

    The exit code is 1 if a fault is found. Without RUN, every run of the workspace is verified, and also the maps of
    runs, the checkpoint of 'table embed' and the files of the dashboard's jobs.

    \b
    Example:
      ednabed runs verify lake_2026
    """
    from ednabed.dashboard.jobs import Jobs
    from ednabed.store.assignments import verify_kept
    from ednabed.store.runs import Run, find_run, runs_root, walk_runs
    from ednabed.workflows.verify import verify_kept_files

    folders = [find_run_folder(context, name, find_run) for name in names]
    folders = folders or walk_runs(runs_root(context.workspace))
    if not folders:
        raise StoreError(f"no runs in {runs_root(context.workspace)}; 'ednabed embed FILE' creates one")
    faults: dict[str, list[str]] = {}
    for folder in folders:
        try:
            run = Run.open(folder)
            if run.manifest is None and not names:
                notice(f"{folder} was created by an older tool: there are no checksums to verify")
                continue
            faults[str(folder)] = [in_options(fault) for fault in (*run.verify(), *verify_kept(run))]
        except EdnabedError as error:
            faults[str(folder)] = [in_options(str(error))]
    others: dict[str, list[str]] = {}
    if not names:
        others = {str(path): found for path, found in verify_kept_files(context.workspace).items()}
        others |= {str(job.folder): found for job in Jobs(context.workspace).list() if (found := job.faults())}
        others = {path: [in_options(fault) for fault in found] for path, found in others.items()}
    if as_json:
        rows = [{"run": path, "faults": found} for path, found in faults.items()]
        emit_json(rows + [{"file": path, "faults": found} for path, found in others.items()])
    else:
        for path, found in [*faults.items(), *others.items()]:
            emit(f"{path}: {'sound' if not found else '; '.join(found)}")
    bad = sum(1 for found in faults.values() if found)
    worse = sum(1 for found in others.values() if found)
    if worse and not bad:
        raise StoreError(f"{worse} of the files kept next to the runs have faults; each is shown with its remedy")
    if bad:
        raise StoreError(
            f"{bad} of {len(faults)} runs have faults; restore them from a backup or embed their input again (faults "
            "of assignments: delete the file and classify the run again)"
        )


@runs.command("map")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--refit", is_flag=True, help="Compute the layout again; all positions change.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed of the layout."
)
@threads_option
@assignments_option
@json_option
@pass_context
def map_(
    context: Context, names: tuple[str, ...], refit: bool, seed: int, assignments: str | None, as_json: bool
) -> None:
    """Lay out a map of runs for the dashboard, and keep it. For a reference, see 'ednabed reference map'.

    RUN is dataset/run, a dataset (its newest run) or a folder; all runs must be of the same function. The number of
    sequences with a name, and their classes, are reported. The map itself has no names: the dashboard adds the newest
    ones whenever it shows the map.

    \b
    Example:
      ednabed runs map lake_2026
    """
    from ednabed.workflows.maps import map_runs
    from ednabed.workflows.names import find_assignments
    from ednabed.workflows.points import row_facts

    collection, found = map_runs(context.workspace, names, seed=seed, refit=refit)
    source = find_assignments(collection, context.workspace, assignments)
    assigned = source.row_names(collection)
    facts = row_facts(collection, assigned)
    classes = Counter(name for name in facts.names("class") if name)
    for note in source.notes([run.label for run in collection.sources]):
        notice(note)
    if source.file is not None and facts.named < collection.rows and assigned is not None and not assigned.any():
        notice(
            f"{source.file} names none of these sequences; its ids match neither the ids of their records nor their "
            "digests"
        )
    if as_json:
        emit_json(
            {
                "runs": list(names), "method": found.method, "sequences": len(found.keys),
                "landmarks": found.landmarks, "rule": found.rule, "named": facts.named, "classes": dict(classes),
            }
        )  # fmt: skip
        return
    emit(f"map of {len(found.keys):,} sequences by {found.method}: {found.rule}")
    common = ", ".join(f"{name} {count:,}" for name, count in classes.most_common(_CLASSES))
    more = ", …" if len(classes) > _CLASSES else ""
    emit(
        f"{facts.named:,} of {collection.rows:,} sequences have a name"
        + (f" (classes: {common}{more})" if common else "")
    )


@runs.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--execute", is_flag=True, help="Remove the runs; without this option, only report what would be removed."
)
@click.option("--force", is_flag=True, help="Also remove runs that are in the current build of a reference.")
@json_option
@pass_context
def remove(context: Context, names: tuple[str, ...], execute: bool, force: bool, as_json: bool) -> None:
    """Remove runs and their assignments, maps and tags. Nothing is removed without --execute.

    RUN is dataset/run or a folder in the workspace. Whatever depends on a run is reported: references that contain it
    keep its sequences until they are rebuilt, and a run in the current build of a reference is removed only with
    --force. Exports are kept, and references outside the data folder of the workspace are not checked. Run the same
    command again after an interruption to finish.

    \b
    Example:
      ednabed runs remove lake_2026/2026-05-01_09-30-00
      ednabed runs remove lake_2026/2026-05-01_09-30-00 --execute
    """
    from ednabed.base.files import folder_bytes
    from ednabed.store.run_removal import finish_removal, removable_run, remove_run, unfinished_removals
    from ednabed.store.runs import runs_root
    from ednabed.workflows.dependents import dependents_of

    root = runs_root(context.workspace)
    left = unfinished_removals(context.workspace, names)
    for path, removal in left.items():
        if execute:
            finish_removal(removal)
        notice(f"{path}: {'removed, as' if execute else '--execute finishes what'} an interrupted command began")
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(names):
        if any(path in left and not path.exists() for path in (root / name, context.workspace / name)):
            rows.append({"run": name, "state": "removed" if execute else "ready", "bytes": 0})
            continue
        try:
            folder = removable_run(context.workspace, name)
            found = dependents_of(context.workspace, folder)
            size = folder_bytes(folder)
            row: dict[str, Any] = {"run": name, "folder": str(folder), "bytes": size, **asdict(found)}
            row["map"] = None if found.map is None else str(found.map)
            row["faults"] = [in_options(fault) for fault in found.faults]
            if found.current and not force:
                raise StoreError(
                    f"the current build of {', '.join(found.current)} was built from {name}; rebuild it without that "
                    "run ('ednabed consolidate --rebuild' after moving the run away), or give --force"
                )
            if execute:
                remove_run(context.workspace, folder)
                if found.map is not None:
                    found.map.unlink(missing_ok=True)
        except EdnabedError as error:
            problem(f"refused: {error}")
            rows.append({"run": name, "state": "refused", "reason": in_options(str(error))})
            continue
        rows.append({**row, "state": "removed" if execute else "ready"})
        if not as_json:
            _print_removal(rows[-1])
    refused = sum(row["state"] == "refused" for row in rows)
    if as_json:
        emit_json({"executed": execute, "runs": rows})
    else:
        total = human_bytes(sum(row.get("bytes", 0) for row in rows if row["state"] != "refused"))
        emit(f"{len(rows) - refused} {'removed' if execute else 'to remove'}, {refused} refused; {total}")
    if not execute and refused < len(rows):
        notice("dry run: nothing was changed; --execute removes")
    if refused:
        raise StoreError(f"{refused} of {len(rows)} runs were not removed; the reasons are above")


def _print_removal(row: Mapping[str, Any]) -> None:
    """Print a run to be removed, and what depends on it."""
    emit(f"{row['run']}: {row['state']}, {human_bytes(row['bytes'])}")
    for folder in row["current"]:
        emit(f"  reference    {folder}: its current build contains the run and keeps its sequences until it is rebuilt")
    for name in row["named"]:
        emit(f"  reference    {name}: this named build contains the run and does not change")
    for text in row["assignments"]:
        emit(f"  assignments  {text}: removed with the run")
    if row["tag"] is not None:
        emit(f"  version      tagged as {row['tag']}: the tag is removed with the run")
    if row["map"] is not None:
        emit(f"  map          {row['map']}: removed with the run")
    for fault in row["faults"]:
        notice(fault)


def find_run_folder(context: Context, name: str, find: Any) -> Any:
    """Return the folder of a run, even if its manifest is damaged and ``find`` cannot open it."""
    from ednabed.store.runs import runs_root

    folder = runs_root(context.workspace) / name
    if "/" in name and ".." not in name.split("/") and folder.is_dir():
        return folder
    return find(context.workspace, name).folder
