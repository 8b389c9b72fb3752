"""Make ``docs/accuracy.md``: every marker of the shared data by ``ednabed evaluate``, and a summary of who is ahead.

``--data FOLDER`` holds ``MARKER.tsv.gz`` (id, marker, sequence, seven ranks). Takes half an hour on two cores, more
where the machine does other things; ``--markers`` takes some of them, ``--keep FOLDER`` keeps what was measured and
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from data import shared

MARKERS = ("coi", "12s", "16s", "18s", "its")
VECTORS_TOO = ("coi", "12s")
QUESTIONS = (
    ("species of held-out records", "record", "species"),
    ("genus of held-out species", "species", "genus"),
    ("family of held-out genera", "genus", "family"),
)
CROPS = {"full": "whole", "313": "313 letters", "150": "150 letters"}
# Aims of the project, by the calibrated method.
MOST_ERROR, LEAST_AUROC, MOST_NAMED, FALSE_NOVEL = 0.03, 0.95, 0.02, (0.03, 0.07)


def run(command: list[str], folder: Path) -> str:
    print(" ".join(command), flush=True)
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def measure(marker: str, data: Path, folder: Path, queries: int) -> dict[str, Any]:
    told = folder / f"{marker}.json"
    if not told.exists():
        workspace = ["ednabed", "--workspace", marker]
        run([*workspace, "embed", str(data / f"{marker}.tsv.gz"), "--dataset", marker, "--model", "kmer6"], folder)
        run([*workspace, "consolidate", "--no-calibrate"], folder)
        more = ["--queries", str(queries), "--output", f"{marker}.md", "--json"]
        if marker in VECTORS_TOO:
            more.insert(0, "--vectors-only")
        told.write_text(run([*workspace, "evaluate", *more], folder), encoding="utf-8")
    return json.loads(told.read_text(encoding="utf-8"))


def accuracy(method: dict[str, Any], crop: str, group: str, rank: str) -> float | None:
    return method["crops"][crop]["groups"][group][rank]["accuracy"]


def ahead(found: dict[str, Any], crop: str, group: str, rank: str) -> tuple[float | None, float | None, str]:
    """Our accuracy with alignment, the best of the other programs, and its name."""
    own = next(m for m in found["methods"] if m["name"].startswith("ednabed") and "vectors" not in m["name"])
    others = [m for m in found["methods"] if not m["name"].startswith("ednabed")]
    best = max(others, key=lambda m: accuracy(m, crop, group, rank) or 0, default=None)
    if best is None:
        return accuracy(own, crop, group, rank), None, ""
    return accuracy(own, crop, group, rank), accuracy(best, crop, group, rank), best["name"]


def named(method: dict[str, Any], crop: str) -> float | None:
    """Share of the queries of new genera that got a species with a confidence of 0.8 or more."""
    return method["crops"][crop]["groups"]["genus"]["species"]["over_classified"]


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def summary(results: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| marker | queries | " + " | ".join(f"{what}: ednabed, best other" for what, _, _ in QUESTIONS) + " |"]
    lines.append("|" + " --- |" * (2 + len(QUESTIONS)))
    behind = []
    for marker, found in results.items():
        for crop, words in CROPS.items():
            cells = []
            for what, group, rank in QUESTIONS:
                own, best, name = ahead(found, crop, group, rank)
                cells.append(f"{number(own)}, {number(best)} ({name})" if own is not None else "–")
                if own is not None and best is not None and best > own:
                    behind.append(f"- {marker}, {words}: {what}, {name} {best:.3f}, ednabed {own:.3f}")
            lines.append(f"| {marker} | {words} | " + " | ".join(cells) + " |")
    return [
        *lines, "", "## Where others are ahead", "", *(behind or ["Nowhere, in these tables."]), "",
        "Of 500 queries, differences below 0.03 are mostly chance (one standard error is 0.015 to 0.02 each).",
    ]  # fmt: skip


def promises(results: dict[str, dict[str, Any]]) -> list[str]:
    header = [
        "marker", "queries", "calibration error (species, genus, family)", "AUROC of new genera",
        "false novel at 5 % (species, genus, family)", "species named at 0.8 for new genera", "the same by SINTAX",
        "queries a second", "vsearch, blastn",
    ]  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    ranks = ("species", "genus", "family")
    for marker, found in results.items():
        by_name = {m["name"]: m for m in found["methods"]}
        own = next(m for name, m in by_name.items() if name.startswith("ednabed") and "vectors" not in name)
        for crop, words in CROPS.items():
            one = own["crops"][crop]
            sintax = by_name.get("sintax")
            rates = [by_name[n]["crops"][crop]["queries_a_second"] for n in ("vsearch", "blastn") if n in by_name]
            lines.append("| " + " | ".join([
                marker, words,
                ", ".join(number(one["groups"]["all"][rank]["calibration_error"]) for rank in ranks),
                number(one["novelty"]["genus"]["auroc"]),
                ", ".join(number(one["novelty"][rank]["false_novel"]) for rank in ranks),
                number(named(own, crop)),
                number(named(sintax, crop) if sintax else None),
                f"{one['queries_a_second']:.0f}", ", ".join(f"{r:.0f}" for r in rates),
            ]) + " |")  # fmt: skip
    low, high = FALSE_NOVEL
    return [
        *lines, "",
        f"Aims: calibration error at most {MOST_ERROR}, AUROC at least {LEAST_AUROC} on COI, false novelty {low} to "
        f"{high}, names for new genera below {MOST_NAMED}.",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=shared() / "data")
    parser.add_argument("--markers", nargs="+", default=list(MARKERS), choices=MARKERS)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "accuracy.md")
    parser.add_argument("--notes", type=Path, default=Path(__file__).parent / "accuracy_notes.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = {m: measure(m, given.data.resolve(), folder, given.queries) for m in given.markers}
        parts = [
            given.notes.read_text(encoding="utf-8").rstrip(),
            "## Summary",
            *summary(results),
            "## What is promised",
        ]
        parts += promises(results)
        text = "\n".join(parts).replace("\n## ", "\n\n## ")
        for marker in results:
            report = (folder / f"{marker}.md").read_text(encoding="utf-8").splitlines()
            deeper = [f"#{line}" if line.startswith("#") else line for line in report[1:]]
            text += f"\n\n## {marker.upper()}\n" + "\n".join(deeper)
    given.output.write_text(text.rstrip() + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
