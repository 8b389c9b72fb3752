"""Write named distinct sequences as references for other classifiers: SINTAX (VSEARCH, USEARCH) and DADA2.

- SINTAX: one FASTA file, ``>id;tax=d:Animalia,p:Chordata,…,s:Rattus_rattus;`` (manual of VSEARCH, *Taxonomic
  classification*). A rank without a name is omitted. ``d:`` is the kingdom, as in ``classify --format sintax``. A
  header ends at white space, and ``,`` and ``;`` end a name, so all of these become ``_``.
- DADA2: a folder with ``assignTaxonomy.fasta``, ``>Animalia;Chordata;…;Rattus;Rattus rattus;``, seven levels down to
  the deepest name, and ``addSpecies.fasta``, ``>id Rattus rattus`` (https://benjjneb.github.io/dada2/training.html).
  DADA2 identifies levels by their position, so an intermediate level without a name gets the name above it with ``_X``,
  as in PR2: ``Chordata_X``, ``Chordata_XX``. ``addSpecies`` needs binomials, so a species name that is not a binomial
  (``Rattus sp. 1``) is not in that file.

Sequences without a name or without bases are omitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ednabed.base.atomic import replacing
from ednabed.base.text import clean
from ednabed.errors import StoreError
from ednabed.export.features import Feature, features
from ednabed.export.ids import FeatureIds
from ednabed.export.names import Namer
from ednabed.export.place import atomic_folder
from ednabed.export.report import Written
from ednabed.export.selection import Selection
from ednabed.export.taxon_terms import specific_epithet
from ednabed.sequences.lineage import Lineage

DADA2_LEVELS, DADA2_SPECIES = "assignTaxonomy.fasta", "addSpecies.fasta"
_PREFIXES = ("d:", "p:", "c:", "o:", "f:", "g:", "s:")
_ENDS_NAME = re.compile(r"[\s,;]+")


def write_sintax(selection: Selection, names: Namer, ids: FeatureIds, target: Path) -> Written:
    """Write a FASTA file that ``vsearch --sintax --db`` reads; it appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the distinct sequences.
        target: The file.

    Raises:
        StoreError: No sequence has a name and bases.
        UsageError: The target is a folder.
    """
    sequences = records = 0
    with replacing(target, "reference.fasta") as stream:
        for feature in _named(selection, names, ids):
            taxa = ",".join(
                prefix + _ENDS_NAME.sub("_", clean(name).strip())
                for prefix, name in zip(_PREFIXES, feature.named.lineage, strict=True)
                if name
            )
            stream.write(f">{feature.id.replace(';', '_')};tax={taxa};\n{feature.sequence}\n")
            sequences, records = sequences + 1, records + feature.records
        _check(sequences, selection)
    return Written(sequences, records, notes=tuple(_notes(selection, sequences)))


def write_dada2(selection: Selection, names: Namer, ids: FeatureIds, target: Path, *, about: dict[str, Any]) -> Written:
    """Write a folder of files for DADA2's ``assignTaxonomy`` and ``addSpecies``; it appears complete or not at all.

    Args:
        selection: The sequences and records to write.
        names: Source of the names.
        ids: Ids of the distinct sequences.
        target: The folder.
        about: Further content of ``export.json``.

    Raises:
        StoreError: No sequence has a name and bases.
        UsageError: The folder is a file, is in a run or a reference, or contains something else.
    """
    sequences = records = species = 0
    with atomic_folder(target, "dada2", about) as work:
        with (
            (work / DADA2_LEVELS).open("w", encoding="utf-8", newline="\n") as levels,
            (work / DADA2_SPECIES).open("w", encoding="utf-8", newline="\n") as binomials,
        ):
            for feature in _named(selection, names, ids):
                lineage = feature.named.lineage
                levels.write(f">{''.join(f'{name};' for name in _levels(lineage))}\n{feature.sequence}\n")
                sequences, records = sequences + 1, records + feature.records
                if specific_epithet(lineage[5], lineage[6]):
                    binomials.write(f">{feature.id} {lineage[6]}\n{feature.sequence}\n")
                    species += 1
        _check(sequences, selection)
        if not species:
            (work / DADA2_SPECIES).unlink()
    notes = list(_notes(selection, sequences))
    if species < sequences:
        notes.append(f"{sequences - species:,} sequences have no binomial, so {DADA2_SPECIES} lacks them")
    return Written(sequences, records, notes=tuple(notes))


def _named(selection: Selection, names: Namer, ids: FeatureIds) -> Iterator[Feature]:
    for feature in features(selection, names, ids):
        if feature.sequence is not None and feature.named.rank:
            yield feature


def _levels(lineage: Lineage) -> list[str]:
    """Return the levels down to the deepest name; a level without a name gets the name above it and ``_X``."""
    depth = max(number for number, name in enumerate(lineage, 1) if name)
    levels: list[str] = []
    above, gaps = "Unknown", 0
    for name in lineage[:depth]:
        above, gaps = (clean(name).replace(";", ",").strip(), 0) if name else (above, gaps + 1)
        levels.append(f"{above}_{'X' * gaps}" if gaps else above)
    return levels


def _check(sequences: int, selection: Selection) -> None:
    if not sequences:
        raise StoreError(
            f"{selection.collection.name}: no sequence has both a name and bases, expected labelled sequences; embed "
            "the input with its labels, or classify its run"
        )


def _notes(selection: Selection, sequences: int) -> Iterator[str]:
    if sequences < len(selection):
        omitted = len(selection) - sequences
        yield f"{omitted:,} sequences are omitted, because they have no name or their bases are unknown"
