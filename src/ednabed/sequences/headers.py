"""Parse the header lines of FASTA and FASTQ records: id, reads, sample, lineage and description.

These are recognised:

- annotations: VSEARCH's and USEARCH's ``;size=12``, ``;sample=S1`` (``barcodelabel=``), ``;tax=d:…,p:…``; OBITools'
  ``count=12; merged_sample={…};`` and its JSON form;
- lineages after the id: prefixed (``k__Fungi;p__…``), ``Root;…``, and plain ones that begin with a domain or kingdom
  (SILVA, RDP, MIDORI, CO1 Classifier, BayesANT);
- headers joined by ``|``: BOLD (id, name, marker), UNITE, PR2; by ``###``: MIDORI;
- headers that consist only of a lineage (training sets of DADA2 and IDTAXA), which get an id from their number.

Everything else stays in the description. Lineages are returned as written: ``lineage.LineageReader`` reads them,
because the ranks of plain names can only be determined from all lineages of a file.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NamedTuple

from ednabed.sequences.lineage import join_cells
from ednabed.sequences.lineage_fields import RANKS, UNREAD
from ednabed.sequences.lineage_forms import DOMAINS, KINGDOMS, species_index
from ednabed.sequences.numbers import parse_count
from ednabed.sequences.taxon_names import species_of_scientific_name

_SIZE = re.compile(r"(?:^|[;\s])size=([^;\s]+)(?=[;\s]|$)|;count=([^;\s]+)(?=[;\s]|$)", re.IGNORECASE)
_SAMPLE = re.compile(
    r"(?:^|[;\s])(?:sample|barcodelabel)=(?:\"([^\"]*)\"|([^;=]+)(?=;(?:\s*$|\w+=))|([^;\s]+))", re.IGNORECASE
)
_TAX = re.compile(r"(?:^|[;\s])tax=\s*((?:sk|[kdpcofgst]):[^;|]*(?:[;|]\s*(?:[a-z]{1,2}:[^;|]*))*)")
_OTHER = re.compile(r";[A-Za-z_][\w.]*=")
_FIRSTS = DOMAINS | KINGDOMS
_FIRST_NAMES = "|".join(sorted(_FIRSTS, key=len, reverse=True))
_ROOT = r"(?:root|cellular[ _]?organisms)(?:_-?\d+)?"
_LINEAGE = re.compile(
    r"(?:(?:sk|k|d)__|D_0__|Lineage=(?=Root;)"
    rf"|(?i:{_ROOT});|(?i:{_FIRST_NAMES})(?:_\d+)?(?::[a-z]{{4,5}})?\s*(?:;|[|,>]\s*[A-Z][^|,>]*[|,>]))"
)
"""The beginning of a lineage after an id."""
_AFTER_SEMICOLON = re.compile(
    rf"([^;|\s=#]+);((?:(?:sk|k|d)__|(?i:{_ROOT}|{_FIRST_NAMES})(?:_\d+)?(?::[a-z]{{4,5}})?;).*)", re.DOTALL
)
_JOINED = re.compile(
    r"([^\s|#][^\s#]*?)(?:\||###)((?:(?:sk|k|d)__"
    rf"|(?i:{_ROOT});|(?i:{_FIRST_NAMES})(?:_\d+)?;)[^|]*)(?:\|(.*))?$"
)
_ORGANELLES = re.compile(
    r"plastid|chloroplast|mitochondrion|nucleomorph|apicoplast|chromatophore|cyanelle", re.IGNORECASE
)
_MARKER = re.compile(
    r"COI(?:-[35]P)?|COX?[123]|CO1|COI{2,3}|CYTB|COB|ITS[12]?|12S|16S|18S(?:-?V\d)?|28S(?:-D\d+)?|5S|ND\dL?|ATP\d"
    r"|MATK|RBCLA?|TRNH-PSBA|TRNL(?:-F)?|ATPF-ATPH|PSBA|H3|EF1-ALPHA|TUFA|UPA|WNT1|CAD|RHO|RAG\d",
    re.IGNORECASE,
)
"""Markers as BOLD names them."""
PIPED = re.compile(
    rf"\|(?:(?:sk|k|d)__|(?i:{_ROOT}|{_FIRST_NAMES})(?::[a-z]+)?[;|]|(?i:{_MARKER.pattern})(?:_rRNA)?[|\n]"
    r"|[A-Z][a-z]+ [a-z-]+\n)".encode()
)
"""A pattern that shows that ``|`` separates known parts in the header lines of a batch."""
_JSON = re.compile(r"(\S+)\s+(\{.*\})\s*(.*)", re.DOTALL)
_OBITOOLS = re.compile(r"(\w+)=(\{[^{}]*\}|[^;{}]*)(?:;\s*|$)")
_OBITOOLS_KEYS = frozenset(("count", "merged_sample", "taxid", "species_name", "genus_name", "family_name"))
_ACCESSION = re.compile(r"\((\w[\w.~-]*)\)\s*$")


_TAXON = re.compile(r"taxon:\d+ \[(.+)\]@(\w+)")
"""A taxon in OBITools 4: ``taxon:8049 [Gadus morhua]@species``."""
_TAIL = re.compile(r"((?:\s+\[[A-Za-z_][\w.]*=[^\]]*\])+)\s*$")
_WHOLE_LINEAGE = re.compile(rf"(?i:{_ROOT}|{_FIRST_NAMES})(?:_\d+)?(?::[a-z]{{4,5}})?;|(?:sk|k|d)__\w")


class Header(NamedTuple):
    """The parts of one header; None for a part that it does not have.

    Attributes:
        id: The id; empty if the header has none.
        abundance: Number of reads.
        sample: Name of the sample.
        lineage: The lineage as written; ``join_cells`` if the header itself names the ranks, ``UNREAD`` and the text
            if it looks like a lineage but is not one.
        description: Everything that is not in another part.
        marker: Name of the marker (BOLD, PR2).
        organelle: The organelle that the gene is in (PR2), unless it is the nucleus.
        by_sample: Reads by sample, if the header has several samples (OBITools).
    """

    id: str
    abundance: int | None = None
    sample: str | None = None
    lineage: str | None = None
    description: str | None = None
    marker: str | None = None
    organelle: str | None = None
    by_sample: tuple[tuple[str, int], ...] | None = None


def parse_header(text: str, *, are_lineages: bool = False) -> Header:
    """Parse one header line, without its ``>`` or ``@``.

    Args:
        text: The line.
        are_lineages: Whether the headers of this file are lineages without ids.
    """
    text = text.strip()
    if "{" in text and (found := _obitools_json(text)) is not None:
        return found
    if "=" in text and (found := _obitools(text)) is not None:
        return found
    size = sample = lineage = None
    if "=" in text:
        if match := _SAMPLE.search(text):
            sample, text = (match[1] or match[2] or match[3] or "").strip() or None, _without(text, match)
        if (match := _SIZE.search(text)) and (size := parse_count(match[1] or match[2])) is not None:
            text = _without(text, match)
        if "tax=" in text and (match := _TAX.search(text)):
            lineage, text = match[1], _without(text, match)
        text = text.lstrip(";")
    if "|" in text and "__" not in text and (found := _bold5(text) or _piped(text)) is not None:
        return found._replace(abundance=size, sample=sample, lineage=lineage or found.lineage)
    if lineage is None and "=" not in text and (_WHOLE_LINEAGE.match(text) or (are_lineages and ";" in text)):
        accession = _ACCESSION.search(text)
        if accession is not None:
            return Header(accession[1], size, sample, text[: accession.start()].rstrip())
        return Header("", size, sample, text)
    after = _AFTER_SEMICOLON.fullmatch(text) if ";" in text else None
    if after is not None:
        return Header(after[1], size, sample, lineage or after[2])
    joined = _JOINED.match(text) if "|" in text or "###" in text else None
    if joined is not None:
        return Header(joined[1].rstrip(";"), size, sample, lineage or joined[2], joined[3] or None)
    if "|" in text and (found := _bold(text)) is not None:
        return found._replace(abundance=size, sample=sample, lineage=lineage or found.lineage)
    name, rest, extra = _split(text)
    tail = _TAIL.search(rest) if rest.endswith("]") else None
    if tail is not None:
        rest, extra = rest[: tail.start()], f"{extra} {tail[1].strip()}".strip()
    if "Lineage=Root;" in rest:
        before, _, written = rest.partition("Lineage=")
        lineage, rest = lineage or written, before.strip()
    elif rest and _LINEAGE.match(rest):
        lineage, rest = lineage or rest, ""
    elif lineage is None and rest.count(";") >= 3 and "=" not in rest:
        is_known = species_index([field.strip() for field in rest.split(";")]) is not None
        lineage = rest if is_known else UNREAD + rest
        rest = "" if is_known else rest
    description = " ".join(part for part in (rest, extra) if part)
    return Header(name.rstrip(";"), size, sample, lineage, description or None)


def bare_id(name: str) -> str:
    """Return an id without the VSEARCH annotations after it (``asv1;size=12``)."""
    other = _OTHER.search(name) if "=" in name else None
    return name if other is None else name[: other.start()]


def _split(text: str) -> tuple[str, str, str]:
    """Return the id, the text after it, and the annotations joined to it."""
    name, *others = text.split(None, 1)[:2] or [""]
    rest = others[0].strip() if others else ""
    other = _OTHER.search(name)
    if other is None:
        return name, rest, ""
    return name[: other.start()], rest, name[other.start() + 1 :].strip(";")


def _without(text: str, match: re.Match[str]) -> str:
    """Return the text without an annotation; the text after it keeps its separator."""
    return text[: match.start()] + text[match.end() :]


def _piped(text: str) -> Header | None:
    """Parse ``id|…|Eukaryota|…|species``: the lineage begins with a domain or kingdom, as in PR2's headers."""
    parts = text.split("|")
    start = next((index for index, part in enumerate(parts) if index and part.split(":")[0].lower() in _FIRSTS), None)
    if start is None or not 6 <= len(parts) - start <= 10 or ";" in text or not parts[0] or " " in parts[0]:
        return None
    others = parts[1:start]
    marker = next((part for part in others if _MARKER.fullmatch(part.removesuffix("_rRNA"))), None)
    compartment = next((part for part in others if _ORGANELLES.fullmatch(part)), None)
    more = " ".join(part for part in others if part and part not in (marker, compartment, "nucleus"))
    organelle = None if compartment is None else compartment.lower()
    return Header(parts[0], None, None, ";".join(parts[start:]), more or None, marker, organelle)


def _bold5(text: str) -> Header | None:
    """Parse ``id|marker|country|kingdom,phylum,class,order,family,subfamily,tribe,genus,species``."""
    parts = text.split("|")
    if len(parts) < 4 or not _MARKER.fullmatch(parts[1]):
        return None
    names = [name.strip() for name in parts[3].split(",")]
    # Without subfamily and tribe, with both, and followed by a subspecies.
    indices = {7: (0, 1, 2, 3, 4, 5, 6), 9: (0, 1, 2, 3, 4, 7, 8), 10: (0, 1, 2, 3, 4, 7, 8)}.get(len(names))
    if indices is None:
        return None
    more = " ".join(part for part in (parts[2], *parts[4:]) if part)
    return Header(parts[0], None, None, join_cells([names[index] for index in indices]), more or None, parts[1])


def _bold(text: str) -> Header | None:
    """Parse ``id|name|marker|accession``, also with the marker before the name."""
    parts = [part.strip() for part in text.split("|")]
    marker = next((index for index in (2, 1) if len(parts) > index and _MARKER.fullmatch(parts[index])), None)
    *before, last = parts
    if marker is None and " " in last and " " not in "".join(before) and species_of_scientific_name(last) == last:
        # MitoFish: gb|AP002923|Gadus morhua.
        return Header("|".join(before), None, None, join_cells([*[""] * (len(RANKS) - 1), last]))
    if marker is None or not parts[0] or " " in parts[0]:
        return None
    name = parts[3 - marker] if len(parts) > 3 - marker else ""
    # A single word is a taxon of unknown rank.
    species = name if " " in name else ""
    more = " ".join(part for part in ("" if species else name, *parts[3:]) if part)
    lineage = join_cells([*[""] * (len(RANKS) - 1), species]) if species else None
    return Header(parts[0], None, None, lineage, more or None, parts[marker])


def _obitools_json(text: str) -> Header | None:
    match = _JSON.fullmatch(text)
    if match is None:
        return None
    try:
        values = json.loads(match[2])
    except (ValueError, RecursionError):
        return None
    return None if not isinstance(values, dict) else _obitools_header(match[1], values, match[3])


def _obitools(text: str) -> Header | None:
    """Parse ``id key=value; key=value; definition``, as OBITools 1 and 2 write it."""
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    values: dict[str, Any] = {}
    position = 0
    while (match := _OBITOOLS.match(rest, position)) is not None and match.end() > position:
        # OBITools 3 writes its keys in capitals.
        values[match[1].lower()] = match[2].strip()
        position = match.end()
    if ";" in name or not _OBITOOLS_KEYS & set(values):
        return None
    try:
        values["merged_sample"] = ast.literal_eval(values["merged_sample"]) if "merged_sample" in values else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return _obitools_header(name, values, rest[position:])


def _obitools_header(name: str, values: dict[str, Any], definition: str) -> Header | None:
    merged = values.pop("merged_sample", None)
    count = str(values.pop("count", None) or "")
    by_sample = None
    if isinstance(merged, dict):
        reads = {str(sample): parse_count(str(number)) for sample, number in merged.items()}
        if None not in reads.values():
            by_sample = tuple((sample, number) for sample, number in reads.items() if number)
    sample = values.pop("sample", None)
    names = [str(values.pop(f"{rank}_name", None) or "") for rank in RANKS]
    names = ["" if name in ("None", "NA") else name for name in names]
    taxon = _TAXON.fullmatch(str(values.get("taxid")))
    if taxon is not None and taxon[2] in RANKS and not names[RANKS.index(taxon[2])]:
        names[RANKS.index(taxon[2])] = taxon[1]
    if not names[6] and str(values.get("rank", "species")) == "species":
        names[6] = species_of_scientific_name(str(values.get("scientific_name") or ""))
    rest = "; ".join(f"{key}={value}" for key, value in values.items())
    return Header(
        name,
        parse_count(count),
        None if sample is None else str(sample),
        join_cells(names) if any(names) else None,
        " ".join(part for part in (definition, rest) if part) or None,
        by_sample=by_sample or None,
    )
