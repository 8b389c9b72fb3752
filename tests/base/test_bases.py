"""Codes of bases, compared with their definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ednabed.base.bases import BASES, OTHER, decode, encode, reverse_complement_codes
from taxonomy_support import reverse_complement


@given(st.text("ACGTN", max_size=60))
def test_codes_are_the_bases(text):
    codes = encode(text.encode())
    assert codes.tolist() == [BASES.index(base) for base in text]
    assert decode(codes) == text.encode()
    assert decode(reverse_complement_codes(codes)).decode() == reverse_complement(text)


def test_everything_else_has_the_code_of_n():
    assert encode(b"NacgtU-\n\xff").tolist() == [OTHER] * 9
