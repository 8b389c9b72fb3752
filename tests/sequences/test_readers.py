import csv
import gzip
import io
import tempfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xopen import xopen

from ednabed.errors import InputError, UsageError
from ednabed.sequences import RAW_SCHEMA, fasta, normalise, open_records, read_labels
from ednabed.sequences.opening import OpenedInput

FORMATS = ("fasta", "fastq", "tsv", "csv", "parquet")
ENDINGS = ("", ".gz", ".zst")


def write(path, data):
    """Write bytes, compressed according to the extension."""
    with xopen(path, "wb", threads=0) as stream:
        stream.write(data)
    return path


def encode(kind, rows, end="\n"):
    """Write rows of (id, sequence, abundance, note) in one of the formats."""
    if kind == "fasta":
        text = "".join(f">{i};size={a} {n}{end}{s[:7]}{end}{s[7:]}{end}" for i, s, a, n in rows)
    elif kind == "fastq":
        text = "".join(f"@{i};size={a} {n}{end}{s}{end}+{end}{'I' * len(s)}{end}" for i, s, a, n in rows)
    elif kind == "parquet":
        names = ("Sequence ID", "nucleotides", "reads", "note")
        columns = list(zip(*rows, strict=True)) or [()] * 4
        stream = io.BytesIO()
        pq.write_table(pa.table(dict(zip(names, map(pa.array, columns), strict=True))), stream, row_group_size=3)
        return stream.getvalue()
    else:
        stream = io.StringIO()
        dialect = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if kind == "tsv" else {}
        table = csv.writer(stream, lineterminator=end, **dialect)
        table.writerow(["Sequence ID", "nucleotides", "reads", "note"])
        table.writerows(rows)
        text = stream.getvalue()
    return text.encode()


def read(path, **options):
    with open_records(path, **options) as records:
        return list(records)


def rows_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


ids = st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=';=|#,"@>_'), min_size=1, max_size=8)
notes = st.from_regex(r"[a-z]{1,5}( [a-z,é]{1,5}){0,2}", fullmatch=True)
records = st.tuples(ids, st.text("ACGTacgtNRU-", min_size=1, max_size=20), st.integers(0, 10**12), notes)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(ENDINGS),
    st.lists(records, min_size=1, max_size=12),
    st.sampled_from([1, 2, 3, 7]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_round_trip(kind, ending, rows, batch_size, end, from_stdin):
    data = encode(kind, rows, end)
    with tempfile.TemporaryDirectory() as folder:
        # The name need not match the format.
        path = write(Path(folder) / f"data{ending}", data)
        if from_stdin:
            batches = read("-", batch_size=batch_size, stdin=io.BytesIO(path.read_bytes()))
        else:
            batches = read(path, batch_size=batch_size)
    found = rows_of(batches)
    note = "description" if kind in ("fasta", "fastq") else "note"
    assert [(r["id"], r["sequence"].decode(), r["abundance"], r[note]) for r in found] == rows
    assert [r["record"] for r in found] == list(range(1, len(rows) + 1))
    assert {r["source"] for r in found} == {"stdin" if from_stdin else f"data{ending}"}
    assert all(0 < batch.num_rows <= batch_size for batch in batches)
    for batch in batches:
        batch.validate(full=True)
        assert pa.schema(list(batch.schema)[: len(RAW_SCHEMA)]).equals(RAW_SCHEMA)


@settings(deadline=None)
@given(
    st.lists(st.tuples(ids, st.lists(st.text("ACGT ", max_size=9), max_size=4)), min_size=1, max_size=10),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\n", "\n\n", " \n"]),
    st.sampled_from(["", "\ufeff", "# a remark, of somebody\n", "\n\n"]),
    st.booleans(),
)
def test_fasta_whatever_the_blocks(rows, block, end, tail, before, last_end):
    text = end.join(line for name, lines in rows for line in (f">{name}", *lines))
    text = before.replace("\n", end) + text + (end + tail.replace("\n", end) if last_end else "")
    batches = list(fasta.read_fasta(OpenedInput("-", io.BytesIO(text.encode())), 4, block))
    found = [(row["id"], row["sequence"].decode().replace(" ", "")) for row in rows_of(batches)]
    assert found == [(name, "".join(lines).replace(" ", "")) for name, lines in rows]
    assert [row["record"] for row in rows_of(batches)] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("kind", FORMATS)
def test_wrong_extension_does_not_matter(kind, tmp_path):
    path = tmp_path / "wrong.csv.gz"
    path.write_bytes(encode(kind, [("a", "ACGT", 1, "x")]))
    with open_records(path) as opened:
        assert (opened.source, opened.compression) == ("wrong.csv.gz", None)
        assert opened.format == {"tsv": "table", "csv": "table"}.get(kind, kind)
        assert rows_of(opened)[0]["id"] == "a"
        assert opened.count == 1


def test_what_fasta_allows(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_bytes(
        b"\xef\xbb\xbf# made by hand\r\n\r\n>a first one \r\nAC GT\r\n\r\nacgu\r\n> b\r\n>\r\nAC\r\n"
        b">Mu\xc3\xb1oz\nA\n>Mu\xf1oz J\nC\n\n\n"
    )
    assert [(r["id"], r["sequence"], r["description"]) for r in rows_of(read(path))] == [
        ("a", b"AC GTacgu", "first one"),
        ("b", b"", None),
        ("", b"AC", None),
        ("Muñoz", b"A", None),
        ("Muñoz", b"C", "J"),
    ]


def test_what_fastq_allows(tmp_path):
    path = tmp_path / "x.fq"
    for tail in (b"", b"\n", b"\n\n\r\n"):
        path.write_bytes(b"\xef\xbb\xbf@Mu\xc3\xb1oz;size=2 \xe9t\xe9\nAC\n+\nII\n@b\r\nACG\r\n+b\r\n+++" + tail)
        assert [(r["id"], r["sequence"], r["abundance"], r["description"]) for r in rows_of(read(path))] == [
            ("Mu\xc3\xb1oz", b"AC", 2, "été"),
            ("b", b"ACG", None, None),
        ]
    for text in (b"@a\n\n+\n\n", b"@a\nAC\n+\nII\n@a\n\n+\n\n", b"@a\n\n+\n\n\n\n"):
        path.write_bytes(text)
        assert rows_of(read(path))[-1]["sequence"] == b""


def test_non_ascii_characters_are_kept_or_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(">a\nACé\n".encode())
    assert rows_of(read(path))[0]["sequence"] == "ACé".encode()
    path.write_bytes("@a\nACé\n+\nIII\n".encode())
    with pytest.raises(InputError, match=r"record 1 \(line 4\): length of sequence and qualities differ"):
        read(path)


def test_multi_member_gzip(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b">a\nAC\n>b\nA") + gzip.compress(b"C\n>c\nAC\n"))
    assert [(r["id"], r["sequence"]) for r in rows_of(read(path))] == [("a", b"AC"), ("b", b"AC"), ("c", b"AC")]


def test_given_stream_stays_open():
    stream = io.BytesIO(gzip.compress(b">a\nACGT\n"))
    assert len(read("-", stdin=stream)) == 1
    assert not stream.closed


def test_file_can_be_removed_after_opening(tmp_path):
    for kind in FORMATS:
        path = write(tmp_path / f"x.{kind}.gz", encode(kind, [("a", "ACGT", 1, "x")] * 5))
        records = open_records(path, batch_size=2)
        next(records)
        records.close()
        with pytest.raises(StopIteration):
            next(records)
        path.unlink()


def test_closed_before_it_was_read(tmp_path):
    path = tmp_path / "x.fa"
    path.write_bytes(b">a\nACGT\n")
    records = open_records(path)
    records.close()
    assert list(records) == []


def test_batch_size_has_to_be_positive(tmp_path):
    with pytest.raises(UsageError, match="`batch_size` is 0"):
        open_records(tmp_path / "x", batch_size=0)


def test_long_sequences_make_smaller_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("ednabed.sequences.readers.pieces.__defaults__", (100,))
    path = tmp_path / "x.fa"
    lengths = [30, 60, 20, 500, 10, 10, 90]
    path.write_text("".join(f">{i}\n{'A' * n}\n" for i, n in enumerate(lengths)))
    tsv = tmp_path / "x.tsv"
    tsv.write_text("id\tseq\n" + "".join(f"{i}\t{'A' * n}\n" for i, n in enumerate(lengths)))
    for file in (path, tsv):
        sizes = [[len(s) for s in batch["sequence"].to_pylist()] for batch in read(file)]
        assert sizes == [[30, 60], [20], [500], [10, 10], [90]]


def big(kind, count):
    """Generate a file of one of the formats as a stream that is never completely in memory."""
    bases = "ACGT" * 50

    def lines():
        if kind == "tsv":
            yield "id\tsequence\tsite\n"
        for number in range(count):
            yield {
                "fasta": f">r{number} x\n{bases}\n",
                "fastq": f"@r{number} x\n{bases}\n+\n{bases}\n",
                "tsv": f"r{number}\t{bases}\tsomewhere\n",
            }[kind]

    class Stream(io.RawIOBase):
        def __init__(self):
            self.source = lines()
            self.held = b""

        def readable(self):
            return True

        def readinto(self, buffer):
            while len(self.held) < len(buffer):
                line = next(self.source, None)
                if line is None:
                    break
                self.held += line.encode()
            part, self.held = self.held[: len(buffer)], self.held[len(buffer) :]
            buffer[: len(part)] = part
            return len(part)

    return io.BufferedReader(Stream(), 8192)


@pytest.mark.parametrize("kind", ["fasta", "fastq", "tsv"])
def test_memory_does_not_grow_with_the_file(kind, monkeypatch):
    monkeypatch.setattr("ednabed.sequences.delimited.BLOCK_BYTES", 200_000)
    monkeypatch.setattr("ednabed.sequences.fasta.read_fasta.__defaults__", (200_000,))
    peaks = []
    for count in (4_000, 32_000):
        seen = 0
        arrow = 0
        stream = big(kind, count)
        tracemalloc.start()
        with open_records("-", stdin=stream, batch_size=500) as records:
            for batch in records:
                accepted, _ = normalise(batch)
                seen += accepted.num_rows
                del batch, accepted
                arrow = max(arrow, pa.total_allocated_bytes())
        peaks.append(tracemalloc.get_traced_memory()[1] + arrow)
        tracemalloc.stop()
        assert seen == count
    assert peaks[1] < peaks[0] * 1.5


def test_labels_override_and_are_counted(tmp_path):
    path = tmp_path / "x.fa"
    path.write_text(">a k__Fungi\nAC\n>b k__Fungi\nAC\n>c\nAC\n>d\nAC\n")
    table = tmp_path / "labels.tsv"
    table.write_text(
        "Feature ID\tTaxon\tConfidence\nb\tk__Animalia; p__Chordata\t0.9\nc\tPlantae\t1\nd\tUnassigned\t1\n"
    )
    labels = read_labels(table)
    with open_records(path, labels=labels, batch_size=3) as opened:
        lineages = [row["lineage"] for row in rows_of(opened)]
        assert (opened.labelled, opened.count) == (2, 4)
    assert lineages == ["Fungi;;;;;;", "Animalia;Chordata;;;;;", "Plantae;;;;;;", None]
    assert labels.matched == 2
