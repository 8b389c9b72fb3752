"""``ednabed reference``: show, verify, calibrate and map references, and name their builds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.calibration_text import calibration_lines
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, table, threads_option
from ednabed.cli.consolidate import index_text
from ednabed.cli.words import in_options
from ednabed.errors import EdnabedError, StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.reference.manifest import ReferenceManifest

reference_option = click.option(
    "--reference",
    help="Folder of a reference, or the name that 'ednabed reference tag' gave to a build. Default: data/reference in "
    "the workspace.",
)


@click.group("reference")
def reference_group() -> None:
    """Show, verify, calibrate and map references; name builds."""


@reference_group.command()
@reference_option
@json_option
@pass_context
def show(context: Context, reference: str | None, as_json: bool) -> None:
    """Show the model, index, runs and markers of a reference.

    \b
    Example:
      ednabed reference show
    """
    from ednabed.reference import build_names, layout

    folder, name = layout.find_reference(context.workspace, reference)
    manifest = layout.open_manifest(folder, name)
    previous = build_names.read_previous(folder).get(manifest.build) if name is None else None
    if as_json:
        parts = [asdict(part) for part in manifest.runs]
        emit_json({"reference": str(folder), **_summary(manifest), "previous": previous, "runs": parts})
        return
    spec, counts = manifest.spec, manifest.counts
    emit(f"reference    {folder}, build {manifest.build}" + (f" ({name})" if name else ""))
    emit(f"created      {manifest.created} by ednabed {manifest.software.get('ednabed', 'of an unknown version')}")
    emit(f"model        {spec.model}, {spec.dimension} dimensions, {spec.licence or 'no licence stated'}")
    emit(f"fingerprint  {spec.fingerprint}")
    emit(f"version      {manifest.version or 'none registered'}")
    emit(f"sequences    {counts['sequences']:,} distinct, {counts['letters']:,} bases")
    emit(f"records      {counts['records']:,} in {counts['runs']:,} runs of {counts['datasets']:,} datasets")
    emit(f"index        {index_text(manifest.index)}")
    if previous is not None:
        emit(f"previous     build {previous}; 'ednabed reference undo' restores it")
    emit(f"size         {human_bytes(sum(entry['bytes'] for entry in manifest.files.values()))}")
    for marker, count in _markers(manifest).items():
        emit(f"marker       {marker or '(none)'}: {count:,} records")
    rows = [
        [
            part.dataset,
            part.run_id,
            f"{part.records:,}",
            f"{part.sequences:,}",
            ", ".join(f"{name or '(none)'} {count:,}" for name, count in part.markers.items()),
            "assumed" if part.assumed else "",
        ]
        for part in manifest.runs
    ]
    emit(table(["dataset", "run", "records", "new sequences", "markers", "origin"], rows))


@reference_group.command()
@reference_option
@json_option
@pass_context
def verify(context: Context, reference: str | None, as_json: bool) -> None:
    """Verify the checksums and the consistency of a reference.

    The exit code is 1 if a fault is found. All kept builds (current, previous and named) are read, together with the
    names of builds, the calibrations and the map. If the name of a build is given, only that build is read.

    \b
    Example:
      ednabed reference verify
    """
    from ednabed.reference import layout
    from ednabed.workflows.verify import verify_reference

    folder, name = layout.find_reference(context.workspace, reference)
    faults = [in_options(fault) for fault in verify_reference(folder, name)]
    if as_json:
        emit_json({"reference": str(folder), "name": name, "faults": faults})
    else:
        emit(f"{folder}: {'sound' if not faults else '; '.join(faults)}")
    if faults:
        raise StoreError(
            f"{folder} has faults; each is shown with its remedy, and 'ednabed consolidate --rebuild' builds the "
            "current build again"
        )


@reference_group.command()
@click.argument("name")
@reference_option
@json_option
@pass_context
def tag(context: Context, name: str, reference: str | None, as_json: bool) -> None:
    """Give the current build a NAME.

    Under this name, the build is kept and can be searched after later builds have replaced it.

    \b
    Example:
      ednabed reference tag reference_2024-11
      ednabed search --reference reference_2024-11 --id asv1
    """
    from ednabed.reference import layout

    manifest = layout.name_build(folder := _folder(context, reference), name)
    if as_json:
        emit_json({"reference": str(folder), "name": name, "build": manifest.build})
    else:
        emit(f"{name}: build {manifest.build} of {folder}")


@reference_group.command("list")
@json_option
@pass_context
def list_(context: Context, as_json: bool) -> None:
    """List the references of the workspace (folders in data) and their builds.

    \b
    Example:
      ednabed reference list
    """
    from ednabed.reference import build_names, layout

    rows: list[dict[str, Any]] = []
    for folder in layout.reference_folders(context.workspace):
        path = folder.relative_to(context.workspace).as_posix()
        entries: list[tuple[str | None, str]] = [(None, path)]
        try:
            entries += [(name, f"{path}/{name}") for name in build_names.read_names(folder)]
        except EdnabedError as error:
            notice(str(error))
        for name, address in entries:
            try:
                manifest = layout.open_manifest(folder, name)
            except EdnabedError as error:
                rows.append({"reference": address, "state": f"damaged: {in_options(str(error))}"})
            else:
                rows.append({"reference": address, "state": "named" if name else "current", **_summary(manifest)})
    if as_json:
        emit_json(rows)
    elif not rows:
        notice(f"no reference in {context.workspace / 'data'}; 'ednabed consolidate' builds one")
    else:
        header = ["reference", "state", "build", "model", "version", "sequences", "records", "runs"]
        emit(table(header, [[_cell(row, key) for key in header] for row in rows]))


@reference_group.command()
@click.argument("name")
@reference_option
@json_option
@pass_context
def remove(context: Context, name: str, reference: str | None, as_json: bool) -> None:
    """Remove the NAME of a build.

    The build is deleted unless it is the current or the previous one, or has another name.

    \b
    Example:
      ednabed reference remove reference_2024-11
    """
    from ednabed.reference import layout

    deleted = layout.remove_name(folder := _folder(context, reference), name)
    if as_json:
        emit_json({"reference": str(folder), "name": name, "deleted": deleted})
    else:
        emit(f"{name}: removed" + (" with its build" if deleted else "; its build is kept, because it is in use"))


@reference_group.command()
@reference_option
@json_option
@pass_context
def undo(context: Context, reference: str | None, as_json: bool) -> None:
    """Restore the previous build.

    It was current before the last build, so running this command twice changes nothing. The previous build is kept
    until the next one is created. Its calibration is restored with it; names of builds and the map do not change.

    \b
    Example:
      ednabed reference undo
    """
    from ednabed.reference import layout

    manifest, undone = layout.undo_build(folder := _folder(context, reference))
    if as_json:
        emit_json({"reference": str(folder), "build": manifest.build, "undone": undone, "counts": manifest.counts})
    else:
        counts = manifest.counts
        emit(
            f"{folder}: build {manifest.build} is current again, with {counts['sequences']:,} sequences of "
            f"{counts['runs']:,} runs; build {undone} is kept until the next one, and the same command restores it"
        )


def _folder(context: Context, reference: str | None) -> Path:
    """Return the folder of a reference. Raises UsageError if the name of a build is given."""
    from ednabed.reference import layout

    folder, name = layout.find_reference(context.workspace, reference)
    if name is not None:
        raise UsageError(
            f"--reference {reference} is the name of one build; give the folder of the reference, {folder}"
        )
    return folder


def _summary(manifest: ReferenceManifest) -> dict[str, Any]:
    return {
        "build": manifest.build,
        "created": manifest.created,
        "model": manifest.spec.model,
        "fingerprint": manifest.spec.fingerprint,
        "dimension": manifest.spec.dimension,
        "version": manifest.version,
        "counts": manifest.counts,
        "index": asdict(manifest.index),
        "markers": _markers(manifest),
        "bytes": sum(entry["bytes"] for entry in manifest.files.values()),
    }


def _markers(manifest: ReferenceManifest) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in manifest.runs:
        total.update(part.markers)
    return dict(sorted(total.items()))


def _cell(row: dict[str, Any], key: str) -> str:
    counts = row.get("counts", {})
    if key in counts:
        return f"{counts[key]:,}"
    value = row.get(key)
    return "" if value is None or key in ("sequences", "records", "runs") else str(value)


@reference_group.command()
@reference_option
@click.option(
    "--model", help="Model of the reference, by name or folder. Default: the model that is recorded in the reference."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed for the queries."
)
@click.option("--queries", type=click.IntRange(min=300), help="Maximum queries drawn per marker. Default: 7800.")
@click.option(
    "--known",
    type=float,
    help="Assumed share of queries whose species is in the reference, for studies too small to estimate it. Default: "
    "0.5.",
)
@threads_option
@json_option
@pass_context
def calibrate(
    context: Context,
    reference: str | None,
    model: str | None,
    seed: int,
    queries: int | None,
    known: float | None,
    as_json: bool,
) -> None:
    """Calibrate a reference: measure how reliable its names are.

    Queries are drawn from the labelled reference itself. In turn, nothing (exact copies), or the sequence, species,
    genus, family, order, class or phylum of the queries is held out; queries are full-length or cut to amplicon
    lengths. The results are confidences for 'classify', p-values of absence, and how well both hold for taxa that were
    not used for calibration. Exact copies are weighted by how often they occur in the records of the reference (column
    n_records, or records of the same sequence, even if they are the same entry in two databases).

    \b
    Example:
      ednabed reference calibrate
    """
    from ednabed.taxonomy.calibrate import QUERIES
    from ednabed.taxonomy.calibration import Group
    from ednabed.taxonomy.situations import KNOWN, SITUATIONS
    from ednabed.workflows.identify import calibrate_reference

    opened, found, lacking = calibrate_reference(
        context.workspace,
        reference,
        model=model,
        seed=seed,
        queries=QUERIES if queries is None else queries,
        known=KNOWN if known is None else known,
        show_progress=None,
    )
    if lacking is not None:
        notice(f"calibrated only on full-length sequences, because {lacking}")
    if as_json:
        facts = {
            "reference": str(opened.folder), "build": found.build, "seed": found.seed, "known": found.known,
            "draws": {marker: group.draws for marker, group in found.groups.items()},
            "shares": {
                marker: dict(zip(SITUATIONS, group.shares, strict=True)) if isinstance(group, Group) else None
                for marker, group in found.groups.items()
            },
            "copies": found.copies, "shortlist": found.shortlist, "reliability": found.reliability,
        }  # fmt: skip
        emit_json(facts)
        return
    emit(f"reference    {opened.folder}, build {found.build}")
    for line in calibration_lines(found):
        emit(line)


@reference_group.command("map")
@reference_option
@click.option(
    "--most", "max_landmarks", type=click.IntRange(min=1), help="Maximum sequences to lay out. Default: 50000."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed of the layout. Default: 0.")
@click.option("--refit", is_flag=True, help="Compute the layout again; all positions change.")
@threads_option
@json_option
@pass_context
def map_(
    context: Context,
    reference: str | None,
    max_landmarks: int | None,
    seed: int | None,
    refit: bool,
    as_json: bool,
) -> None:
    """Lay out a map of all sequences of a reference, and keep it.

    The sequences with the smallest keys (a hash of their bases) are laid out, and all others are placed among them. If
    there already is a map, its sequences keep their positions, and new sequences are placed among them.

    \b
    Example:
      ednabed reference map
      ednabed reference map --refit --most 100000
    """
    import time

    from ednabed.maps.make import DEFAULT_LANDMARKS
    from ednabed.reference.layout import MAP
    from ednabed.workflows.maps import map_reference

    begun = time.monotonic()
    opened, found = map_reference(
        context.workspace,
        reference,
        max_landmarks=DEFAULT_LANDMARKS if max_landmarks is None else max_landmarks,
        seed=0 if seed is None else seed,
        refit=refit,
    )
    seconds = time.monotonic() - begun
    path = opened.folder / MAP
    kept = [
        f"{option} {requested} was not used: the existing map was laid out with {has}; --refit computes a new layout"
        for option, requested, has in (("--most", max_landmarks, found.most), ("--seed", seed, found.seed))
        if requested is not None and requested != has
    ]
    for line in kept:
        notice(line)
    if found.outgrown:
        notice(f"only {found.landmarks:,} of {len(found.keys):,} sequences are laid out; --refit lays out more")
    placed, clusters = len(found.keys) - found.landmarks, int(found.clusters.max(initial=-1)) + 1
    unplaced = int((~found.of_rows(opened)[3]).sum())
    if as_json:
        emit_json(
            {
                "reference": str(opened.folder), "build": opened.manifest.build, "file": str(path),
                "method": found.method, "seed": found.seed, "most": found.most, "created": found.created,
                "rule": found.rule, "landmarks": found.landmarks, "placed": placed, "without_place": unplaced,
                "clusters": clusters, "software": found.software, "seconds": round(seconds, 3),
            }
        )  # fmt: skip
        return
    emit(f"reference    {opened.folder}, build {opened.manifest.build}")
    emit(f"method       {found.method}, seed {found.seed}, laid out {found.created}")
    emit(f"laid out     {found.landmarks:,} sequences")
    emit(f"placed       {placed:,} among them")
    if unplaced:
        emit(f"not placed   {unplaced:,}, whose vectors are all zeros or not finite")
    emit(f"clusters     {clusters:,}, groups of points on this map, not taxa")
    emit(f"rule         {found.rule}")
    emit(f"file         {path}, {seconds:.1f} s")
