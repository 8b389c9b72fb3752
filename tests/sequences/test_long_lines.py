"""One line as long as the file: memory stays a small multiple of its size."""

from __future__ import annotations

import tracemalloc

import pytest

from ednabed.errors import InputError
from ednabed.sequences import open_records
from ednabed.sequences.normalisation import normalise

SIZE = 8_000_000
BASES = b"ACGT" * (SIZE // 4)
FILES = {
    "header.fa": b">r1 " + b"x" * SIZE + b"\nACGT\n",
    "header.fq": b"@r1 " + b"x" * SIZE + b"\nACGT\n+\nIIII\n",
    "first.fa": b">r1\n" + BASES + b"\n",
    "middle.fa": b">r0\nACGT\n>r1\n" + BASES + b"\n>r2\nACGT\n",
    "wrapped.fa": b">r1\n" + b"\n".join(BASES[i : i + 80] for i in range(0, SIZE, 80)) + b"\n",
    "sequence.fq": b"@r1\n" + BASES[: SIZE // 2] + b"\n+\n" + b"I" * (SIZE // 2) + b"\n",
    "sequence.tsv": b"id\tsequence\nr1\t" + BASES + b"\n",
}


@pytest.mark.parametrize("name", FILES)
def test_memory_is_a_few_times_the_length_of_a_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(FILES[name])
    bases = 0
    # This counts numpy and Python; Arrow's buffers are extra, once or twice the text.
    tracemalloc.start()
    with open_records(path) as records:
        for batch in records:
            bases += sum(length.as_py() for length in normalise(batch, min_length=1)[0].column("length"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bases == {"header.fa": 4, "header.fq": 4, "middle.fa": SIZE + 8, "sequence.fq": SIZE // 2}.get(name, SIZE)
    assert peak < 4.5 * SIZE + 12_000_000, f"{peak / SIZE:.1f} times"


@pytest.mark.parametrize("line", [b"id\tsequence\t" + b"x" * SIZE, b"x" * SIZE])
def test_an_invalid_header_line_is_refused_within_bounds(tmp_path, line):
    path = tmp_path / "x.tsv"
    path.write_bytes(line + b"\nr1\tACGT\tx\n")
    tracemalloc.start()
    with pytest.raises(
        InputError, match=r"x\.tsv: (column 3 of the header line has a name of 8,000,000|begins)"
    ) as told:
        open_records(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(told.value)) < 500 and peak < 6 * SIZE + 12_000_000, f"{peak / SIZE:.1f} times"


def test_a_header_line_of_very_many_columns_is_refused_within_bounds(tmp_path):
    path = tmp_path / "x.tsv"
    line = b"id\tsequence\t" + b"\t".join(b"column_%d" % number for number in range(60_000))
    path.write_bytes(line + b"\nr1\tACGT\n")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"x\.tsv: its header line has 60,002 columns, expected at most 50,000"):
        list(open_records(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Each name is a Python object in several lists.
    assert peak < 80 * len(line), f"{peak / len(line):.1f} times"
