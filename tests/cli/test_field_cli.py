"""References in the formats of the field, from the file to the names of queries."""

from __future__ import annotations

import csv
import re

import pytest

from support import SHARED, ednabed

FIELD = SHARED / "field"
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason="the shared folder with files of the field is not here")


def classified(tmp_path, reference: str, queries: str) -> list[dict[str, str]]:
    for step in (
        ("embed", FIELD / reference, "--output", "labelled/one"),
        ("consolidate", "--runs-root", "labelled", "--output", "data/one", "--no-calibrate"),
        ("classify", FIELD / queries, "--reference", "data/one", "--output", "names.tsv"),
    ):
        done = ednabed(*map(str, step), cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
    with (tmp_path / "names.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_two_species_called_sp_1_are_a_tie_of_two_genera(tmp_path):
    (row,) = classified(tmp_path, "63_sp1.csv", "63_q.fasta")
    assert row["tied_species"].split("|") == ["Chironomus sp. 1", "Tanytarsus sp. 1"]
    assert (row["rank"], row["family"], row["genus"], row["species"]) == ("family", "Chironomidae", "", "")


def test_no_query_is_called_by_a_placeholder(tmp_path):
    rows = classified(tmp_path, "43_unite_placeholders.fasta", "43_q_copy.fasta")
    names = {name for row in rows for name in (*row["lineage"].split(";"), *row["tied_species"].split("|")) if name}
    assert len(rows) > 20 and len(names) > 20
    assert not [
        n for n in names if re.search(r"(?i)incertae|uncultured|unclassified|unidentified|unknown|[ _]sp\.?$", n)
    ]
    # Exact copies of records whose species is a placeholder: their genus is there.
    right = [row for row in rows if f"_copy_{row['nearest_lineage'].split(';')[5]}_" in row["id"]]
    assert len(right) > 0.9 * len(rows)
