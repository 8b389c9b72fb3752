"""``ednabed models``: list, show, fetch and verify models.

This module only prints; ``ednabed.models`` contains the catalogue, the hub, the loading and the verification.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ednabed.base.text import human_bytes
from ednabed.cli.common import Context, emit, emit_json, json_option, notice, pass_context, table, threads_option
from ednabed.cli.words import in_options
from ednabed.errors import EdnabedError

if TYPE_CHECKING:
    from pathlib import Path

    from ednabed.models.catalog import ModelCard
    from ednabed.models.load import Found


@click.group()
def models() -> None:
    """List, show, fetch and verify models.

    Example: ednabed models fetch nt-v2-50m
    """


@models.command("list")
@json_option
@pass_context
def list_models(context: Context, as_json: bool) -> None:
    """List all models, and whether their weights are on this machine.

    Models of other installed packages come last; values that they do not declare are shown as '?'.

    Example: ednabed models list
    """
    from ednabed.models.catalog import CATALOGUE
    from ednabed.models.load import distribution_of, refusal, third_party

    rows = [_row(card) for card in CATALOGUE]
    for point in third_party():
        refused = refusal(point)
        if refused is None:
            rows.append(
                {**dict.fromkeys(rows[0]), "name": point.name, "notes": f"from the package {distribution_of(point)}"}
            )
        else:
            notice(refused)
    if as_json:
        emit_json(rows)
        return
    here = {True: "yes", False: "no", None: "-"}
    emit(
        table(
            ["NAME", "DIM", "MAX TOKENS", "PARAMETERS", "LICENCE", "SIZE", "WEIGHTS HERE", "NOTES"],
            [
                [
                    row["name"],
                    _cell(row["dimension"]),
                    _cell(row["max_tokens"], "none" if row["dimension"] else "?"),
                    _millions(row["parameters"]) if row["parameters"] else ("-" if row["dimension"] else "?"),
                    _cell(row["licence"]),
                    human_bytes(row["size_bytes"]) if row["size_bytes"] else ("-" if row["dimension"] else "?"),
                    here[row["weights_here"]],
                    row["notes"],
                ]
                for row in rows
            ],
        )
    )


@models.command("show")
@click.argument("name")
@click.option(
    "--card-only", is_flag=True, help="Do not load the weights; the spec and the fingerprint are then omitted."
)
@json_option
@pass_context
def show(context: Context, name: str, card_only: bool, as_json: bool) -> None:
    """Show the card, files and licence of a model.

    If the weights are on this machine, its spec and fingerprint are also shown. NAME is a name from 'ednabed models
    list', a Hugging Face id or a model folder.

    Example: ednabed models show kmer6
    """
    from ednabed.models.catalog import licence_text
    from ednabed.models.load import load_embedder, resolve

    found = resolve(name)
    facts = _facts(found)
    folder: Path | None = facts.pop("path")
    spec: dict[str, Any] | None = None
    fingerprint = problem = None
    if not card_only and (folder is not None or facts["weights_here"] is None):
        try:
            embedder = load_embedder(name)
        except EdnabedError as error:
            problem = in_options(str(error))
        else:
            spec, fingerprint = embedder.spec.to_dict(), embedder.spec.fingerprint
    licence = facts["licence"] or (spec or {}).get("licence") or ""
    facts |= {"licence": licence, "licence_text": licence_text(licence)}
    facts |= {"spec": spec, "fingerprint": fingerprint, "problem": problem}
    if as_json:
        emit_json(facts)
        return
    for key, value in facts.items():
        if key in ("spec", "files") or value is None or value == "":
            continue
        if key in ("weights_here", "pinned"):
            value = "yes" if value else "no"
        elif key == "size_bytes":
            value = human_bytes(value)
        emit(f"{key.replace('_', ' ')}: {value}")
    for file in facts["files"]:
        emit(f"file: {file['name']}  {human_bytes(file['bytes'])}")
    for key, value in (spec or {}).items():
        emit(f"spec {key}: {value if isinstance(value, str) else json.dumps(value)}")
    if folder is None and facts["weights_here"] is False:
        notice(f"the weights are not on this machine; 'ednabed models fetch {found.name}' downloads them")


@models.command("fetch")
@click.argument("name")
@json_option
@pass_context
def fetch(context: Context, name: str, as_json: bool) -> None:
    """Download the weights of a model to this machine.

    NAME is a name from 'ednabed models list' or a Hugging Face id (ORGANISATION/NAME) of a supported architecture. If
    the connection breaks, run the same command again: downloaded parts are kept. HF_HOME sets where the weights are
    stored, HF_ENDPOINT a mirror. Models copied by hand belong in folders in EDNABED_MODELS.

    Example: ednabed models fetch nt-v2-50m
    """
    from ednabed.errors import UsageError
    from ednabed.models import hub, weights
    from ednabed.models.catalog import licence_text
    from ednabed.models.load import resolve

    found = resolve(name)
    if found.card is None:
        owner = "a folder on this machine" if found.folder is not None else "a model of another package"
        raise UsageError(f"{found.name} is {owner}, so there is nothing to fetch; use it with --model")
    card = found.card
    if card.hub_id is not None:
        notice(f"licence of these weights: {licence_text(card.licence)}")
    was_here = weights.local_folder(card) is not None
    folder = hub.fetch(card, progress=not context.quiet)
    if as_json:
        emit_json(
            {
                "name": card.name,
                "hub_id": card.hub_id,
                "revision": weights.revision_of(folder),
                "licence": card.licence,
                "was_here": was_here,
                "folder": str(folder),
                "files": _files(folder),
            }
        )
    else:
        emit(f"{card.name} {'was already' if was_here else 'is now'} on this machine: {folder}")


@models.command("verify")
@click.argument("name")
@click.option(
    "--files", "check_files", is_flag=True, help="Also compare the files with their published SHA-256 checksums."
)
@threads_option
@json_option
@pass_context
def verify_model(context: Context, name: str, check_files: bool, as_json: bool) -> None:
    """Check that a model on this machine reproduces the vectors of its authors' code.

    The weights are loaded strictly, in full precision on the CPU, and the vectors compared with published ones. The
    result is 'verified', 'failed' (exit code 1), 'unverifiable' (nothing is published) or 'no weights'.

    Example: ednabed models verify nt-v2-50m --files
    """
    from ednabed.models.verify import verify

    report = verify(name, check_files=check_files)
    if as_json:
        emit_json(report.to_dict() | {"message": in_options(report.message)})
    else:
        emit(f"{report.model}: {report.status}: {in_options(report.message)}")
        if report.folder is not None:
            emit(f"folder: {report.folder}")
        if report.source is not None:
            emit(f"published by: {report.source}")
        for check in report.vectors:
            figures = (
                f"max |difference| {check.max_abs:.1e} (at most {check.tolerance['max_abs']:.0e}), "
                f"mean {check.mean_abs:.1e} (at most {check.tolerance['mean_abs']:.0e}), cosine {check.cosine:.9f}"
                if check.max_abs is not None
                else "vector of another dimension or not finite"
            )
            tokens = "tokens equal" if check.tokens_equal else "tokens differ"
            emit(f"{check.sequence}: {'passed' if check.passed else 'failed'}: {tokens}, {figures}")
        for file in report.files:
            emit(f"{file.name}: {file.result}")
    if report.status == "failed":
        click.get_current_context().exit(1)


def _row(card: ModelCard) -> dict[str, Any]:
    from ednabed.models.weights import local_folder

    return {
        "name": card.name,
        "dimension": card.dimension,
        "max_tokens": card.max_tokens,
        "parameters": card.parameters,
        "licence": card.licence,
        "size_bytes": card.size_bytes,
        "weights_here": None if card.hub_id is None and card.family != "barcode" else local_folder(card) is not None,
        "notes": card.notes,
    }


def _facts(found: Found) -> dict[str, Any]:
    """Return what is known about a model without loading it; ``path`` is its folder or None."""
    from ednabed.models.catalog import ModelCard
    from ednabed.models.load import distribution_of
    from ednabed.models.weights import local_folder, revision_of

    empty = ModelCard(found.name, "", None, None, None, None, None, "", None, "a folder on this machine")
    card = found.card or empty
    folder = found.folder or local_folder(card)
    facts = _row(card)
    if found.folder is not None:
        facts["weights_here"] = True
    if found.entry_point is not None:
        facts["notes"] = f"from the package {distribution_of(found.entry_point)}"
    return {
        **facts,
        "hub_id": card.hub_id,
        "revision": (revision_of(folder) if folder is not None else None) or card.revision,
        "pinned": None if card.hub_id is None else card.revision is not None,
        "folder": None if folder is None else str(folder),
        "files": [] if folder is None else _files(folder),
        "path": folder,
    }


def _files(folder: Path) -> list[dict[str, Any]]:
    return [{"name": file.name, "bytes": file.stat().st_size} for file in sorted(folder.iterdir()) if file.is_file()]


def _cell(value: object, absent: str = "?") -> str:
    return absent if value is None else str(value)


def _millions(n: int) -> str:
    return f"{n / 10**6:.1f}M"
