"""Format an evaluation as Markdown, for users and for the documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ednabed.evaluate.accuracy import Evaluation
from ednabed.evaluate.bayes import CONFIDENT as BAYES
from ednabed.evaluate.markdown import NOTHING, markdown_table, number
from ednabed.evaluate.metrics import ASSUMED_SHARES, CONFIDENT, IDENTITY_BINS, SIGNIFICANT
from ednabed.evaluate.report_mixture import READING as _MIXTURE
from ednabed.evaluate.report_mixture import mixture_parts
from ednabed.evaluate.splits import COPY, GROUPS
from ednabed.evaluate.vector_quality import AMONG, FRAGMENT, MAX_OVERLAP
from ednabed.sequences.lineage import RANKS

_SHOWN = GROUPS[1:]

_ALLOWED = f"{100 * SIGNIFICANT:.0f} %"
_SHARES = ", ".join(f"{group} {100 * share:.0f} %" for group, share in ASSUMED_SHARES.items())

_READING = f"""\
- *Accuracy*: the share of best guesses that are right, over queries whose true taxon is in training (± half the width
  of its 95 % Wilson interval). If equally good best hits have several names, the query counts as the share of these
  names that is right; this is the same for all methods.
- *Precision*, *recall* and *over-classified* count *names given*. ednabed gives a name if its confidence reaches
  {CONFIDENT}, the identity with the nearest sequence reaches the minimum for that rank, and no other name fits equally
  well; SINTAX if its confidence reaches {CONFIDENT}; naive Bayes if it reaches {BAYES}; the consensus of top hits if
  the identity reaches the minimum for the rank. Best-hit methods have no confidence; they always give a name, which
  counts as given with full confidence.
- *Over-classified*: of the queries whose taxon at that rank is *not* in training, the share that were given a name at
  that rank.
- *Calibration error*: expected calibration error over the queries of all groups, ten bins; a name given to a taxon that
  is not in training is wrong. Groups are weighted by the shares that calibration assumes, not by their numbers of
  queries: {_SHARES}.
- *AUROC*: how well queries of the group that holds out that rank are distinguished from held-out records (1 always, 0.5
  by chance). The score of ednabed, SINTAX and naive Bayes is 1 - the confidence in the name at that rank; if ednabed
  has no confidence, it is the distance of the nearest sequence: the expected share of differing bases among those
  compared, (mismatches + 1) / (bases + 2), or 1 - cosine if none were compared. The score of other programs is 100 -
  identity.
- *False novel*: share with p ≤ {SIGNIFICANT} among queries whose deepest taxon in training has that rank (held-out
  records at species, held-out species at genus, held-out genera at family), expected to be {_ALLOWED}. Next to it is
  the share among held-out records, which have nearer relatives and should therefore be lower.
- *Found novel*: share with p ≤ {SIGNIFICANT} among held-out taxa of that rank.
{_MIXTURE}
- {NOTHING}: nothing to measure."""


_NEIGHBOURS = f"""\
The nearest training sequence by cosine, without alignment: the share with the right species for held-out records, the
right genus for held-out species and the right family for held-out genera; the share with the right species among the
{AMONG} nearest; and how well held-out genera are distinguished from held-out records by the distance of the nearest
sequence (AUROC). Fragments: how often two fragments of {FRAGMENT} bases of one sequence that overlap by at most
{MAX_OVERLAP} are nearer than fragments of two families. Other strand: the queries are reverse-complemented, the
training sequences are not."""


def to_markdown(evaluation: Evaluation) -> str:
    """Format an evaluation as Markdown: the data, how to read it, the methods, and tables for each crop."""
    parts = [
        f"# Accuracy{': ' + evaluation.title if evaluation.title else ''}",
        _data(evaluation),
        "## How to read the tables",
        _READING,
        "## Methods",
        _methods(evaluation),
    ]
    if evaluation.neighbours:
        parts += ["## Vectors alone", _NEIGHBOURS, _neighbours(evaluation)]
    for crop, sizes in evaluation.crops.items():
        heading = "Whole sequences" if crop == "full" else f"Cropped to {crop} bases"
        parts.append(f"## {heading}")
        if not sum(sizes.values()):
            parts.append("No query is that long.")
            continue
        parts += ["### Names", _names(evaluation, crop)]
        parts += ["### Calibration, novelty and speed", _confidence(evaluation, crop)]
        parts += mixture_parts(evaluation, crop)
        if evaluation.identities_from is not None:
            parts += ["### Accuracy by identity with the nearest training sequence", _bins(evaluation, crop)]
    return "\n\n".join(parts) + "\n"


def _data(evaluation: Evaluation) -> str:
    facts = evaluation.facts()
    taxa = facts["training_taxa"]
    lines = [
        f"{facts['records']:,} labelled records"
        + (f" ({facts['unlabelled']:,} more without names were omitted)" if facts["unlabelled"] else "")
        + f"; {facts['training']:,} of them are training records, with {taxa['species']:,} species, "
        f"{taxa['genus']:,} genera and "
        f"{taxa['family']:,} families. Seed {facts['seed']}."
        + ("" if facts["unseen"] is None else f" Queries were drawn from {facts['unseen']:,} listed records only."),
    ]
    counts = facts["queries_of_crop"]
    header = ["held out", "still in training", "records taken from training", *(f"queries, {crop}" for crop in counts)]
    rows = [
        [group, _kept(group), f"{facts['taken'][group]:,}", *(f"{sizes[group]:,}" for sizes in counts.values())]
        for group in GROUPS
    ]
    rows.append(["nothing (copy)", _kept(COPY), "0", *(f"{size:,}" for size in evaluation.copies.values())])
    lines += ["", markdown_table(header, rows)]
    if evaluation.command:
        lines += ["", "Created by:", "", "```", evaluation.command, "```"]
    return "\n".join(lines)


def _kept(group: str) -> str:
    if group == COPY:
        return "its species, under the same sequence"
    if group == "record":
        return "its species, under another sequence"
    return f"its {RANKS[RANKS.index(group) - 1]}"


def _methods(evaluation: Evaluation) -> str:
    rows = [[r.name, f"`{r.settings}`", f"{r.prepare_seconds:,.1f} s"] for r in evaluation.results]
    text = markdown_table(["method", "version and settings", "preparing"], rows)
    threads = f"{evaluation.threads} thread{'s' if evaluation.threads != 1 else ''}"
    text += f"\n\n{evaluation.machine}; {threads} per method."
    for name, message in evaluation.failures.items():
        text += f"\n\n{name} failed: {message}."
    return text


def _neighbours(evaluation: Evaluation) -> str:
    first = evaluation.neighbours[0]
    names = list(next(iter(first.figures.values())))
    rows = [
        [one.model, queries, *(number(figures[name]) for name in names), ""]
        for queries in first.figures
        for one in evaluation.neighbours
        for figures in [one.figures[queries]]
    ]
    rows += [[one.model, "fragments", *[""] * len(names), number(one.fragments)] for one in evaluation.neighbours]
    return markdown_table(["model", "queries", *names, "fragments together"], rows)


def _names(evaluation: Evaluation, crop: str) -> str:
    header = ["method", "held out", "queries", *(f"{rank} accuracy" for rank in _SHOWN)]
    header += [f"{rank} precision / recall" for rank in _SHOWN] + [f"{rank} over-classified" for rank in _SHOWN]
    rows = []
    sizes = evaluation.crops[crop]
    for result in evaluation.results:
        for group, size in {**sizes, "all": sum(sizes.values())}.items():
            if not size:
                continue
            ranks = result.crops[crop].groups[group]
            row = [result.name, group, str(size)]
            row += [_accuracy(ranks[rank]) for rank in _SHOWN]
            row += [f"{number(ranks[rank]['precision'])} / {number(ranks[rank]['recall'])}" for rank in _SHOWN]
            row += [number(ranks[rank]["over_classified"]) for rank in _SHOWN]
            rows.append(row)
    return markdown_table(header, rows)


def _confidence(evaluation: Evaluation, crop: str) -> str:
    columns: list[tuple[str, Callable[[Any, str], float | None]]] = [
        ("calibration error", lambda measured, rank: measured.groups["all"][rank]["calibration_error"]),
        ("AUROC", lambda measured, rank: measured.novelty[rank]["auroc"]),
        ("false novel", lambda measured, rank: measured.novelty[rank]["false_novel"]),
        ("false novel among held-out records", lambda measured, rank: measured.novelty[rank]["false_novel_records"]),
        ("found novel", lambda measured, rank: measured.novelty[rank]["found_novel"]),
    ]
    header = ["method", *(f"{name}, {' / '.join(_SHOWN)}" for name, _ in columns), "queries per second"]
    rows = []
    for result in evaluation.results:
        measured = result.crops[crop]
        cells = [" / ".join(number(value(measured, rank)) for rank in _SHOWN) for _, value in columns]
        rows.append([result.name, *cells, f"{measured.rate:,.1f}"])
    return markdown_table(header, rows)


def _bins(evaluation: Evaluation, crop: str) -> str:
    header = ["method", "rank", *(f"{name} %" if name != "none" else "none found" for name in IDENTITY_BINS)]
    rows = []
    for result in evaluation.results:
        for rank in _SHOWN:
            found = [result.crops[crop].bins[name][rank] for name in IDENTITY_BINS]
            cells = [f"{cell['accuracy']:.3f} ({cell['present']})" if cell["present"] else NOTHING for cell in found]
            rows.append([result.name, rank, *cells])
    text = markdown_table(header, rows)
    return f"{text}\n\nIdentities are from {evaluation.identities_from}; the number of queries is in brackets."


def _accuracy(measured: dict[str, Any]) -> str:
    if measured["accuracy"] is None:
        return NOTHING
    return f"{measured['accuracy']:.3f} ±{(measured['accuracy_high'] - measured['accuracy_low']) / 2:.3f}"
