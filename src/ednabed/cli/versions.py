"""``ednabed versions``: name embedding functions, tag runs with these names, and compare two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ednabed.cli.common import (
    Context,
    emit,
    emit_json,
    json_option,
    notice,
    pass_context,
    policy_of,
    policy_options,
    table,
)
from ednabed.cli.versions_compare import compare, report_damaged, runs_root_option
from ednabed.errors import ModelError, StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.models.spec import Spec


@click.group()
def versions() -> None:
    """Name embedding functions (v1.0), and compare two of them.

    An embedding function is a model with its settings. Runs are tagged with the name of the function that computed
    their vectors.
    """


versions.add_command(compare)


@versions.command()
@click.option("--version", "name", required=True, help="Name of the version: letters, digits, '.', '-', '_'.")
@click.option(
    "--model", help="Name from 'ednabed models list', a Hugging Face id of a supported architecture, or a model folder."
)
@click.option("--run", "run_name", help="Use the function of this run instead: dataset/run, a dataset or a folder.")
@click.option(
    "--external",
    is_flag=True,
    help="For vectors computed elsewhere by an unknown function; they can be searched only by run and record number.",
)
@click.option("--dimension", type=click.IntRange(min=1), help="Length of the vectors of an --external version.")
@click.option("--description", help="Description for users.")
@policy_options
@json_option
@pass_context
def register(
    context: Context,
    /,
    name: str,
    model: str | None,
    run_name: str | None,
    external: bool,
    dimension: int | None,
    description: str | None,
    as_json: bool,
    **policy: Any,
) -> None:
    """Give a name to an embedding function.

    The function is that of a model with its options, that of a run, or an external one.

    \b
    Example:
      ednabed versions register --version v1.0 --model kmer6 --description "Initial baseline"
      ednabed versions register --version old --external --dimension 256 --description "From the 2023 server"
    """
    from ednabed.store.versions import register as bind
    from ednabed.store.versions import register_external

    if [model is not None, run_name is not None, external].count(True) != 1:
        raise UsageError("give exactly one of --model MODEL, --run RUN and --external")
    if external != (dimension is not None):
        raise UsageError(
            "--external and --dimension D must be used together: the length is all that is known about external vectors"
        )
    if model is None:
        source = click.get_current_context().get_parameter_source
        given = [key for key in policy if source(key) is click.core.ParameterSource.COMMANDLINE]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise UsageError(f"{option} applies only to --model; --run and --external use the function unchanged")
    if dimension is not None:
        done = register_external(context.workspace, name, dimension, description)
    elif run_name is not None:
        done = bind(context.workspace, name, _spec_of_run(context, run_name), description)
    else:
        done = bind(context.workspace, name, _spec_of_model(str(model), policy), description)
    version = done.version
    state = "registered" if done.is_new else "description changed" if done.is_changed else "was registered before"
    if as_json:
        emit_json({**_described(version), "spec": version.spec.to_dict(), "state": state})
    else:
        emit(f"{name}: {version.spec.model}, fingerprint {version.fingerprint[:12]}, {state}")


@versions.command("tag-run")
@click.argument("run")
@click.option("--version", "name", required=True, help="Name of a registered version.")
@click.option("--assume", is_flag=True, help="Tag a run whose function is unknown, and mark the tag as assumed.")
@json_option
@pass_context
def tag_run(context: Context, run: str, name: str, assume: bool, as_json: bool) -> None:
    """Tag a run with a version. RUN is dataset/run, a dataset (its newest run) or a folder.

    A run that was computed by another function is refused. For a run of an older tool the function is unknown; --assume
    tags it anyway.

    \b
    Example:
      ednabed versions tag-run lake_2026/2026-05-01_09-30-00 --version v1.0
    """
    from ednabed.store.runs import find_run
    from ednabed.store.versions import tag_run as tag

    done = tag(context.workspace, find_run(context.workspace, run), name, assume)
    if as_json:
        emit_json({**vars(done.tag), "is_new": done.is_new, "previous": done.previous})
        return
    assumed = " (assumed)" if done.tag.assumed else ""
    instead = f", instead of {done.previous}" if done.previous is not None else ""
    emit(f"{done.tag.run}: {name}{assumed}{instead if done.is_new else ', tagged before'}")


@versions.command("auto-tag")
@click.option("--version", "name", help="Tag runs of this version only.")
@runs_root_option
@json_option
@pass_context
def auto_tag(context: Context, name: str | None, runs_root: Path | None, as_json: bool) -> None:
    """Tag every run whose fingerprint has a version, and list the others.

    The exit code is 1 if a run is damaged.

    \b
    Example:
      ednabed versions auto-tag
    """
    from ednabed.store.version_runs import find_root, quoted_path
    from ednabed.store.versions import auto_tag as tag_all

    done = tag_all(context.workspace, version=name, root=runs_root)
    if as_json:
        emit_json(
            {
                "versions": {
                    version: {"tagged": runs, "already": done.already[version], "assumed": done.assumed[version]}
                    for version, runs in done.tagged.items()
                },
                "unregistered": [
                    {"model": model, "fingerprint": fingerprint, "runs": runs}
                    for fingerprint, (model, runs) in done.unregistered.items()
                ],
                "unknown": done.unknown,
                "damaged": done.damaged,
            }
        )
    else:
        for version, runs in done.tagged.items():
            before, assumed = len(done.already[version]), len(done.assumed[version])
            extra = f", {assumed:,} assumed" if assumed else ""
            emit(f"{version}: {len(runs):,} tagged now, {before:,} tagged before{extra}")
        if not done.tagged:
            notice("no versions yet; 'ednabed versions register' creates one")
    for fingerprint, (model, runs) in done.unregistered.items():
        notice(
            f"there is no version for {model} (fingerprint {fingerprint[:12]}), which computed {', '.join(runs)}; "
            f"register one: ednabed versions register --version NAME --run {quoted_path(runs[0])}"
        )
    if done.unknown:
        notice(
            f"created by older tools, so the model is unknown: {', '.join(done.unknown)}; if you know it: "
            f"ednabed versions tag-run {quoted_path(done.unknown[0])} --version NAME --assume"
        )
    report_damaged(done.damaged)
    if done.damaged:
        raise StoreError(
            f"{len(done.damaged)} damaged runs in {find_root(context.workspace, runs_root)} were not tagged; restore "
            "them from a backup or embed their input again"
        )


@versions.command("list")
@runs_root_option
@json_option
@pass_context
def list_versions(context: Context, runs_root: Path | None, as_json: bool) -> None:
    """List the versions and the number of runs that belong to them.

    RUNS counts tagged runs anywhere, and runs in the folder of runs that have the fingerprint; TAGGED counts the tags,
    and ASSUMED the tags of runs whose function is not recorded.

    \b
    Example:
      ednabed versions list
    """
    from ednabed.store.version_runs import find_root, open_runs
    from ednabed.store.versions import Versions, versions_path

    known = Versions.read(context.workspace)
    runs, damaged = open_runs(find_root(context.workspace, runs_root)) if known.versions else ([], [])
    fingerprints = {run.identity: run.manifest.spec.fingerprint for run in runs if run.manifest is not None}
    rows = []
    for version in known.versions.values():
        tags = known.tags_of(version.name)
        matching = {identity for identity, fingerprint in fingerprints.items() if fingerprint == version.fingerprint}
        counts = {
            "runs": len(matching | tags.keys()),
            "tagged": len(tags),
            "assumed": sum(tag.assumed for tag in tags.values()),
        }
        rows.append({**_described(version), **counts})
    report_damaged(damaged)
    if as_json:
        emit_json(rows)
    elif not rows:
        notice(f"no versions in {versions_path(context.workspace)}; 'ednabed versions register' creates one")
    else:
        keys = ["version", "model", "fingerprint", "dimension", "runs", "tagged", "assumed", "created", "description"]
        cells = [[str(row[key])[: 12 if key == "fingerprint" else None] for key in keys] for row in rows]
        emit(table([key.upper() for key in keys], cells))


@versions.command()
@json_option
@pass_context
def verify(context: Context, as_json: bool) -> None:
    """Verify the file of versions and tags.

    Its checksum and its consistency are checked. The exit code is 1 if a fault is found.

    \b
    Example:
      ednabed versions verify
    """
    from ednabed.store.version_file import Versions, versions_path

    path = versions_path(context.workspace)
    found = Versions.read(context.workspace)
    facts = {"file": str(path), "versions": len(found.versions), "tags": len(found.tags)}
    if as_json:
        emit_json(facts)
    elif path.is_file():
        emit(f"{path}: sound, {len(found.versions):,} versions, {len(found.tags):,} tags")
    else:
        emit(f"{path}: does not exist, no version is registered")


@versions.command()
@click.argument("version")
@json_option
@pass_context
def show(context: Context, version: str, as_json: bool) -> None:
    """Show the function of a version, and the runs tagged with it.

    \b
    Example:
      ednabed versions show v1.0
    """
    from ednabed.store.versions import Versions

    known = Versions.read(context.workspace)
    found = known.get(version)
    tags = known.tags_of(version)
    if as_json:
        runs = [{"identity": identity, **vars(tag)} for identity, tag in tags.items()]
        emit_json({**_described(found), "spec": found.spec.to_dict(), "tags": runs})
        return
    emit(f"version      {found.name}, registered {found.created}")
    if found.description:
        emit(f"description  {found.description}")
    emit(f"fingerprint  {found.fingerprint}")
    for key, value in found.spec.to_dict().items():
        if value not in (None, "") and key != "schema":
            emit(f"{key:<12} {value}")
    for tag in tags.values():
        emit(f"run          {tag.run}, tagged {tag.tagged}{', ASSUMED' if tag.assumed else ''}")
    if not tags:
        emit("run          none is tagged; 'ednabed versions auto-tag' tags the runs that it computed")


@versions.command()
@click.argument("version")
@click.option("--force", is_flag=True, help="Also remove its tags.")
@pass_context
def remove(context: Context, version: str, force: bool) -> None:
    """Remove a version. Runs do not change; --force is required if runs are tagged with it.

    \b
    Example:
      ednabed versions remove v0.9
    """
    from ednabed.store.versions import remove as remove_version

    emit(f"{version}: removed, with {remove_version(context.workspace, version, force=force):,} tags")


def _spec_of_run(context: Context, name: str) -> Spec:
    from ednabed.store.runs import find_run

    run = find_run(context.workspace, name)
    if run.manifest is None:
        raise StoreError(
            f"{run.folder} was created by an older tool, so its model is unknown; register the version with --model, "
            "then 'ednabed versions tag-run RUN --assume'"
        )
    return run.manifest.spec


def _spec_of_model(model: str, policy: dict[str, Any]) -> Spec:
    from ednabed.engine.open import open_embedder

    try:
        return open_embedder(model, policy_of(policy)).spec
    except ModelError as error:
        raise ModelError(f"{error}; or give --run RUN with a run computed by it") from error


def _described(version: Any) -> dict[str, Any]:
    return {
        "version": version.name,
        "model": version.spec.model,
        "fingerprint": version.fingerprint,
        "dimension": version.spec.dimension,
        "created": version.created,
        "description": version.description,
    }
