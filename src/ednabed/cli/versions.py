"""``ednabed versions``: give functions a name, say which run belongs to which, and compare two of them."""

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
from ednabed.cli.versions_compare import compare, runs_root_option, tell_damaged
from ednabed.errors import ModelError, StoreError, UsageError

if TYPE_CHECKING:
    from ednabed.models.spec import Spec


@click.group()
def versions() -> None:
    """Name embedding functions (v1.0), tag runs with them, and compare two."""


versions.add_command(compare)


@versions.command()
@click.option("--version", "name", required=True, help="Name of the version: letters, digits, '.', '-', '_'.")
@click.option("--model", help="Name from 'ednabed models list', a Hugging Face id of these layouts, or a model folder.")
@click.option("--run", "run_name", help="Take the function of this run instead: dataset/run, a dataset or a folder.")
@click.option(
    "--external",
    is_flag=True,
    help="The function is not known here: vectors made elsewhere, which are searched by run and index only.",
)
@click.option("--dimension", type=click.IntRange(min=1), help="Length of the vectors of an --external version.")
@click.option("--description", help="What people should know about it.")
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
    """Give a name to the function that a model and its options are, or that made a run, or made vectors elsewhere.

    \b
    Example:
      ednabed versions register --version v1.0 --model kmer6 --description "Initial baseline"
      ednabed versions register --version old --external --dimension 256 --description "From the 2023 server"
    """
    from ednabed.store.versions import register as bind
    from ednabed.store.versions import register_external

    if [model is not None, run_name is not None, external].count(True) != 1:
        raise UsageError("give one of --model MODEL, --run RUN and --external, whose function gets the name")
    if external != (dimension is not None):
        raise UsageError("--external and --dimension D belong together: the length is all that is known of its vectors")
    if model is None:
        source = click.get_current_context().get_parameter_source
        given = [key for key in policy if source(key) is click.core.ParameterSource.COMMANDLINE]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise UsageError(f"{option} belongs to --model; --run and --external take the function as it is")
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
@click.option("--assume", is_flag=True, help="The run does not say what made it; take my word. It is marked as such.")
@json_option
@pass_context
def tag_run(context: Context, run: str, name: str, assume: bool, as_json: bool) -> None:
    """Tag a run with a version. RUN is dataset/run, a dataset (its newest run) or a folder.

    A run that another function made is refused. A run of an older tool does not say what made it: --assume tags it on
    your word.

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
    """Tag every run whose fingerprint has a version; name the runs that have none. Exit 1 when a run is damaged.

    \b
    Example:
      ednabed versions auto-tag
    """
    from ednabed.store.version_runs import find_root, quoted
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
            notice("no versions yet; 'ednabed versions register' makes one")
    for fingerprint, (model, runs) in done.unregistered.items():
        notice(
            f"no version names {model} (fingerprint {fingerprint[:12]}), which made {', '.join(runs)}; "
            f"name it: ednabed versions register --version NAME --run {quoted(runs[0])}"
        )
    if done.unknown:
        notice(
            f"made by older tools, so nobody knows by which model: {', '.join(done.unknown)}; if you know it: "
            f"ednabed versions tag-run {quoted(done.unknown[0])} --version NAME --assume"
        )
    tell_damaged(done.damaged)
    if done.damaged:
        raise StoreError(
            f"{len(done.damaged)} damaged runs in {find_root(context.workspace, runs_root)} were not tagged; take them "
            "from a backup or embed their input again"
        )


@versions.command("list")
@runs_root_option
@json_option
@pass_context
def list_versions(context: Context, runs_root: Path | None, as_json: bool) -> None:
    """List the versions: what they are, and how many runs belong to them.

    RUNS counts the runs that are tagged, wherever they lie, or lie in the folder of runs and have the fingerprint;
    TAGGED the tags, of which ASSUMED are those of runs that do not say themselves what made them.

    \b
    Example:
      ednabed versions list
    """
    from ednabed.store.version_runs import find_root, open_runs
    from ednabed.store.versions import Versions, versions_path

    known = Versions.read(context.workspace)
    runs, damaged = open_runs(find_root(context.workspace, runs_root)) if known.versions else ([], [])
    made = {run.identity: run.manifest.spec.fingerprint for run in runs if run.manifest is not None}
    rows = []
    for version in known.versions.values():
        tags = known.tags_of(version.name)
        own = {identity for identity, fingerprint in made.items() if fingerprint == version.fingerprint}
        counts = {
            "runs": len(own | tags.keys()),
            "tagged": len(tags),
            "assumed": sum(tag.assumed for tag in tags.values()),
        }
        rows.append({**_described(version), **counts})
    tell_damaged(damaged)
    if as_json:
        emit_json(rows)
    elif not rows:
        notice(f"no versions in {versions_path(context.workspace)}; 'ednabed versions register' makes one")
    else:
        keys = ["version", "model", "fingerprint", "dimension", "runs", "tagged", "assumed", "created", "description"]
        cells = [[str(row[key])[: 12 if key == "fingerprint" else None] for key in keys] for row in rows]
        emit(table([key.upper() for key in keys], cells))


@versions.command()
@json_option
@pass_context
def verify(context: Context, as_json: bool) -> None:
    """Compare the file of versions and tags with its checksum, and check that it fits together. Exit 1 when not.

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
        emit(f"{path}: not there, no version is registered")


@versions.command()
@click.argument("version")
@json_option
@pass_context
def show(context: Context, version: str, as_json: bool) -> None:
    """Show a version: its function, and the runs tagged with it.

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
        emit("run          none is tagged; 'ednabed versions auto-tag' tags those that it made")


@versions.command()
@click.argument("version")
@click.option("--force", is_flag=True, help="Remove its tags too.")
@pass_context
def remove(context: Context, version: str, force: bool) -> None:
    """Remove a version. The runs stay as they are; where runs are tagged with it, --force is needed.

    \b
    Example:
      ednabed versions remove v0.9
    """
    from ednabed.store.versions import remove as take_away

    emit(f"{version}: removed, with {take_away(context.workspace, version, force=force):,} tags")


def _spec_of_run(context: Context, name: str) -> Spec:
    from ednabed.store.runs import find_run

    run = find_run(context.workspace, name)
    if run.manifest is None:
        raise StoreError(
            f"{run.folder} was made by an older tool and does not say by which model; register the version by --model, "
            "then 'ednabed versions tag-run RUN --assume'"
        )
    return run.manifest.spec


def _spec_of_model(model: str, policy: dict[str, Any]) -> Spec:
    from ednabed.engine.open import open_embedder

    try:
        return open_embedder(model, policy_of(policy)).spec
    except ModelError as error:
        raise ModelError(f"{error}; or give --run RUN with a run made by it") from error


def _described(version: Any) -> dict[str, Any]:
    return {
        "version": version.name,
        "model": version.spec.model,
        "fingerprint": version.fingerprint,
        "dimension": version.spec.dimension,
        "created": version.created,
        "description": version.description,
    }
