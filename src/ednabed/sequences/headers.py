"""What the header lines of FASTA and FASTQ records say: id, size, sample, lineage and the rest.

Recognised are VSEARCH's and USEARCH's ``;size=12``, ``;sample=S1`` (``barcodelabel``) and ``;tax=d:…,p:…``, and
lineages that cannot be mistaken: prefixes (``k__Fungi;p__…``, also behind UNITE's ``|``) and MIDORI's ``root_1;…``
(also behind ``###``). Everything else stays in the description. A batch none of whose headers holds ``;``, ``=`` or
``__`` is only split at the first white space.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ednabed.errors import InputError
from ednabed.sequences.lineage import tidy_lineage

_SIZE = re.compile(r"(?:^|[;\s])size=(\d{1,18})(?=[;\s]|$)")
_SAMPLE = re.compile(r"(?:^|[;\s])(?:sample|barcodelabel)=([^;\s]+)")
_TAX = re.compile(r"(?:^|[;\s])tax=\s*([dkpcofgs]:[^;]*)")
_OTHER = re.compile(r";[A-Za-z_][\w.]*=")
_LINEAGE = re.compile(r"(?:(?:sk|k|d)__|D_0__|root(?:_1)?;)")
_JOINED_LINEAGE = re.compile(r"([^\s|#][^\s#]*?)(?:\||###)((?:sk__|k__|d__|root(?:_1)?;)[^|]*)(?:\|(.*))?$")


class Header(NamedTuple):
    """The parts of one header; None where it does not say."""

    id: str
    abundance: int | None = None
    sample: str | None = None
    lineage: str | None = None
    description: str | None = None


class Headers(NamedTuple):
    """The parts of a batch of headers, one list a part; None where no header of the batch says anything."""

    ids: list[str]
    abundances: list[int | None] | None
    samples: list[str | None] | None
    lineages: list[str | None] | None
    descriptions: list[str | None]


def split_headers(names: list[str]) -> Headers:
    """Split the header lines of a batch, without their ``>`` or ``@``."""
    joined = "\n".join(names)
    if ";" in joined or "=" in joined or "__" in joined:
        ids, abundances, samples, lineages, descriptions = zip(*map(parse_header, names), strict=True)
        return Headers(list(ids), list(abundances), list(samples), list(lineages), list(descriptions))
    words = [name.split(None, 1) for name in names]
    return Headers(
        [pair[0] if pair else "" for pair in words],
        None,
        None,
        None,
        [pair[1].rstrip() if len(pair) == 2 else None for pair in words],
    )


def parse_header(text: str) -> Header:
    """Read one header line, without its ``>`` or ``@``."""
    text = text.strip()
    size = sample = lineage = None
    if "=" in text:
        if match := _SIZE.search(text):
            size, text = int(match[1]), _without(text, match)
        if match := _SAMPLE.search(text):
            sample, text = match[1], _without(text, match)
        if match := _TAX.search(text):
            lineage, text = _known(match[1]), _without(text, match)
    extra = ""
    joined = _JOINED_LINEAGE.match(text)
    if joined and (found := _known(joined[2])):
        name, lineage, rest = joined[1], lineage or found, (joined[3] or "")
    else:
        name, _, rest = text.partition(" ") if "\t" not in text else _partition(text)
        if other := _OTHER.search(name):
            name, extra = name[: other.start()], name[other.start() + 1 :].strip(";")
    rest = rest.strip()
    if _LINEAGE.match(rest) and (found := _known(rest)):
        lineage, rest = lineage or found, ""
    description = " ".join(part for part in (rest, extra) if part)
    return Header(name.rstrip(";"), size, sample, lineage, description or None)


def _partition(text: str) -> tuple[str, str, str]:
    first, *rest = text.split(None, 1)
    return first, " ", rest[0] if rest else ""


def _without(text: str, match: re.Match[str]) -> str:
    """Cut an annotation out; what follows keeps its own separator."""
    return text[: match.start()] + text[match.end() :]


def _known(text: str) -> str | None:
    """Read a lineage that a header holds; one that makes no sense is left where it is."""
    try:
        return tidy_lineage(text)
    except InputError:
        return None
