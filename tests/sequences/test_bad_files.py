import gzip
import io
import re
import zipfile
from pathlib import Path

import pytest
from xopen import xopen

from ednabed.errors import InputError
from ednabed.sequences import open_records

GOOD = b"".join(b">record_%d\n%s\n" % (i, bytes(b"ACGT"[(i * 7 + j * j) % 4] for j in range(80))) for i in range(500))


GZIP = gzip.compress(GOOD)


def fails(path, *parts):
    """Read the whole file; the one sentence must name the file and contain the parts."""
    with pytest.raises(InputError) as caught, open_records(path) as records:
        for _ in records:
            pass
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    assert "\n" not in message
    for part in parts:
        assert re.search(part, message), message


def zst(data):
    stream = io.BytesIO()
    with xopen(stream, "wb", threads=0, format="zst") as out:
        out.write(data)
    return stream.getvalue()


def zipped(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("x.fa", b"", ["is empty; give a file with at least one sequence"]),
        ("x.fa", b"\n \n", ["contains only blank lines; give"]),
        ("x.fa.gz", gzip.compress(b""), ["is empty"]),
        ("x.fa.gz", gzip.compress(GOOD)[:-500], ["gzip data end too early", "copy or download it again"]),
        ("x.fa.gz", GZIP[:200] + b"\xff" * 50 + GZIP[250:], ["gzip data are damaged|gzip data end", "again"]),
        ("x.fa.gz", b"\x1f\x8bnothing of the sort", ["gzip data are damaged", "copy or download the file again"]),
        ("x.fa.zst", zst(GOOD)[:-100], ["zstd data end too early", "copy or download it again"]),
        ("x.fa.zst", zst(GOOD)[:20] + b"\xff" * 30 + zst(GOOD)[50:], ["zstd data are damaged", "again"]),
        ("x.fa.gz.gz", gzip.compress(gzip.compress(GOOD)), ["is compressed twice; decompress it once"]),
        ("x.fa", b">a\nAC\0GT\n", ["is a binary file or UTF-16 text", "give FASTA"]),
        ("x.fa", b">a\n" + b"A" * 400_000 + b"\0\n", ["is a binary file", "give FASTA"]),
        ("x.tsv", b"id\tseq\n" + b"a\tACGT\n" * 60_000 + b"\0\t\n", ["is a binary file", "give FASTA"]),
        ("x.bin", bytes(range(1, 256)), ["is a binary file", "give FASTA"]),
        ("x.tsv", "id\tsequence\na\tACGT\n".encode("utf-16"), ["is UTF-16 text; save it as UTF-8"]),
        ("x.tsv", "id\tsequence\na\tACGT\n".encode("utf-16-be"), ["binary file or UTF-16"]),
        ("x.qza", zipped("0a1b/VERSION"), ["export QIIME 2 artifacts first, with 'qiime tools export --input-path"]),
        ("x.zip", zipped("0a1b/VERSION"), ["qiime tools export"]),
        ("x.xlsx", zipped("[Content_Types].xml"), ["save the sheet as 'CSV UTF-8'"]),
        ("x.zip", zipped("seqs.fasta"), ["is a zip archive; unpack it first"]),
        ("x.biom", b"\x89HDF\r\n\x1a\n", ["such as a BIOM count table; give its sequences as input"]),
        ("x.biom", b'{"id": null}', ["is JSON, such as a BIOM", "give its sequences as input"]),
        ("x.sam", b"@HD\tVN:1.6\n", ["is SAM; export it first with 'samtools fasta'"]),
        ("x.bam", gzip.compress(b"BAM\x01\0\0"), ["is BAM; export it first with 'samtools fasta'"]),
        ("x.gb", b"LOCUS       AB1\n", ["is GenBank; export it first as FASTA"]),
        ("x.html", b"<!DOCTYPE html>", ["failed download; download the sequences again"]),
        ("x.tar.gz", gzip.compress(b"x" * 257 + b"ustar" + b"\0" * 300), ["is a tar archive; unpack it first"]),
        ("x.fasta", b"some words\n>a\nACGT\n", ["begins with 'some words'", "put a line '>name' before each sequence"]),
        ("x.txt", b"ACGTACGT\nACGT\n", ["begins with 'ACGTACGT'", "put a line '>name' before"]),
        ("x.txt", b"a letter\n", ["neither a sequence record nor a header line; give FASTA"]),
        ("x.fq", b"@a\nACGT\n+\nIII\n", [r"record 1 \(line 4\): length of sequence and qualities differ", "again"]),
        ("x.fq", b"@a\nACGT\n+\nIIII\n@b\nAC\n+\nI\n", [r"record 2 \(line 8\): length", "create or download"]),
        ("x.fq", b"@a\nACGT\n+\nIIII\n@b\nAC\n", [r"record 2 .*: the file ends in the middle of it; it was truncated"]),
        ("x.fq", b"@a\nAC\nGT\n+\nIIII\n", [r"record 1 \(line 3\)", "four lines; join wrapped lines"]),
        ("x.fq", b"@a\nACGT\n+\nIIII\nb\nAC\n+\nII\n", [r"record 2 \(line 5\)", "correct that record"]),
        ("x.fq", b"@a\nACGT\n+b\nIIII\n", [r"record 1 \(line 3\)", "correct that record"]),
    ],
)  # fmt: skip
def test_one_sentence_that_names_file_and_next_step(name, data, parts, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    fails(path, *parts)


def test_missing_file(tmp_path):
    (tmp_path / "samples_2024.fasta.gz").write_bytes(b"")
    fails(tmp_path / "sample_2024.fasta.gz", "no such file; did you mean samples_2024.fasta.gz?")
    fails(tmp_path / "samples_2024.fasta", "no such file; did you mean samples_2024.fasta.gz?")
    fails(tmp_path / "zzz", "no such file; .* has no file with a similar name, check the path")
    fails(tmp_path / "no" / "zzz", "no such file, nor a folder .*no; check the path")


def test_folder(tmp_path):
    fails(tmp_path, "is a folder; give the sequence files in it")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (PermissionError(13, "Permission denied"), "permission denied; make the file readable"),
        (OSError(5, "Input/output error"), "cannot be opened .Input/output error."),
    ],
)
def test_file_that_cannot_be_opened(error, part, tmp_path, monkeypatch):
    path = tmp_path / "x.fa"
    path.write_bytes(GOOD)

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    fails(path, part)


def test_disk_that_fails_while_reading():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 100:
                raise OSError(5, "Input/output error")
            return super().read(min(size, 200))

    with pytest.raises(InputError, match=r"standard input: cannot be read .Input/output error.; check the disk"):
        list(open_records("-", stdin=Failing(GOOD)))


def test_standard_input_is_named():
    with pytest.raises(InputError, match="standard input: is empty"):
        open_records("-", stdin=io.BytesIO(b""))


def test_late_damage_is_found_after_the_good_batches(tmp_path):
    path = tmp_path / "x.fa.gz"
    path.write_bytes(gzip.compress(GOOD * 20)[:-9])
    seen = 0
    with pytest.raises(InputError, match="end too early"), open_records(path, batch_size=100) as records:
        for batch in records:
            seen += batch.num_rows
    assert seen < 10_000
