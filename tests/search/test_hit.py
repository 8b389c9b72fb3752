"""A hit and its columns."""

from __future__ import annotations

from dataclasses import fields

from ednabed.search.align import Alignment, align
from ednabed.search.hit import ALIGNMENT_COLUMNS, COLUMNS, RECORD_COLUMNS, TSV_ALIGNMENT_COLUMNS, TSV_COLUMNS, Hit


def hit(**more) -> Hit:
    return Hit(1, 0.9, 0.1, "a", "lake", "r", 3, "S", None, None, 2, {"lake": 2}, 30, None, "x.npy", **more)


def test_columns_that_were_not_requested_are_not_written():
    assert tuple(hit().to_dict()) == COLUMNS
    full = hit(columns={"depth": 1.0}, sequence="ACGT", requested=("columns", "alignment", "sequence"))
    assert tuple(full.to_dict()) == (*COLUMNS, "columns", "alignment", "sequence")
    assert full.plain() == hit(requested=("alignment",))


def test_the_alignment_is_written_as_columns():
    (found,) = align("ACGTTGCATGCATGCATTGACC", ["ACGTTGCATGCATGCATTGACC"])
    for one in (hit(alignment=found, requested=("alignment",)), hit(requested=("alignment",))):
        flat = one.flat(aligned=True)
        assert tuple(flat) == (*COLUMNS, *ALIGNMENT_COLUMNS)
        assert all(flat[name] == one.value(name) for name in flat)
        assert tuple(one.flat(aligned=False)) == COLUMNS
    assert set(ALIGNMENT_COLUMNS.values()) == {field.name for field in fields(Alignment)}
    assert (flat["identity"], hit(alignment=found).value("alignment_length")) == (None, 22)


def test_the_columns_of_the_formats_are_columns_of_hits():
    assert {*TSV_COLUMNS, *RECORD_COLUMNS} <= set(COLUMNS)
    assert set(TSV_ALIGNMENT_COLUMNS) <= set(ALIGNMENT_COLUMNS)


def test_a_record_without_an_abundance_is_one_read():
    assert hit().reads == 1
