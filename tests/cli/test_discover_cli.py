"""``ednabed discover``: from sequences of simulated species to candidate taxa in a folder, and the output."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli_support import call
from ednabed.cli import main as entry
from ednabed.export.discovery import CANDIDATE_COLUMNS, FILES, MEMBER_COLUMNS

LENGTH = 300
FAMILIES, GENERA, SPECIES, RECORDS = 4, 5, 4, 5
KNOWN = 20
"""Queries of known species: few, so that a handful of absent ones carries a small false discovery rate."""
# A name that a page could misinterpret.
NAMES = ("F0", "<u>F1", "F2", "F3")


def changed(sequence: str, share: float, chance: random.Random) -> str:
    """Change a share of the bases."""
    letters = list(sequence)
    for place in chance.sample(range(len(letters)), round(share * len(letters))):
        letters[place] = chance.choice([c for c in "ACGT" if c != letters[place]])
    return "".join(letters)


def family(ancestor: str, name: str, chance: random.Random) -> dict[tuple[str, str, str], list[str]]:
    """Sequences by family, genus and species: 8 to 15 % between genera, 4 % to species, 0.7 % within."""
    found = {}
    own = changed(ancestor, 0.2, chance)
    for g in range(GENERA):
        genus = changed(own, 0.08 + 0.02 * (g % 3), chance)
        for s in range(SPECIES):
            species = changed(genus, 0.04, chance)
            found[name, f"{name}-g{g}", f"{name}-g{g} s{s}"] = [changed(species, 0.007, chance) for _ in range(RECORDS)]
    return found


def flipped(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def fasta(path: Path, records: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{letters}\n" for name, letters in records.items()), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A workspace with an uncalibrated reference of simulated species; the queries are next to it.

    ``new.fasta``: two new species-like groups far from all (``far``: three sequences, one of them twice, once as the
    reverse complement; ``lone``: one), and known ones.
    """
    folder = tmp_path_factory.mktemp("discover")
    chance = random.Random(4)
    ancestor = "".join(chance.choices("ACGT", k=LENGTH))
    known = {}
    for number in range(FAMILIES):
        known.update(family(ancestor, NAMES[number], chance))
    lines = ["id\tsequence\tkingdom\tphylum\tclass\torder\tfamily\tgenus\tspecies"]
    for names, sequences in known.items():
        for i, letters in enumerate(sequences):
            lines.append("\t".join([f"{names[2]} {i}", letters, "K", "P", "C", "O", *names]))
    (folder / "reference.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    near = known["<u>F1", "<u>F1-g0", "<u>F1-g0 s0"][0]
    far = changed(near, 0.22, chance)
    lone = changed(known["F2", "F2-g1", "F2-g1 s0"][0], 0.22, chance)
    records = {f"known{i};size={9 + i}": changed(known[names][i % RECORDS], 0.004, chance)
               for i, names in enumerate(list(known)[:KNOWN])}  # fmt: skip
    records |= {
        "=far<b>1</b>;size=50": far,
        "far2;size=4": changed(far, 0.01, chance),
        "far3;size=3": changed(far, 0.01, chance),
        "back;size=6": flipped(far),
        "lone;size=2": lone,
    }
    fasta(folder / "new.fasta", {**records, "short": "ACGT"})
    fasta(folder / "old.fasta", {name: letters for name, letters in records.items() if name.startswith("known")})
    workspace = folder / "w"
    embed = ["embed", folder / "reference.tsv", "--dataset", "all", "--model", "kmer6"]
    for arguments in (embed, ["consolidate", "--no-calibrate"]):
        with pytest.raises(SystemExit) as ended:
            entry.main(["--workspace", str(workspace), *map(str, arguments)])
        assert ended.value.code == 0
    return folder


@pytest.fixture(scope="module")
def calibrated(world, tmp_path_factory) -> Path:
    """A calibrated copy; the original does not change."""
    folder = shutil.copytree(world, tmp_path_factory.mktemp("calibrated") / "world")
    with pytest.raises(SystemExit) as ended:
        entry.main(["--workspace", str(folder / "w"), "reference", "calibrate", "--queries", "1000"])
    assert ended.value.code == 0
    return folder


@pytest.fixture(scope="module")
def out(calibrated, tmp_path_factory) -> Path:
    """The results of ``new.fasta``."""
    folder = tmp_path_factory.mktemp("results") / "out"
    with pytest.raises(SystemExit) as ended:
        entry.main(["--workspace", str(calibrated / "w"), "discover", str(calibrated / "new.fasta"),
                    "--output", str(folder)])  # fmt: skip
    assert ended.value.code == 0
    return folder


def test_not_calibrated(world, tmp_path, capsys):
    code, out, err = call(
        capsys, "--workspace", world / "w", "discover", world / "new.fasta", "--output", tmp_path / "o"
    )
    assert (code, out) == (1, "")
    assert "is not calibrated" in err and "run 'ednabed reference calibrate'" in err
    assert not (tmp_path / "o").exists()


def test_new_sequences_become_candidates(out):
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    found = rows_of(out / "candidates.tsv")
    assert list(found[0]) == list(CANDIDATE_COLUMNS)
    one, two = found
    # The reverse complement is the same sequence.
    assert (one["sequences"], one["records"], one["reads"]) == ("3", "4", "63")
    assert (two["sequences"], two["records"], two["reads"]) == ("1", "1", "2")
    assert one["representative"] == "=far<b>1</b>"
    assert one["nearest_id"].startswith("<u>F1-g") and one["nearest_lineage"].startswith("K;P;C;O;<u>F1;")
    assert two["nearest_lineage"].startswith("K;P;C;O;F2;")
    assert 70 < float(one["identity"]) < 90
    for row in found:
        assert row["novel_rank"] in ("family", "genus", "species")
        assert 0 < float(row["p"]) <= 0.05 and 0 < float(row["q"]) <= 0.05
        assert 0 < float(row["species_p"]) <= 0.05 and 0 < float(row["species_q"]) <= 0.05
        assert row["candidate"] == ("no" if row["novel_rank"] == "species" else "yes")
        # By hand: 4 families of 5 genera of 4 species of 5 sequences.
        families = {"order": 4, "family": 1, "genus": 0.2}[row["parent_rank"]]
        assert row["parent"] == [name for name in row["lineage"].split(";") if name][-1]
        assert [int(row[f"parent_{what}"]) for what in ("genera", "species")] == [5 * families, 20 * families]
        assert int(row["parent_sequences"]) <= 100 * families
    members = rows_of(out / "members.tsv")
    assert list(members[0]) == list(MEMBER_COLUMNS)
    assert {(m["id"], m["candidate"], m["sequence_reads"]) for m in members} == {
        ("=far<b>1</b>", "novel_1", "56"), ("back", "novel_1", "56"), ("far2", "novel_1", "4"),
        ("far3", "novel_1", "3"), ("lone", "novel_2", "2"),
    }  # fmt: skip


def test_names_are_text_on_the_page(out):
    text = (out / "report.html").read_text(encoding="utf-8")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(text)
    assert not {"b", "u"} & set(tags)
    assert "&lt;u&gt;F1" in text
    assert "novel_1: =far&lt;b&gt;1&lt;/b&gt;, 56 reads, representative" in text
    # Two candidates of four sequences, and the named relative of each.
    assert tags.count("circle") == 4 + 2
    assert f"{KNOWN + 6} records, 1 of them rejected" in text
    assert f"{KNOWN + 4}: {KNOWN} assigned, 4 not in the reference, 0 unclassified" in text


def test_a_seed_repeats_itself(calibrated, out, tmp_path, capsys):
    place = tmp_path / "again"
    code, _, _ = call(
        capsys, "--workspace", calibrated / "w", "discover", calibrated / "new.fasta", "--output", place, "--seed", "0",
        "--threads", "1",
    )  # fmt: skip
    assert code == 0
    for name in FILES:
        assert (place / name).read_bytes() == (out / name).read_bytes(), name


def test_output(calibrated, tmp_path, capsys):
    arguments = ("--workspace", calibrated / "w", "discover", calibrated / "new.fasta", "--output", tmp_path / "o")
    code, printed, err = call(capsys, *arguments)
    assert code == 0
    head, one, two = printed.splitlines()
    assert re.split("  +", head) == [
        "id", "candidate", "not in the reference", "within", "taxa in reference", "reads", "sequences", "nearest",
        "identity", "p", "q", "warnings",
    ]  # fmt: skip
    assert one.startswith("novel_1 ") and two.startswith("novel_2 ")
    assert "rejected: 'short'" in err
    assert f"{KNOWN + 5} distinct sequences: {KNOWN} assigned, " in err
    assert "1 are on the opposite strand to the reference\n" in err
    found = rows_of(tmp_path / "o" / "candidates.tsv")
    chosen = [row for row in found if row["candidate"] == "yes"]
    assert f"2 groups not in the reference, {len(chosen)} of them candidate tax" in err and "report.html" in err
    code, printed, _ = call(capsys, *arguments, "--json")
    facts = json.loads(printed)
    assert (facts["records"], facts["rejected"], facts["groups"], facts["tested"]) == (KNOWN + 6, 1, 2, KNOWN + 4)
    assert facts["sequences"] == {"assigned": KNOWN, "not_in_reference": 4}
    assert facts["candidates"] == len(chosen)
    for row, taxon in zip(found, facts["taxa"], strict=True):
        same = ("id", "novel_rank", "parent", "parent_rank", "parent_genera", "parent_species", "parent_sequences",
                "reads", "sequences", "nearest_id")  # fmt: skip
        assert [str(taxon[name]) for name in same] == [row[name] for name in same]
        assert taxon["candidate"] is (row["candidate"] == "yes")
        for name in ("p", "q", "species_p", "species_q"):
            assert f"{taxon[name]:.4g}" == row[name]
        assert ";".join(taxon["lineage"]) == row["lineage"]


def test_nothing_novel(calibrated, tmp_path, capsys, monkeypatch):
    # By default the results are in the workspace.
    place = calibrated / "w" / "discovery"
    code, printed, err = call(capsys, "--workspace", calibrated / "w", "discover", calibrated / "old.fasta")
    assert (code, printed) == (0, "")
    assert "0 groups not in the reference, 0 of them candidate taxa" in err
    assert rows_of(place / "candidates.tsv") == []
    assert (place / "candidates.fasta").read_bytes() == b""
    assert "No sequence was found to be absent from the reference" in (place / "report.html").read_text(
        encoding="utf-8"
    )


def test_counts_give_reads_and_samples(calibrated, tmp_path, capsys):
    counts = tmp_path / "counts.tsv"
    counts.write_text("asv\tlake\tsea\n=far<b>1</b>\t5\t0\nback\t1\t2\nfar2\t0\t7\nunknown\t1\t1\n", encoding="utf-8")
    arguments = ("--workspace", calibrated / "w", "discover", calibrated / "new.fasta", "--output", tmp_path / "o")
    code, _, err = call(capsys, *arguments, "--abundance", counts)
    assert code == 0
    one, two = rows_of(tmp_path / "o" / "candidates.tsv")
    # far3 itself states three reads.
    assert (one["reads"], one["samples"], one["sample_reads"]) == ("18", "2", "lake=6;sea=9")
    assert (two["reads"], two["samples"]) == ("2", "")
    assert f"{KNOWN + 2} records are not in the count table, such as 'known0'" in err
    counts.write_text("asv\tlake\nother\t5\n", encoding="utf-8")
    before = {name: (tmp_path / "o" / name).read_bytes() for name in FILES}
    code, _, err = call(capsys, *arguments, "--abundance", counts)
    assert code == 1
    assert "is in this count table, whose first feature is" in err
    assert {name: (tmp_path / "o" / name).read_bytes() for name in FILES} == before


def test_several_files_are_samples(calibrated, tmp_path, capsys):
    text = (calibrated / "new.fasta").read_text(encoding="utf-8")
    (tmp_path / "lake.fasta").write_text(text, encoding="utf-8")
    (tmp_path / "sea.fasta").write_text(">x;size=7;\n" + text.split("=far<b>1</b>;size=50\n")[1].split("\n")[0] + "\n",
                                        encoding="utf-8")  # fmt: skip
    code, _, _ = call(
        capsys, "--workspace", calibrated / "w", "discover", tmp_path / "lake.fasta", tmp_path / "sea.fasta",
        "--output", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    one, two = rows_of(tmp_path / "o" / "candidates.tsv")
    assert (one["reads"], one["sample_reads"]) == ("70", "lake=63;sea=7")
    assert two["sample_reads"] == "lake=2"


def test_files_of_the_same_name_are_two_samples(calibrated, tmp_path, capsys):
    letters = (calibrated / "new.fasta").read_text(encoding="utf-8").split("=far<b>1</b>;size=50\n")[1].split("\n")[0]
    for place in ("p1", "p2"):
        (tmp_path / place).mkdir()
        fasta(tmp_path / place / "reads.fasta", {f"x;size={len(place) + int(place[1])}": letters})
    code, _, _ = call(
        capsys, "--workspace", calibrated / "w", "discover", tmp_path / "p1" / "reads.fasta",
        tmp_path / "p2" / "reads.fasta", "--output", tmp_path / "o",
    )  # fmt: skip
    assert code == 0
    assert [row["sample_reads"] for row in rows_of(tmp_path / "o" / "candidates.tsv")] == ["p1/reads=3;p2/reads=4"]


def test_a_seed_is_not_negative(tmp_path, capsys):
    path = fasta(tmp_path / "q.fasta", {"q": "ACGT" * 50})
    code, _, err = call(capsys, "--workspace", tmp_path, "discover", path, "--seed", "-1")
    assert code == 2
    assert "-1 is not in the range" in err


def test_other_files_in_the_folder_are_kept(calibrated, tmp_path, capsys):
    arguments = ("--workspace", calibrated / "w", "discover", calibrated / "old.fasta", "--output", tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert call(capsys, *arguments)[0] == 0
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    (tmp_path / "report.html").write_text("mine too", encoding="utf-8")
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "report.html was not written by 'ednabed discover'" in err
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "mine too"


def test_an_input_is_not_overwritten(calibrated, tmp_path, capsys):
    source = fasta(tmp_path / "candidates.fasta", {"novel_1;size=2": "ACGT" * 50})
    before = source.read_bytes()
    code, _, err = call(capsys, "--workspace", calibrated / "w", "discover", source, "--output", tmp_path)
    assert code == 2
    assert "is given twice" in err
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("w/data/reference", "is inside the reference"),
        ("w/data/reference/discovery", "is inside the reference"),
        ("reference.tsv/x", "is a file, expected a folder"),
    ],
)
def test_folders_where_no_result_can_be_written(calibrated, capsys, monkeypatch, place, told):
    monkeypatch.setattr("ednabed.cli.discover.open_from", lambda *_: pytest.fail("began the work"))
    before = sorted(calibrated.rglob("*"))
    where = ("--output", calibrated / place)
    code, out, err = call(capsys, "--workspace", calibrated / "w", "discover", calibrated / "new.fasta", *where)
    assert (code, out) == (2, "")
    assert told in err
    assert sorted(calibrated.rglob("*")) == before
