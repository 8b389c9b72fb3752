"""Turn the name that a user gives with ``--model`` into an encoder or an embedder.

A name is resolved in this order: a folder that contains ``config.json``; a name or hub id of the catalogue; a model of
another distribution, announced in the entry-point group ``ednabed.models``; any other hub id, whose weights must have
been fetched; a folder of that name in ``EDNABED_MODELS``. Nothing is fetched here, and no name leads to a path outside
the folders meant for models. Frameworks are imported when a model that needs them is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path, PureWindowsPath
from typing import Any

from ednabed.errors import EdnabedError, ModelError, UsageError
from ednabed.extras import import_extra
from ednabed.models import catalog, hub, weights
from ednabed.models.barcode.config import is_trained, read_barcode_config
from ednabed.models.barcode.encoder import BarcodeEncoder, MappedEncoder
from ednabed.models.base import Embedder, Encoder
from ednabed.models.catalog import ModelCard
from ednabed.models.kmer import KmerEncoder
from ednabed.models.nucleotide_transformer.encoder import NucleotideTransformer
from ednabed.models.spec import Policy

GROUP = "ednabed.models"


@dataclass(frozen=True)
class Found:
    """The model that a name refers to: exactly one of the last three is not None.

    Attributes:
        name: Name for people, and the spec's ``model``.
        folder: A model folder given by its path.
        card: A model of the catalogue, or a card created for another hub id.
        entry_point: A model of another distribution.
    """

    name: str
    folder: Path | None = None
    card: ModelCard | None = None
    entry_point: EntryPoint | None = None


def resolve(name_or_path: str) -> Found:
    """Return the model that a name refers to, without loading anything and without network.

    Raises:
        UsageError: No model has this name; the nearest names are given.
        ModelError: The name is a path but not a model folder, or two distributions claim it.
    """
    path = Path(name_or_path)
    if name_or_path.strip() and (path / "config.json").is_file():
        return Found(path.resolve().name or "model", folder=path)
    if _is_path(name_or_path):
        raise ModelError(
            f"{name_or_path}: "
            + ("the folder has no config.json" if path.is_dir() else "the folder does not exist")
            + "; give the folder of a model in the Hugging Face file layout, or a name from 'ednabed models list'"
        )
    card = catalog.lookup(name_or_path)
    others = third_party()
    names = {name_or_path.strip().lower(), card.name if card is not None else ""}
    claims = [point for point in others if point.name.lower() in names]
    if claims:
        refused = refusal(claims[0])
        if refused is not None:
            raise ModelError(refused)
        return Found(claims[0].name, entry_point=claims[0])
    if card is None and hub.is_hub_id(name_or_path):
        card = hub.hub_card(name_or_path)
    if card is None and (folder := weights.named_folder(name_or_path.strip())) is not None:
        return Found(folder.name, folder=folder)
    if card is None:
        card = catalog.find_card(name_or_path, [point.name for point in others])
    return Found(card.name, card=card)


def computes_on_cpu(found: Found) -> bool:
    """Return whether a model is computed with numpy on the CPU, without torch and without a choice of precision.

    Raises ModelError if the settings of a trained model cannot be read.
    """
    if found.card is not None and found.card.family in ("kmer", "barcode"):
        return True
    if found.folder is None or not is_trained(found.folder):
        return False
    return read_barcode_config(found.folder).encoder is None


def load_encoder(
    name_or_path: str,
    *,
    layer: int | None = None,
    pooling: str | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> Encoder:
    """Load an encoder; see the module for the possible names.

    Args:
        name_or_path: Name, hub id or folder.
        layer: Hidden state to pool; None takes the final one.
        pooling: How token vectors become one vector; None takes the model's default.
        device: ``cpu``, ``cuda`` or ``mps``; k-mer profiles always run on the CPU.
        precision: Precision of the matrix products: ``fp32``, ``bf16`` or ``fp16``; k-mer profiles always use fp32.

    Raises:
        UsageError: The name, layer, pooling, device or precision is not among the choices.
        ModelError: The weights are missing, damaged or of another layout, or the code of another distribution failed.
        MissingPackage: torch is not installed.
    """
    found = resolve(name_or_path)
    settings: dict[str, Any] = {"layer": layer, "pooling": pooling, "device": device, "precision": precision}
    if found.entry_point is not None:
        return _load_third_party(found.entry_point, settings)
    if found.card is not None and found.card.family == "kmer":
        if layer is not None or pooling is not None:
            raise UsageError(f"{found.name} has neither layers nor poolings; omit `layer` and `pooling`")
        full = found.card.dimension == 4**6
        return KmerEncoder(k=6, dimension=None if full else found.card.dimension, name=found.name)

    if found.card is not None and found.card.family == "nucleotide-transformer":
        # Checked first, so that nobody fetches weights that cannot be used.
        import_extra("torch", "nt", f"model {found.name}")
    folder = weights_of(found)
    if is_trained(folder):
        return _load_trained(folder, found.name, settings)
    import_extra("torch", "nt", f"model {found.name}")
    return NucleotideTransformer.load(
        folder,
        name=found.name,
        licence=found.card.licence if found.card is not None else "",
        revision=weights.revision_of(folder),
        **settings,
    )


def load_embedder(
    name_or_path: str, policy: Policy | None = None, *, device: str = "cpu", precision: str = "fp32"
) -> Embedder:
    """Load an encoder with the layer and pooling of a policy, and combine the two.

    ``policy`` None takes the default policy. Raises the errors of ``load_encoder`` and ``Embedder.from_encoder``.
    """
    policy = Policy() if policy is None else policy
    encoder = load_encoder(name_or_path, layer=policy.layer, pooling=policy.pooling, device=device, precision=precision)
    return Embedder.from_encoder(encoder, policy)


def weights_of(found: Found) -> Path:
    """Return the folder that contains the weights of a model.

    Raises ModelError, with the command that fetches them, if they are not on this machine.
    """
    if found.folder is not None:
        return found.folder
    card = found.card
    folder = weights.local_folder(card) if card is not None else None
    if card is None or folder is None:
        manual = weights.manual_folder(card) if card is not None else None
        missing = ", ".join(weights.missing_files(manual)) if manual is not None and manual.is_dir() else ""
        detail = f" ({manual} lacks {missing})" if missing else ""
        close = catalog.similar_names(found.name) if card is not None and card.dimension is None else []
        hint = f"; nearest in the catalogue: {', '.join(close)}" if close else ""
        raise ModelError(
            f"the weights of {found.name} are not on this machine{detail}; "
            f"run 'ednabed models fetch {found.name}'{hint}"
        )
    return folder


def third_party() -> list[EntryPoint]:
    """Return the models that other distributions announce, sorted by name; none of their code is imported."""
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def distribution_of(point: EntryPoint) -> str:
    """Return the name and version of the distribution of an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else f"module {point.module}"


def refusal(point: EntryPoint) -> str | None:
    """Return why a model of another distribution is not used; None if it is used."""
    rivals = [other for other in third_party() if other.name.lower() == point.name.lower()]
    if catalog.lookup(point.name) is not None:
        return (
            f"{distribution_of(point)} announces a model '{point.name}', which is a name in ednabed's own catalogue; "
            f"uninstall it, or ask its authors for another name"
        )
    if len(rivals) > 1:
        return (
            f"model '{point.name}' is announced by {' and by '.join(distribution_of(rival) for rival in rivals)}; "
            f"uninstall all but one"
        )
    return None


def _is_path(text: str) -> bool:
    """Return whether a text can only be meant as a path; such a text is never looked up as a name."""
    pure = PureWindowsPath(text)
    return bool(pure.anchor) or ".." in pure.parts or text.startswith((".", "~")) or "\\" in text or text.count("/") > 1


def _load_trained(folder: Path, name: str, settings: dict[str, Any]) -> Encoder:
    """Load a model from ``ednabed train``, and the encoder whose vectors it maps, if there is one."""
    config = read_barcode_config(folder)
    if settings["layer"] is not None or settings["pooling"] is not None:
        raise UsageError(f"{name} was trained with its own layer and pooling; omit `layer` and `pooling`")
    if config.encoder is None:
        return BarcodeEncoder.load(folder, config, name=name)
    below = settings | {"layer": config.encoder.layer, "pooling": config.encoder.pooling}
    return MappedEncoder.load(folder, config, load_encoder(config.encoder.model, **below), name=name)


def _load_third_party(point: EntryPoint, settings: dict[str, Any]) -> Encoder:
    name, distribution = point.name, distribution_of(point)
    # Broad on purpose: this is the only place where third-party code starts, and it may raise anything.
    try:
        encoder = point.load()(**settings)
    except EdnabedError:
        raise
    except Exception as error:
        raise ModelError(
            f"model '{name}' of {distribution} cannot be loaded ({type(error).__name__}: {error}); "
            f"update or uninstall that distribution"
        ) from error
    if not isinstance(encoder, Encoder):
        raise ModelError(
            f"model '{name}' of {distribution} returned a {type(encoder).__name__}, expected an ednabed Encoder"
        )
    missing = [field for field in ("name", "dimension", "architecture", "tokenizer") if not hasattr(encoder, field)]
    if missing:
        raise ModelError(
            f"model '{name}' of {distribution} does not state its {', '.join(missing)}; report this to its authors"
        )
    if encoder.weights != "none" and not encoder.weights.startswith("sha256:"):
        raise ModelError(
            f"model '{name}' of {distribution} states its weights as '{encoder.weights}', expected 'none' or 'sha256:' "
            f"and its digits, without which its vectors have no identity; report this to its authors"
        )
    return encoder
