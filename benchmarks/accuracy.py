"""Create ``docs/accuracy.md``: ``ednabed evaluate`` on every marker of the shared data, and a summary of the results.

``--data FOLDER`` contains ``MARKER.tsv.gz`` (id, marker, sequence, seven ranks). A run takes two hours on two cores,
half of them COI, mostly blastn. ``--markers`` selects markers; ``--keep FOLDER`` keeps the results for each number of
queries, and a later run continues from them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data import shared

MARKERS = ("coi", "12s", "16s", "18s", "its")
QUESTIONS = (
    ("species of held-out records", "record", "species"),
    ("genus of held-out species", "species", "genus"),
    ("family of held-out genera", "genus", "family"),
)
CROPS = {"full": "whole", "313": "313 bases", "150": "150 bases"}
# Aims of the project for the calibrated method.
MAX_ERROR, MIN_AUROC, MAX_NAMED, FALSE_NOVEL = 0.03, 0.95, 0.02, (0.03, 0.07)
FASTER = 10
# barcode-1 was trained on most of the records that are queries here, so the tables compare ednabed with kmer6, which
# learned nothing, with the other programs. barcode-1 is measured on the records that it was not trained on.
OURS, TRAINED, ALIGNER = "ednabed kmer6", "ednabed barcode-1", "vsearch"
OTHERS = ("vsearch-default", "sintax", "consensus", "blastn", "mmseqs2", "naive-bayes")
UNSEEN = Path(__file__).resolve().parent / "barcode-1_unseen.txt.gz"
RANKS = ("species", "genus", "family")
# Figures of the natural mixture that are compared, as keys in the JSON of a rank.
PRECISIONS = ("0.95", "0.90", "0.80")
MIXED_RANKS = ("species", "genus")
MIN_QUERIES = 50
"""Minimum number of queries for a figure, and of queries of known taxa for a comparison."""
# Aims on the natural mixture: text, keys below ``mixture`` in the JSON of a crop, whether the figure should be at least
# the limit (else at most), and the limit for each marker that has one.
MIXTURE_AIMS: tuple[tuple[str, tuple[str, ...], bool, dict[str, float]], ...] = (
    ("known species given their name", ("ranks", "species", "recall"), True, {"coi": 0.90, "12s": 0.62, "its": 0.38}),
    ("species given that are right", ("ranks", "species", "precision"), True, {"coi": 0.96, "12s": 0.85, "its": 0.86}),
    ("copies of one species given a species", ("copies", "given"), True,
     {"coi": 0.97, "12s": 0.90, "16s": 0.90, "its": 0.75}),
    ("unknown species given a species", ("ranks", "species", "over_classified"), False,
     {"coi": 0.03, **dict.fromkeys(MARKERS[1:], 0.07)}),
    *((f"calibration error of {ranks}", ("ranks", rank, "calibration_error"), False, dict.fromkeys(MARKERS, MAX_ERROR))
      for rank, ranks in (("species", "species"), ("genus", "genera"), ("family", "families"))),
    ("absent genera claimed absent", ("claims", "groups", "genus", "right"), True, {"coi": 0.40, "12s": 0.30}),
    ("absent genera claimed as families or more", ("claims", "groups", "genus", "too_broad"), False,
     {"coi": 0.05, "12s": 0.05}),
    ("new haplotypes of known species claimed absent", ("claims", "groups", "record", "claimed"), False,
     dict.fromkeys(MARKERS, 0.05)),
    ("claims of what is in the reference", ("claims", "wrong"), False, dict.fromkeys(MARKERS, 0.05)),
    ("claims that are about known species", ("claims", "known"), False, dict.fromkeys(MARKERS, 0.05)),
    ("best guess of the species of new haplotypes", ("haplotypes", "accuracy"), True,
     {"coi": 0.93, "12s": 0.755, "16s": 0.77, "18s": 0.73, "its": 0.56}),
)  # fmt: skip


def run(command: list[str], folder: Path) -> str:
    print(" ".join(command), flush=True)
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def measure(marker: str, data: Path, folder: Path, queries: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results for queries of all records, and for queries that barcode-1 was not trained on."""
    omitted = [word for name in OTHERS for word in ("--without", name)]
    return (
        evaluate(marker, data, folder, queries, f"{marker}_{queries}", []),
        evaluate(marker, data, folder, queries, f"{marker}_{queries}_unseen", ["--unseen", str(UNSEEN), *omitted]),
    )


def evaluate(marker: str, data: Path, folder: Path, queries: int, name: str, more: list[str]) -> dict[str, Any]:
    result = folder / f"{name}.json"
    if not result.exists():
        workspace = ["ednabed", "--workspace", marker]
        if not (folder / marker / "data" / "reference").exists():
            run([*workspace, "embed", str(data / f"{marker}.tsv.gz"), "--dataset", marker], folder)
            run([*workspace, "consolidate", "--no-calibrate"], folder)
        words = [*workspace, "evaluate", "--queries", str(queries), *more, "--output", f"{name}.md", "--json"]
        result.write_text(run(words, folder), encoding="utf-8")
    return json.loads(result.read_text(encoding="utf-8"))


def measurable(found: dict[str, Any], crop: str, group: str) -> bool:
    """Return whether a group has enough queries of this length for a figure."""
    return found["split"]["queries_of_crop"].get(crop, {}).get(group, 0) >= MIN_QUERIES


def accuracy(method: dict[str, Any], crop: str, group: str, rank: str) -> float | None:
    return method["crops"][crop]["groups"][group][rank]["accuracy"]


def ours(found: dict[str, Any]) -> dict[str, Any]:
    return by_name(found, OURS)


def by_name(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in found["methods"] if m["name"] == name)


def ahead(found: dict[str, Any], crop: str, group: str, rank: str) -> tuple[float | None, float | None, str]:
    """Return the accuracy of ednabed, the best accuracy of the other programs, and the name of that program."""
    own = ours(found)
    others = [m for m in found["methods"] if not m["name"].startswith("ednabed")]
    best = max(others, key=lambda m: accuracy(m, crop, group, rank) or 0, default=None)
    if best is None:
        return accuracy(own, crop, group, rank), None, ""
    return accuracy(own, crop, group, rank), accuracy(best, crop, group, rank), best["name"]


def named(method: dict[str, Any], crop: str) -> float | None:
    """Return the share of the queries of new genera that were given a species."""
    return method["crops"][crop]["groups"]["genus"]["species"]["over_classified"]


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def summary(results: dict[str, dict[str, Any]], queries: int) -> list[str]:
    # Standard error of a share of 0.8.
    error = (0.8 * 0.2 / queries) ** 0.5
    lines = ["| marker | queries | " + " | ".join(f"{what}: ednabed, best other" for what, _, _ in QUESTIONS) + " |"]
    lines.append("|" + " --- |" * (2 + len(QUESTIONS)))
    behind = []
    for marker, found in results.items():
        for crop, words in CROPS.items():
            cells = []
            for what, group, rank in QUESTIONS:
                if not measurable(found, crop, group):
                    cells.append("–")
                    continue
                own, best, name = ahead(found, crop, group, rank)
                cells.append(f"{number(own)}, {number(best)} ({name})" if own is not None else "–")
                if own is not None and best is not None and best > own:
                    behind.append(f"- {marker}, {words}: {what}, {name} {best:.3f}, ednabed {own:.3f}")
            lines.append(f"| {marker} | {words} | " + " | ".join(cells) + " |")
    return [
        *lines, "", "## Where others are ahead", "", *(behind or ["Nowhere, in these tables."]), "",
        f"Of {queries} queries a group, differences below {2 * error:.2f} are mostly chance (one standard error is "
        f"some {error:.3f} each).",
    ]  # fmt: skip


def mixture(method: dict[str, Any], crop: str, *keys: str) -> Any:
    """Return a figure of the natural mixture; None if it was not measured."""
    found: Any = method["crops"].get(crop, {}).get("mixture")
    for key in keys:
        found = None if found is None else found.get(key)
    return found


def balance(method: dict[str, Any], crop: str, rank: str) -> float | None:
    """Return the F1 of the names given: the harmonic mean of their precision and recall."""
    recall, precision = (mixture(method, crop, "ranks", rank, key) for key in ("recall", "precision"))
    if recall is None or precision is None:
        return None
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def natural(results: dict[str, dict[str, Any]], rank: str) -> tuple[list[str], list[str]]:
    """Return a table of the natural mixture at a rank, by marker and crop, and a list of where others are ahead."""
    header = ["marker", "queries", "by default, recall at precision: ednabed, best other"]
    header += [f"recall at precision {precision}: ednabed, best other" for precision in PRECISIONS]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    behind = []
    for marker, found in results.items():
        own = ours(found)
        others = [m for m in found["methods"] if not m["name"].startswith("ednabed")]
        for crop, words in CROPS.items():
            if (mixture(own, crop, "ranks", rank, "known") or 0) < MIN_QUERIES:
                continue
            cells = []
            for precision in (None, *PRECISIONS):
                if precision is None:
                    what = "by default, F1"
                    figures = {m["name"]: balance(m, crop, rank) for m in (own, *others)}
                else:
                    what = f"recall at precision {precision}"
                    figures = {
                        m["name"]: mixture(m, crop, "ranks", rank, "recall_at_precision", precision)
                        for m in (own, *others)
                    }
                best = max(others, key=lambda m: -1 if figures[m["name"]] is None else figures[m["name"]], default=None)
                compared = [own] if best is None else [own, best]
                cells.append(
                    ", ".join(cell(m, m is not own, figures[m["name"]], crop, rank, precision) for m in compared)
                )
                mine, theirs = (figures[m["name"]] if m else None for m in (own, best))
                if best is not None and mine is not None and theirs is not None and theirs > mine:
                    behind.append(
                        f"- {marker}, {words}, {rank}: {what}, {best['name']} {theirs:.3f}, ednabed {mine:.3f}"
                    )
            lines.append(f"| {marker} | {words} | " + " | ".join(cells) + " |")
    return lines, behind


def cell(method: dict[str, Any], named: bool, figure: float | None, crop: str, rank: str, precision: str | None) -> str:
    text = number(figure)
    if precision is None:
        recall, right = (mixture(method, crop, "ranks", rank, key) for key in ("recall", "precision"))
        text = f"{number(recall)} at {number(right)}"
    return f"{text} ({method['name']})" if named else text


def natural_summary(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return the natural mixture of all markers for every rank, and a list of where others are ahead."""
    parts = [
        "Exact copies and new haplotypes of known species are a quarter each, queries whose species, genus or family "
        "is not in training the other half. By default the best other is the one of the highest F1. Lengths with fewer "
        f"than {MIN_QUERIES} queries of known taxa are left out.",
        "",
    ]
    ahead_of_us: list[str] = []
    for rank in MIXED_RANKS:
        lines, behind = natural(results, rank)
        parts += [f"#### {rank.capitalize()}", "", *lines, ""]
        ahead_of_us += behind
    return [*parts, "#### Where others are ahead", "", *(ahead_of_us or ["Nowhere, in these tables."]), ""]


def names(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of names with alignment: barcode-1, kmer6 and vsearch's best hit."""
    mixed = ("species by default, recall at precision", "calibration error of species", "species of copies given")
    header = ["marker", "queries", *(what for what, _, _ in QUESTIONS), *mixed]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for marker, found in results.items():
        methods = [by_name(found, name) for name in (TRAINED, OURS, ALIGNER)]
        for crop, words in CROPS.items():
            if not any(measurable(found, crop, group) for _, group, _ in QUESTIONS):
                continue
            cells = [
                " : ".join(number(accuracy(m, crop, group, rank)) for m in methods)
                if measurable(found, crop, group)
                else "–"
                for _, group, rank in QUESTIONS
            ]
            if (mixture(methods[0], crop, "ranks", "species", "known") or 0) < MIN_QUERIES:
                cells += ["–"] * len(mixed)
            else:
                cells.append(" : ".join(cell(m, False, None, crop, "species", None) for m in methods[:2]))
                for keys in (("ranks", "species", "calibration_error"), ("copies", "given")):
                    cells.append(" : ".join(number(mixture(m, crop, *keys)) for m in methods[:2]))
            lines.append(f"| {marker} | {words} | " + " | ".join(cells) + " |")
    return [
        "Names with alignment, barcode-1 : kmer6 : the best hit of vsearch (30 accepts, 100 rejects). The last three "
        "columns are of the natural mixture.",
        "", *lines, "",
    ]  # fmt: skip


def vectors(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return tables of the accuracy of vectors alone, compared with kmer6 and vsearch's best hit."""
    header = ["marker", "queries", "species among 50", *(what for what, _, _ in QUESTIONS), "new genera detected"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    ends = ["| marker | fragments together | the other strand, species among 50 |", "| --- | --- | --- |"]
    for marker, found in results.items():
        own, yard = found["neighbours"]
        for crop, words in CROPS.items():
            figures = own["figures"].get(crop), yard["figures"].get(crop)
            if None in figures or not any(measurable(found, crop, group) for _, group, _ in QUESTIONS):
                continue
            both = measurable(found, crop, "record"), measurable(found, crop, "genus")
            among, detected = "record → species among 50", "new genera told"
            cells = [" : ".join(number(one[among]) for one in figures) if both[0] else "–"]
            for _, group, rank in QUESTIONS:
                if not measurable(found, crop, group):
                    cells.append("–")
                    continue
                best = next((accuracy(m, crop, group, rank) for m in found["methods"] if m["name"] == ALIGNER), None)
                cells.append(" : ".join(number(one[f"{group} → {rank}"]) for one in figures) + f" : {number(best)}")
            cells.append(" : ".join(number(one[detected]) for one in figures) if all(both) else "–")
            lines.append(f"| {marker} | {words} | " + " | ".join(cells) + " |")
        turned = [number(one["figures"]["full, other strand"]["record → species among 50"]) for one in (own, yard)]
        ends.append(f"| {marker} | {number(own['fragments'])} : {number(yard['fragments'])} | {' : '.join(turned)} |")
    return [
        f"{own['model']} : {yard['model']} : the best hit of vsearch (30 accepts, 100 rejects), which aligns. Nearest "
        "neighbours by cosine, without alignment.",
        "", *lines, "", *ends, "",
    ]  # fmt: skip


def drawn(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a paragraph on the queries that barcode-1 was not trained on."""
    few = [
        f"{marker} {queries} of {group}"
        for marker, found in results.items()
        for group, queries in found["split"]["queries"].items()
        if queries < max(found["split"]["queries"].values())
    ]
    return [
        "Queries are drawn from the records that earlier draws held out (`benchmarks/barcode-1_unseen.txt.gz`). Those "
        "draws took sequences, each with its most common name, so fewer of these records share their sequence with "
        "another species (0.15 on 16S, of all records 0.20; 12S 0.11 and 0.13; alike on COI): species are easier to "
        "find than in the tables above, where queries are drawn from all records, and confidences, which are "
        "calibrated on all records, can be too low for them. Compare the methods with each other here, not with the "
        f"tables above. Figures of fewer than {MIN_QUERIES} queries are left out."
        + (f" Fewer queries than elsewhere: {', '.join(few)}." if few else ""),
        "",
    ]  # fmt: skip


def promises(results: dict[str, dict[str, Any]]) -> list[str]:
    header = [
        "marker", "queries", "calibration error (species, genus, family)", "AUROC of new genera",
        "false novel at 5 % (species, genus, family)", "species given to new genera", "the same by SINTAX",
        "queries a second", "vsearch, blastn",
    ]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for marker, found in results.items():
        by_name = {m["name"]: m for m in found["methods"]}
        own = ours(found)
        for crop, words in CROPS.items():
            one = own["crops"][crop]
            sintax = by_name.get("sintax")
            rates = [by_name[n]["crops"][crop]["queries_a_second"] for n in ("vsearch", "blastn") if n in by_name]
            lines.append("| " + " | ".join([
                marker, words,
                ", ".join(number(one["groups"]["all"][rank]["calibration_error"]) for rank in RANKS),
                number(one["novelty"]["genus"]["auroc"]),
                ", ".join(number(one["novelty"][rank]["false_novel"]) for rank in RANKS),
                number(named(own, crop)),
                number(named(sintax, crop) if sintax else None),
                f"{one['queries_a_second']:.0f}", ", ".join(f"{r:.0f}" for r in rates),
            ]) + " |")  # fmt: skip
    return lines


def aims(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of the aims on whole sequences: the result on each marker, and whether all meet the aim."""
    low, high = FALSE_NOVEL
    rows: list[tuple[str, dict[str, tuple[str, bool | None]]]] = []

    def add(aim: str, judge: Callable[[dict[str, Any]], tuple[str, bool | None]], markers: Sequence[str]) -> None:
        rows.append((aim, {marker: judge(results[marker]) for marker in markers if marker in results}))

    add("species of held-out records: no less than the better of vsearch and blastn",
        lambda found: beside(found, "record", "species", ("vsearch", "blastn")), MARKERS)  # fmt: skip
    add(f"at least {FASTER} times the queries a second of vsearch and blastn", faster, ("coi",))
    add("family of held-out genera: no less than vsearch",
        lambda found: beside(found, "genus", "family", ("vsearch",)), MARKERS)  # fmt: skip
    add(f"species given to held-out genera: below {MAX_NAMED}",
        lambda found: within([named(ours(found), "full")], lambda v: v < MAX_NAMED), MARKERS)  # fmt: skip
    add(f"AUROC of held-out genera: at least {MIN_AUROC}",
        lambda found: within([whole(found)["novelty"]["genus"]["auroc"]], lambda v: v >= MIN_AUROC),
        ("coi",))  # fmt: skip
    add(f"false novel at species, genus, family: {low} to {high}",
        lambda found: within([whole(found)["novelty"][rank]["false_novel"] for rank in RANKS],
                             lambda v: low <= v <= high), MARKERS)  # fmt: skip
    add(f"calibration error at species, genus, family: at most {MAX_ERROR}",
        lambda found: within([whole(found)["groups"]["all"][rank]["calibration_error"] for rank in RANKS],
                             lambda v: v <= MAX_ERROR), MARKERS)  # fmt: skip
    add("species of held-out records, accuracy lost from whole to 313 bases: no more than vsearch", lost, ("coi",))
    for aim, keys, least, limits in MIXTURE_AIMS:
        judged = {m: mixed(keys, least, limits[m], results[m]) for m in limits if m in results}
        by_limit: dict[float, list[str]] = {}
        for marker in limits:
            by_limit.setdefault(limits[marker], []).append(marker)
        words = [
            f"{limit:g}" + (f" ({', '.join(own)})" if own != list(MARKERS) else "") for limit, own in by_limit.items()
        ]
        rows.append((f"natural mixture, {aim}: at {'least' if least else 'most'} {', '.join(words)}", judged))
    lines = ["| aim | reached | met |", "| --- | --- | --- |"]
    for aim, found in rows:
        cells = [f"{marker} {text}" + (" (no)" if met is False else "") for marker, (text, met) in found.items()]
        verdicts = [met for _, met in found.values()]
        met = "–" if not verdicts or None in verdicts else "yes" if all(verdicts) else "no"
        # One missed marker misses the aim, even if others were not measured.
        lines.append(f"| {aim} | {'; '.join(cells) or '–'} | {'no' if False in verdicts else met} |")
    return lines


def whole(found: dict[str, Any]) -> dict[str, Any]:
    return ours(found)["crops"]["full"]


def mixed(keys: tuple[str, ...], least: bool, limit: float, found: dict[str, Any]) -> tuple[str, bool | None]:
    return within([mixture(ours(found), "full", *keys)], lambda v: v >= limit if least else v <= limit)


def within(values: list[float | None], enough: Callable[[float], bool]) -> tuple[str, bool | None]:
    text = ", ".join(map(number, values))
    return text, None if None in values else all(enough(v) for v in values if v is not None)


def beside(found: dict[str, Any], group: str, rank: str, names: Sequence[str]) -> tuple[str, bool | None]:
    own = accuracy(ours(found), "full", group, rank)
    others = {m["name"]: accuracy(m, "full", group, rank) for m in found["methods"] if m["name"] in names}
    best = max((v for v in others.values() if v is not None), default=None)
    # If one of the programs is missing, it is unknown which is better.
    known = own is not None and best is not None and len(others) == len(names)
    return f"{number(own)} beside {number(best)}", own >= best if known else None


def faster(found: dict[str, Any]) -> tuple[str, bool | None]:
    own = whole(found)["queries_a_second"]
    others = [m["crops"]["full"]["queries_a_second"] for m in found["methods"] if m["name"] in ("vsearch", "blastn")]
    times = [own / rate for rate in others if rate]
    text = ", ".join(f"{t:.1f} times" for t in times) or "–"
    return text, min(times) >= FASTER if len(times) == 2 else None


def lost(found: dict[str, Any]) -> tuple[str, bool | None]:
    other = next((m for m in found["methods"] if m["name"] == "vsearch"), None)
    figures = [accuracy(m, crop, "record", "species") for m in (ours(found), other) if m for crop in ("full", "313")]
    if len(figures) < 4 or None in figures:
        return "–", None
    own, best = figures[0] - figures[1], figures[2] - figures[3]
    return f"{own:.3f} beside {best:.3f}", own <= best + 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=shared() / "data")
    parser.add_argument("--markers", nargs="+", default=list(MARKERS), choices=MARKERS)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument(
        "--keep",
        type=Path,
        help="Keep results in this folder and reuse those that exist; empty it when the code has changed.",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "accuracy.md")
    parser.add_argument("--notes", type=Path, default=Path(__file__).parent / "accuracy_notes.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = {m: measure(m, given.data.resolve(), folder, given.queries) for m in given.markers}
        results, unseen = ({m: pair[i] for m, pair in measured.items()} for i in (0, 1))
        parts = [
            given.notes.read_text(encoding="utf-8").rstrip(),
            "## Summary",
            "",
            "### Aims, whole sequences",
            "",
            *aims(results),
            "",
            "### Beside the other programs",
            "",
            *summary(results, given.queries),
            "",
            "### Natural mixture",
            "",
            *natural_summary(results),
            "## What is promised",
            "",
            *promises(results),
            "",
            "## barcode-1, on records that it was not trained on",
            "",
            *drawn(unseen),
            "### Names",
            "",
            *names(unseen),
            "### Vectors alone",
            "",
            *vectors(unseen),
        ]
        text = "\n".join(parts).replace("\n## ", "\n\n## ")
        for marker in results:
            report = (folder / f"{marker}_{given.queries}.md").read_text(encoding="utf-8").splitlines()
            deeper = [f"#{line}" if line.startswith("#") else line for line in report[1:]]
            text += f"\n\n## {marker.upper()}\n" + "\n".join(deeper)
    given.output.write_text(text.rstrip() + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
