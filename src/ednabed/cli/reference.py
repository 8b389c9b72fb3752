"""``ednabed reference``: what is in a reference, whether it is sound, and names for its builds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    emit,
    emit_json,
    human_bytes,
    json_option,
    notice,
    pass_context,
    table,
    threads_option,
)
from ednabed.cli.consolidate import index_text
from ednabed.cli.words import in_options
from ednabed.errors import EdnabedError, StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.reference.manifest import ReferenceManifest
    from ednabed.taxonomy.calibration import Calibration

reference_option = click.option(
    "--reference",
    help="Folder of a reference, or the name of a build of any reference; default: data/reference in the workspace.",
)


@click.group("reference")
def reference_group() -> None:
    """Look into a reference, verify it, and give its builds names."""


@reference_group.command()
@reference_option
@json_option
@pass_context
def show(context: Context, reference: str | None, as_json: bool) -> None:
    """Show what is in a reference: by dataset, run and marker, by which model, with which index.

    \b
    Example:
      ednabed reference show
    """
    from ednabed.reference import layout

    folder, name = layout.find_reference(context.workspace, reference)
    manifest = layout.open_manifest(folder, name)
    before = layout.read_previous(folder).get(manifest.build) if name is None else None
    if as_json:
        parts = [asdict(part) for part in manifest.runs]
        emit_json({"reference": str(folder), **_summary(manifest), "previous": before, "runs": parts})
        return
    spec, counts = manifest.spec, manifest.counts
    emit(f"reference    {folder}, build {manifest.build}" + (f" ({name})" if name else ""))
    emit(f"created      {manifest.created} by ednabed {manifest.software.get('ednabed', 'of an unknown version')}")
    emit(f"model        {spec.model}, {spec.dimension} dimensions, {spec.licence or 'no licence stated'}")
    emit(f"fingerprint  {spec.fingerprint}")
    emit(f"version      {manifest.version or 'none registered'}")
    emit(f"sequences    {counts['sequences']:,} distinct, {counts['letters']:,} letters")
    emit(f"records      {counts['records']:,} in {counts['runs']:,} runs of {counts['datasets']:,} datasets")
    emit(f"index        {index_text(manifest.index)}")
    if before is not None:
        emit(f"previous     build {before}; 'ednabed reference undo' brings it back")
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
    """Recompute all checksums of a reference and check that its files fit together. Exit 1 when a fault is found.

    Every build that is kept (the current one, the one before, those with a name) is read, and with them the names of
    builds, calibrations and the map; by the name of a build, this build alone.

    \b
    Example:
      ednabed reference verify
    """
    from ednabed.api.verify import verify_reference
    from ednabed.reference import layout

    folder, name = layout.find_reference(context.workspace, reference)
    faults = verify_reference(folder, name)
    if as_json:
        emit_json({"reference": str(folder), "name": name, "faults": faults})
    else:
        emit(f"{folder}: {'sound' if not faults else '; '.join(faults)}")
    if faults:
        raise StoreError(
            f"{folder} has faults; each is named with what mends it, and 'ednabed consolidate --rebuild' makes the "
            "current build again"
        )


@reference_group.command()
@click.argument("name")
@reference_option
@json_option
@pass_context
def tag(context: Context, name: str, reference: str | None, as_json: bool) -> None:
    """Give the current build a NAME, by which it is kept and can be searched when later builds have taken its place.

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
    from ednabed.reference import layout

    rows: list[dict[str, Any]] = []
    for folder in layout.reference_folders(context.workspace):
        place = folder.relative_to(context.workspace).as_posix()
        entries: list[tuple[str | None, str]] = [(None, place)]
        try:
            entries += [(name, f"{place}/{name}") for name in layout.read_names(folder)]
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
        notice(f"no reference in {context.workspace / 'data'}; 'ednabed consolidate' makes one")
    else:
        header = ["reference", "state", "build", "model", "version", "sequences", "records", "runs"]
        emit(table(header, [[_cell(row, key) for key in header] for row in rows]))


@reference_group.command()
@click.argument("name")
@reference_option
@json_option
@pass_context
def remove(context: Context, name: str, reference: str | None, as_json: bool) -> None:
    """Take a NAME away; its build is deleted unless it is current, the one before, or has another name.

    \b
    Example:
      ednabed reference remove reference_2024-11
    """
    from ednabed.reference import layout

    went = layout.remove_name(folder := _folder(context, reference), name)
    if as_json:
        emit_json({"reference": str(folder), "name": name, "deleted": went})
    else:
        emit(f"{name}: removed" + (" with its build" if went else "; its build stays, it is in use"))


@reference_group.command()
@reference_option
@json_option
@pass_context
def undo(context: Context, reference: str | None, as_json: bool) -> None:
    """Bring back the build that was current before the last one; done twice, nothing has changed.

    The build before is kept until the next one is made. Its calibration comes back with it; names of builds and the map
    stay as they are.

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
            f"{counts['runs']:,} runs; build {undone} is kept until the next one, the same command brings it back"
        )


def _folder(context: Context, reference: str | None) -> Path:
    """Return the folder of a reference; the name of one build does not do."""
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
@click.option("--model", help="Where the model of the reference is; default: its name in the reference.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of what is drawn.")
@click.option("--queries", type=click.IntRange(min=300), help="Maximum queries drawn for each marker; default: 7800.")
@click.option(
    "--known",
    type=float,
    help="Share of queries whose species is supposed to be in the reference, in studies too small to show it; default: "
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
    """Learn how far the answers of a labelled reference can be trusted, with queries drawn from itself.

    Nothing (exact copies), or their own sequence, species, genus, family, order, class or phylum is left out in
    turn; queries are whole or cut to amplicon lengths. The results are confidences for 'classify' and p-values of
    absence, and how well both hold for taxa that were not used to learn them. Exact copies count as often as the
    records of the reference have them (column n_records, or records of the same sequence, also where they are one
    entry of two databases).

    \b
    Example:
      ednabed reference calibrate
    """
    from ednabed.api.identify import calibrate_reference
    from ednabed.taxonomy.calibrate import QUERIES
    from ednabed.taxonomy.calibration import Group
    from ednabed.taxonomy.situations import KNOWN, SITUATIONS

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
        notice(f"calibrated on whole sequences only, because {lacking}")
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


def calibration_lines(found: Calibration) -> list[str]:
    """Describe what was learned, for reading."""
    from ednabed.taxonomy.calibration import Group
    from ednabed.taxonomy.draws import COPIES
    from ednabed.taxonomy.situations import SITUATIONS

    lines = [f"calibrated   {found.created}, seed {found.seed}"]
    for marker, group in found.groups.items():
        drawn = ", ".join(
            f"{count:,} {'copies' if level == 'copy' else f'without their {level}'}"
            for level, count in group.draws.items()
        )
        lines.append(f"drawn        {marker or 'all markers'}: {drawn}")
    for marker in found.groups:
        share = found.copies.get(marker)
        copies = (
            f"{COPIES:.2f} of these supposed to be exact copies, because the reference has one record for each sequence"
            if share is None
            else f"{share:.2f} of these exact copies, as counted in the records"
        )
        lines.append(
            f"shares       {marker or 'all markers'}: {found.known:.2f} of queries supposed to be of known species "
            f"(unless the queries show it), {copies}"
        )
        if isinstance(group := found.groups[marker], Group):
            lacking = ", ".join(f"{name} {share:.2f}" for name, share in zip(SITUATIONS, group.shares, strict=True))
            lines.append(f"lacking      {marker or 'all markers'}: {lacking}")
    for marker in found.groups:
        marker, facts = marker or "all", found.reliability["aligned"].get(marker or "all", {})
        told = len(lines)
        for rank in ("species", "genus", "family"):
            fact = facts.get(rank, {})
            parts = []
            if fact.get("calibration_error") is not None:
                parts.append(f"calibration error {fact['calibration_error']:.3f}")
            if "falsely_absent_at_5_percent" in fact:
                share = 100 * fact["falsely_absent_at_5_percent"]
                parts.append(f"{share:.1f} % falsely absent where 5 % are allowed")
            if parts:
                lines.append(f"{rank:<12} {marker}: {', '.join(parts)}")
        if len(lines) == told:
            lines.append(
                f"not told     {marker}: how well it holds, because its species, genera and families are too few to "
                "learn from some and measure on others; add labelled records of other taxa"
            )
    return lines


@reference_group.command("map")
@reference_option
@click.option("--most", type=click.IntRange(min=1), help="Sequences that are laid out at most; default: 50000.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed with which they are laid out; default: 0.")
@click.option("--refit", is_flag=True, help="Lay it out anew: every place changes.")
@threads_option
@json_option
@pass_context
def map_(
    context: Context,
    reference: str | None,
    most: int | None,
    seed: int | None,
    refit: bool,
    as_json: bool,
) -> None:
    """Give every sequence of a reference a place on a map, to look at, and keep the map with the reference.

    The sequences with the smallest keys (a hash of their letters) are laid out, all others placed among these. Where
    there is a map already, what is on it stays where it is, and what came since is placed among it.

    \b
    Example:
      ednabed reference map
      ednabed reference map --refit --most 100000
    """
    import time

    from ednabed.api.maps import map_reference
    from ednabed.reference.layout import MAP
    from ednabed.taxonomy.sequence_map import MOST

    begun = time.monotonic()
    opened, found = map_reference(
        context.workspace,
        reference,
        most=MOST if most is None else most,
        seed=0 if seed is None else seed,
        refit=refit,
    )
    seconds = time.monotonic() - begun
    path = opened.folder / MAP
    kept = [
        f"{option} {asked} was not used: the map there was laid out with {has}; --refit lays it out anew"
        for option, asked, has in (("--most", most, found.most), ("--seed", seed, found.seed))
        if asked is not None and asked != has
    ]
    for line in kept:
        notice(line)
    if found.outgrown:
        notice(f"only {found.landmarks:,} of {len(found.keys):,} sequences are laid out; --refit shows more")
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
        emit(f"no place     {unplaced:,}, whose vectors are all zeros or not finite")
    emit(f"clusters     {clusters:,}, groups of points in this picture, not taxa")
    emit(f"rule         {found.rule}")
    emit(f"file         {path}, {seconds:.1f} s")
