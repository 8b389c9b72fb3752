"""Where other libraries read and write files: whatever is wrong with a file, the outcome is right or one of our errors.

Each seam has a generator of damaged files; ``make test-slow`` reads 20,000 of each, the quick tests a small sample of
the same.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from xopen import xopen

from damage_support import damaged, strange
from ednabed.base.atomic import write_atomic
from ednabed.base.library_writes import library_writes
from ednabed.base.sealed import json_sha256, to_json
from ednabed.cli.main import main
from ednabed.errors import EdnabedError, InputError, StoreError
from ednabed.export.names import names_by_id
from ednabed.maps.sequence_map import SequenceMap
from ednabed.models.barcode.config import BarcodeConfig
from ednabed.models.barcode.files import read_arrays, write_arrays
from ednabed.models.fields import read_json_object
from ednabed.reference import build_names, layout
from ednabed.reference import index as indexes
from ednabed.reference.index import open_index
from ednabed.reference.partfile import PartFile, Shelf
from ednabed.reference.parts import keys_of
from ednabed.sequences import open_records
from ednabed.sequences.counts import read_count_table
from ednabed.sequences.lineage import RANKS
from ednabed.store.assignments import COLUMNS, SCHEMA, ClassifiedBy, keep, list_kept
from ednabed.store.manifest import MANIFEST
from ednabed.store.runs import RECORDS, Run
from ednabed.store.vectors import VectorFile
from ednabed.store.versions import Versions
from ednabed.tables.status import survey
from ednabed.taxonomy.calibration import ALL_LENGTHS, Calibration, Group, Model
from ednabed.taxonomy.calibration_old import OldGroup
from ednabed.taxonomy.evidence import FEATURES, QUERY_FEATURES, QUERY_SIZE, RANK_SIZE, Evidence
from ednabed.taxonomy.logistic import constant
from ednabed.training import loop
from reference_support import DIMENSION, SPEC, add_run, consolidate, legacy, letters_of, opened, vector_of, write_run
from table_support import simple

Seam = tuple[Callable[[random.Random], None], Callable[[], object]]


def text_of(path: Path) -> None:
    """Read a file of sequences to its end, and use all that was read."""
    with open_records(path) as records:
        for batch in records:
            batch.to_pylist()


def bytes_seam(path: Path, data: bytes, read: Callable[[], object]) -> Seam:
    return lambda rng: void(path.write_bytes(damaged(data, rng))), read


def void(_: object) -> None:
    return None


def parquet_bytes(not_utf8: bool = False) -> bytes:
    count = 60
    names = pa.array([f"r{i}" for i in range(count)])
    if not_utf8:
        raw = [b"\xc3(" if i == 7 else b"r%d" % i for i in range(count)]
        names = pa.Array.from_buffers(pa.string(), count, pa.array(raw, pa.binary()).buffers())
    table = pa.table({
        "id": names, "sequence": [letters_of(i) for i in range(count)], "sample": ["S1", "S2"] * (count // 2),
        "abundance": list(range(count)), "lineage": pa.array(["Animalia;;;;;;"] * count).dictionary_encode(),
    })  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=16)
    return out.getvalue()


def parquet_input(folder: Path) -> Seam:
    path = folder / "x.parquet"
    return bytes_seam(path, parquet_bytes(), lambda: text_of(path))


def parquet_part(folder: Path) -> Seam:
    path = folder / "records-00000.parquet"

    def read() -> None:
        part = PartFile(path, 60, Shelf(2, 10**6), "make it again")
        part.take(np.array([3, 59, 17], np.int64), ["id", "abundance"]).to_pylist()
        part.read(["sequence", "lineage"]).to_pylist()
        _ = part.schema.names

    return bytes_seam(path, parquet_bytes(), read)


def parquet_run(folder: Path) -> Seam:
    run = write_run(folder / "run", range(20))
    path = run.folder / RECORDS

    def read() -> None:
        run.load_records().to_pylist()
        run.load_records(["id", "digest"])
        for batch in run.record_batches():
            batch.to_pylist()

    return bytes_seam(path, path.read_bytes(), read)


def run_json(folder: Path) -> Seam:
    run = write_run(folder / "run", range(5))
    path = run.folder / MANIFEST
    body = json.loads(path.read_text(encoding="utf-8"))
    body["inputs"] = [{"name": "a.fa", "sha256": "0" * 64, "bytes": 5, "read": 5, "accepted": 5, "rejected": 0}]
    body["compute"] = [{"device": "cpu", "precision": "fp32", "sequences": 5}]
    body["software"] = {"ednabed": "0.1.0"}

    def read() -> None:
        found = Run.open(run.folder)
        found.verify()
        found.is_complete()
        _ = found.identity, found.manifest and found.manifest.to_text()

    return lambda rng: write_sealed(path, body, "manifest_sha256", rng), read


def reference_json(folder: Path) -> Seam:
    add_run(folder, "lake", "a", range(6))
    consolidate(folder)
    reference = folder / "data" / "reference"
    path = reference / "consolidated_metadata.json"
    body = json.loads(path.read_text(encoding="utf-8"))

    def read() -> None:
        manifest = layout.open_manifest(reference)
        _ = manifest.to_text(), [part.label for part in manifest.runs]
        opened(folder)

    return lambda rng: write_sealed(path, body, "metadata_sha256", rng), read


def names_json(folder: Path) -> Seam:
    path = folder / build_names.NAMES
    body = {"schema": build_names.NAMES_SCHEMA, "names": {"first": "2024-01-01_00-00-00"}}
    return lambda rng: write_json(path, body, rng), lambda: build_names.read_names(folder)


def versions_json(folder: Path) -> Seam:
    path = folder / "data" / "versions.json"
    path.parent.mkdir()
    version = {"fingerprint": SPEC.fingerprint, "spec": SPEC.to_dict(), "description": "d", "created": "2024"}
    tag = {"version": "v1", "run": "a/b", "assumed": True, "tagged": "2024"}
    body = {"schema": "ednabed.versions/1", "versions": {"v1": version}, "tags": {"0" * 64: tag}}
    return lambda rng: write_json(path, body, rng), lambda: Versions.read(folder).to_text()


def model_json(folder: Path) -> Seam:
    path = folder / "config.json"
    return lambda rng: write_json(path, {"a": [1, {"b": 2.5}], "c": "x"}, rng), lambda: read_json_object(
        path, "fetch it"
    )


def calibration_json(folder: Path) -> Seam:
    models = {ALL_LENGTHS: Model(constant([0.5] * 6, QUERY_SIZE, 9), {"genus": constant([0.1, 0.9], RANK_SIZE, 9)})}
    group = Group(
        models, [0.2] * 6, [0.2] * 6, {"genus": [[[-1.5, 2.0]] * 6] * 3},
        {"genus": [(0.1, 0.5, 0.0, [0.5, None] * 50)]}, [(25, 0.3), (150, 0.4)], {"record": 3},
    )  # fmt: skip
    old = OldGroup({}, {"genus": [[0.1], [0.2], []]}, [(25, 0.3)], {"record": 3})
    kept = Calibration("b", "2024", 1, 0.5, 9, [0.0], [9, 9, 9], {"": group}, {"": group})
    path = kept.write(folder)
    new = json.loads(path.read_text(encoding="utf-8"))
    first = {**new, "schema": 1, "groups": {"": asdict(old)}, "vector_groups": {}, "features": [*FEATURES]}
    del first["situations"]
    lengths, none = np.array([100, 300, 700]), np.full((3, len(RANKS)), -1, np.int64)
    evidence = Evidence(
        np.zeros(3, np.int64), np.full(3, 0.2), none + 1, np.zeros((3, len(RANKS), len(FEATURES))),
        np.zeros((3, len(QUERY_FEATURES))), np.zeros(3, np.int64), [()] * 3,
    )  # fmt: skip

    def read() -> None:
        found = Calibration.read(folder, "b")
        assert found is not None
        for one in found.groups.values():
            outlook = one.outlook(evidence, lengths)
            one.limits(lengths)
            if isinstance(one, Group):
                one.confidences(outlook, np.array(one.shares))
                one.p_values(outlook, np.array(one.shares))
                one.cutoff("genus", 0.6, np.array(one.shares))

    def write(rng: random.Random) -> None:
        write_sealed(path, rng.choice((new, new, first)), "calibration_sha256", rng)

    return write, read


def kept_parquet(folder: Path) -> Seam:
    run = write_run(folder / "run", range(6))
    digests = run.load_records(["digest"]).column("digest")
    columns = [digests if field.name == "digest" else pa.array(["assigned"] * 6) if field.name == "status"
               else pa.nulls(6, field.type) for field in COLUMNS]  # fmt: skip
    table = pa.table(columns, schema=COLUMNS)
    shares = {"": {"source": "default", "known": 0.5, "queries": 6, "lacking": {"genus": 0.1}}}
    kept = keep(
        run,
        table,
        ClassifiedBy(
            build="b", reference="r", model="m", fingerprint="f", calibrated=None, criteria={"a": 1}, shares=shares
        ),
    )
    facts = {"schema": SCHEMA, **asdict(kept.facts)}
    data = kept.path.read_bytes()
    bad = table.set_column(0, COLUMNS.field("digest"), pa.nulls(6, pa.string()))

    def write(rng: random.Random) -> None:
        for path in kept.path.parent.glob("b.*"):
            path.unlink()
        content = damaged(data, rng)
        if rng.random() < 0.5:
            out = io.BytesIO()
            text = nested(rng) if rng.random() < 0.1 else json.dumps(strange(facts, rng))
            rows = rng.choice((table, table, bad, table.slice(0, 2)))
            pq.write_table(rows.replace_schema_metadata({"ednabed.assignments": text}), out)
            content = out.getvalue()
        # Under its right checksum, so that the content is what is looked at.
        (kept.path.parent / f"b.{hashlib.sha256(content).hexdigest()[:16]}.parquet").write_bytes(content)

    def read() -> None:
        for one in list_kept(run.folder, run.identity):
            one.read().to_pylist()
            keys_of(one.read(["digest"]).column("digest").to_pylist())

    return write, read


def map_parquet(folder: Path) -> Seam:
    path = folder / "map.parquet"
    keys = np.arange(1, 21, dtype=np.uint64)
    own = SequenceMap(
        keys, np.zeros((20, 2), np.float32), np.ones(20, bool), np.zeros(20, np.int32), "PCA", 1, 50, "f", "m", "2024",
        "all", {"numpy": "2"},
    )  # fmt: skip
    own.write(path)
    data = path.read_bytes()
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"ednabed.map"])
    del facts["map_sha256"]

    def write(rng: random.Random) -> None:
        if rng.random() < 0.5:
            path.write_bytes(damaged(data, rng))
            return
        changed = strange(facts, rng)
        text = json.dumps({**changed, "map_sha256": json_sha256(changed)})
        pq.write_table(
            table.replace_schema_metadata({"ednabed.map": nested(rng) if rng.random() < 0.1 else text}), path
        )

    def read() -> None:
        found = SequenceMap.read(path)
        _ = found.landmarks, found.outgrown

    return write, read


def delimited_text(folder: Path) -> Seam:
    tsv = "id\tsequence\tsample\tabundance\n" + "".join(f"r{i}\t{letters_of(i)}\tS\u00e9\t{i}\n" for i in range(20))
    return any_of(folder / "x.tsv", [tsv.encode(), tsv.encode("latin-1"), tsv.replace("\t", ",").encode(),
                                     re.sub("[^\t\n]+", '"\\g<0>"', tsv).encode()], text_of)  # fmt: skip


def fasta_and_fastq(folder: Path) -> Seam:
    fasta = "".join(f'>r{i} count=3; {{"count":2,"merged_sample":{{"a":2}}}}\n{letters_of(i)}\n' for i in range(9))
    fastq = "".join(f"@r{i};size=3\n{letters_of(i)}\n+\n{'I' * len(letters_of(i))}\n" for i in range(9))
    return any_of(folder / "x.fa", [fasta.encode(), fastq.encode()], text_of)


def compressed_streams(folder: Path) -> Seam:
    plain = "".join(f">r{i}\n{letters_of(i)}\n" for i in range(200)).encode()
    packed = io.BytesIO()
    with xopen(packed, "wb", threads=0, format="zst") as out:
        out.write(plain)
    return any_of(folder / "x.gz", [gzip.compress(plain), gzip.compress(plain) * 2, packed.getvalue()], text_of)


def zip_archives(folder: Path) -> Seam:
    fasta = "".join(f">r{i}\n{letters_of(i)}\n" for i in range(9)).encode()
    root = "0a1b2c3d-0a1b-4a1b-8a1b-0a1b2c3d4e5f"
    text = "http://rs.tdwg.org/dwc/text/"
    terms = "http://rs.tdwg.org/dwc/terms/"
    meta = (
        f'<archive xmlns="{text}"><core encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" '
        f'fieldsEnclosedBy="" ignoreHeaderLines="1" rowType="{terms}Occurrence"><files><location>o.txt</location>'
        f'</files><id index="0"/><field index="0" term="{terms}occurrenceID"/><field index="1" term="DNA_sequence"/>'
        f'<field index="2" term="{terms}eventID"/></core></archive>'
    )
    table = "id\tseq\te\no1\tACGTACGT\te1\no2\tGGCC\te\u00e9\n".encode()
    qza = {"VERSION": b"QIIME 2", "metadata.yaml": f"uuid: {root}\ntype: FeatureData[Sequence]\nformat: X\n".encode(),
           "data/dna-sequences.fasta": fasta}  # fmt: skip
    files = [zipped({f"{root}/{name}": data for name, data in qza.items()}, kind) for kind in (0, 8)]
    files += [zipped({"meta.xml": meta.encode(), "o.txt": table}, kind) for kind in (0, 8)]
    path = folder / "x.zip"

    def write(rng: random.Random) -> None:
        if rng.random() < 0.4:
            # Damage that the checksums of the zip do not see.
            changed = zipped({"meta.xml": damaged(meta.encode(), rng), "o.txt": damaged(table, rng)}, 8)
            path.write_bytes(changed)
        else:
            path.write_bytes(damaged(rng.choice(files), rng))

    return write, lambda: text_of(path)


def count_tables(folder: Path) -> Seam:
    import h5py
    from biom import Table

    biom = Table(np.array([[1, 2], [3, 0], [0, 9]]), ["f1", "f2", "f3"], ["S1", "S2"],
                 [{"taxonomy": ["Animalia", "x"]}] * 3)  # fmt: skip
    binary = io.BytesIO()
    with h5py.File(binary, "w") as file:
        biom.to_hdf5(file, generated_by="test")
    written = json.loads(biom.to_json("test"))
    wide = b"#OTU ID\tS1\tS\xe9\nf1\t1\t2\nf2\t3\t0\n"
    path = folder / "x.biom"

    def write(rng: random.Random) -> None:
        kind = rng.randrange(3)
        if kind == 0:
            write_json(path, written, rng)
        else:
            path.write_bytes(damaged(binary.getvalue() if kind == 1 else wide, rng))

    def read() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_count_table(path)

    return write, read


def vector_files(folder: Path) -> Seam:
    vectors = np.stack([vector_of(i) for i in range(9)])
    npy = (legacy(folder / "a", vectors) / "embeddings.npy").read_bytes()
    npz = (legacy(folder / "b", vectors, "npz") / "embeddings.npz").read_bytes()
    folders: list[Path] = [folder / "a"]

    def write(rng: random.Random) -> None:
        folders[0] = rng.choice((folder / "a", folder / "b"))
        name, data = ("embeddings.npy", npy) if folders[0].name == "a" else ("embeddings.npz", npz)
        (folders[0] / name).write_bytes(damaged(data, rng))

    def read() -> None:
        file = VectorFile.open(folders[0])
        assert file.load().shape == (file.rows, file.dimension)
        file.take(np.arange(min(file.rows, 3)))
        _ = Run.open(folders[0]).identity

    return write, read


def trained_weights(folder: Path) -> Seam:
    config = BarcodeConfig(4, ("11",), None, "CC0-1.0")
    path = folder / "model.safetensors"
    write_arrays(path, {"table.weight": np.ones((10, 4), np.int8), "table.scale": np.ones(10, np.float32)})
    return bytes_seam(path, path.read_bytes(), lambda: read_arrays(folder, config, 10))


def training_state(folder: Path) -> Seam:
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    path = folder / loop.STATE
    curves = [{"step": 1, "loss_x": 0.5}]
    loop._save(network, optimiser, path, "key", 1, curves, torch.zeros(len(loop.QUESTIONS)))
    data = path.read_bytes()
    tensors = load_file(path)

    def write(rng: random.Random) -> None:
        if rng.random() < 0.5:
            path.write_bytes(damaged(data, rng))
            return
        text = nested(rng) if rng.random() < 0.2 else json.dumps(strange(curves, rng))
        changed = {name: values for name, values in tensors.items() if rng.random() < 0.97}
        save_file(changed, path, {"key": "key", "step": rng.choice(("1", "x", "-1", "1")), "curves": text})

    return write, lambda: loop._resume(network, optimiser, path, "key")


def index_file(folder: Path) -> Seam:
    vectors = np.stack([vector_of(i) for i in range(300)])
    write_run(folder / "run", range(300), vectors=vectors)
    index, facts = indexes.train_index(VectorFile.open(folder / "run"))
    indexes.add(index, iter([vectors]))
    path = folder / "x.faiss"
    indexes._save(index, path)
    size = path.stat().st_size - 300 * (index.code_size + 8)
    facts = replace(facts, structure=size, seal=indexes.seal(path, size))

    def read() -> None:
        try:
            open_index(path, 300, DIMENSION, facts)
        except indexes.DamagedIndex as error:
            raise StoreError(str(error)) from error

    return bytes_seam(path, path.read_bytes(), read)


def lance_table(folder: Path) -> Seam:
    database = simple(folder / "db", [letters_of(i) for i in range(9)])
    files = [path for path in sorted((folder / "db").rglob("*")) if path.is_file()]
    whole = {path: path.read_bytes() for path in files}

    def write(rng: random.Random) -> None:
        for path, data in whole.items():
            path.write_bytes(data)
        path = rng.choice(files)
        path.write_bytes(damaged(whole[path], rng))

    def read() -> None:
        table = database.open()
        status = survey(table)
        for batch in table.scan(["sequence_id", "dna_sequence"]):
            batch.to_pylist()
        assert status.rows >= 0

    return write, read


def names_of_queries(folder: Path) -> Seam:
    line = {"id": "q1", "status": "assigned", "lineage": "Animalia;;;;;;", "confidence": 0.9}
    tsv = "id\tstatus\tlineage\tconfidence\nq1\tassigned\tAnimalia;;;;;;\t0.9\n"
    path = folder / "x.jsonl"

    def write(rng: random.Random) -> None:
        write_json(path, line, rng) if rng.random() < 0.6 else path.write_bytes(damaged(tsv.encode(), rng))

    return write, lambda: names_by_id(path)


def any_of(path: Path, files: list[bytes], read: Callable[[Path], object]) -> Seam:
    return lambda rng: void(path.write_bytes(damaged(rng.choice(files), rng))), lambda: read(path)


def zipped(members: dict[str, bytes], kind: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


SEAMS: dict[str, Callable[[Path], Seam]] = {
    f.__name__: f
    for f in (
        parquet_input, parquet_part, parquet_run, run_json, reference_json, names_json, versions_json, model_json,
        calibration_json, kept_parquet, map_parquet, delimited_text, fasta_and_fastq, compressed_streams, zip_archives,
        count_tables, vector_files, trained_weights, training_state, index_file, lance_table, names_of_queries,
    )
}  # fmt: skip


def nested(rng: random.Random) -> str:
    count = rng.choice((90, 101, 990, 5_000, 200_000))
    return rng.choice(("[", '{"a":', "[[{")) * count if rng.random() < 0.5 else "[" * count + "]" * count


def write_json(path: Path, body: object, rng: random.Random) -> None:
    kind = rng.randrange(20)
    if kind == 0:
        text = nested(rng).encode()
    elif kind < 4:
        text = damaged(json.dumps(body).encode(), rng)
    else:
        text = json.dumps(strange(body, rng)).encode()
    path.write_bytes(text)


def write_sealed(path: Path, body: dict, name: str, rng: random.Random) -> None:
    """Write a manifest whose checksum is right, whatever its content is."""
    if rng.random() < 0.1:
        write_json(path, body, rng)
        return
    changed = strange({key: value for key, value in body.items() if key != name}, rng)
    try:
        text = to_json({**changed, name: json_sha256(changed)})
    except ValueError:
        text = json.dumps({**changed, name: json_sha256(changed)}, indent=2, ensure_ascii=False) + "\n"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def sweep(folder: Path, name: str, cases: int, start: int = 0, at: Path | None = None) -> None:
    """Read damaged files of a seam; every outcome is a result or one of our errors in one line, and no file is left.

    The number of the case that is being read is kept in the file ``at``, for the case that the process ends.
    """
    write, read = SEAMS[name](folder)
    refused = 0
    before = None
    for number in range(start, cases):
        write(random.Random(f"{name} {number}"))
        before = before or len(list(folder.rglob("*")))
        if at is not None:
            at.write_text(str(number))
        try:
            read()
        except EdnabedError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 2_000, (name, number, str(error))
        except BaseException as error:
            raise AssertionError(f"{name}, case {number}: {type(error).__name__}: {str(error)[:300]}") from error
    assert len(list(folder.rglob("*"))) == before
    # A few cases that remain after a process ended may all be harmless.
    assert refused > (cases - start) // 20 or (start and cases - start < 100), "the damage does not reach the reader"


@pytest.mark.parametrize("name", SEAMS)
def test_a_damaged_file_is_read_right_or_refused_in_one_sentence(tmp_path, name):
    sweep(tmp_path, name, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SEAMS if name != lance_table.__name__])
def test_many_damaged_files(tmp_path, name):
    sweep(tmp_path, name, 20_000)


@pytest.mark.slow
def test_many_damaged_tables(tmp_path):
    """Lance ends the process if a damaged length is more than the memory; nothing can catch that, but it is rare."""
    at, cases, ended = tmp_path / "at", 20_000, []
    while not ended or ended[-1] < cases - 1:
        folder = tmp_path / f"table{len(ended)}"
        folder.mkdir()
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\nfrom test_seams import sweep\n"
            f"sweep(Path({str(folder)!r}), 'lance_table', {cases}, {ended[-1] + 1 if ended else 0}, Path({str(at)!r}))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        if done.returncode == 0:
            break
        said = done.stderr.decode(errors="replace")
        assert "memory allocation of" in said[-1_000:], said[-3_000:]
        ended.append(int(at.read_text()))
    assert len(ended) < cases // 2_000, ended


@pytest.mark.parametrize(
    "value", [b"[" * 200_000, b'{"schema": NaN}', b'{"schema": 1e999}', b'{"a": "\\ud800"}', b'\xff{"a": 1}']
)
@pytest.mark.parametrize("file", ["run.json", "data/versions.json", "data/reference/consolidated_metadata.json"])
def test_what_is_not_json_is_one_sentence_on_the_command_line(tmp_path, capsys, file, value):
    folder = tmp_path / "consolidated_data" / "runs" / "lake" / "2024-01-01_00-00-00"
    write_run(folder, range(3), dataset="lake")
    path = folder / file if file == "run.json" else tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value)
    verb = {"run.json": ["runs", "show", str(folder)], "versions.json": ["versions", "list"]}.get(
        path.name, ["reference", "show"]
    )
    with pytest.raises(SystemExit) as ended:
        main(["--workspace", str(tmp_path), *verb])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("ednabed: ") and path.name in said and said.count("\n") == 1, said


def test_records_of_a_reference_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "records-00000.parquet"
    path.write_bytes(parquet_bytes(not_utf8=True))
    part = PartFile(path, 60, Shelf(2, 10**6), "make it again")
    assert part.take(np.array([59]), ["id"]).to_pylist() == [{"id": "r59"}]
    for read in (lambda: part.take(np.array([3, 7]), ["id"]), lambda: part.read(["id"])):
        with pytest.raises(StoreError, match=r"records-00000.parquet cannot be read \(.*UTF-?8.*\); make it again"):
            read()


def test_parquet_with_text_that_is_not_utf8_is_refused_as_input(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet_bytes(not_utf8=True))
    with pytest.raises(
        InputError, match=r"x\.parquet: the Parquet data are truncated or damaged \(.*UTF-?8.*\); write"
    ):
        text_of(path)


@pytest.mark.parametrize("more", ["\tx", ""])
def test_a_ragged_row_that_is_not_utf8_is_refused_by_its_number(tmp_path, more, capfd):
    path = tmp_path / "x.tsv"
    row = f"r2\u00e9{more or ''}" if not more else f"r2\u00e9\tACGT\tS{more}"
    path.write_bytes(f"id\tsequence\tsample\nr1\tACGT\tS\n{row}\nr3\tACGT\tS\n".encode("latin-1"))
    with pytest.raises(SystemExit) as ended:
        main(["--workspace", str(tmp_path), "embed", str(path), "--model", "kmer6"])
    said = capfd.readouterr().err
    assert ended.value.code == 1
    assert re.search(rf"x.tsv: row 2 \(below the header\) has {4 if more else 1} cells, the header has 3", said), said
    assert "ignored" not in said
    assert not list((tmp_path / "consolidated_data").rglob("run.json"))


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may become larger than this, as on a disk that is full."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, -1])
def test_an_index_that_does_not_fit_on_the_disk(tmp_path, size):
    index = indexes.flat_index(iter([np.stack([vector_of(i) for i in range(300)])]), DIMENSION)
    path = tmp_path / "x.faiss"
    indexes._save(index, path)
    whole = path.stat().st_size
    path.unlink()
    # FAISS does not look whether its last bytes were written.
    with small_disk(size if size >= 0 else whole - 1), pytest.raises(StoreError, match=r"x\.faiss could not be writ"):
        indexes._save(index, path)
    assert not list(tmp_path.iterdir())


def test_a_state_of_training_that_does_not_fit_on_the_disk(tmp_path):
    network = torch.nn.Linear(300, 20)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 300)).sum().backward()
    optimiser.step()
    path = tmp_path / loop.STATE
    sums = torch.zeros(len(loop.QUESTIONS))
    loop._save(network, optimiser, path, "key", 1, [], sums)
    before = path.read_bytes()
    with small_disk(5000), pytest.raises(StoreError, match=r"state\.\w+ could not be written .*run the same command"):
        loop._save(network, optimiser, path, "key", 2, [], sums)
    assert [p.name for p in tmp_path.iterdir()] == [loop.STATE] and path.read_bytes() == before


def test_a_full_disk_is_named_with_the_file(tmp_path):
    said = r"x could not be written \(.*No space.*\); free space on the disk, then run"
    with pytest.raises(StoreError, match=said), library_writes(tmp_path / "x"):
        (tmp_path / "x").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())
    with small_disk(10), pytest.raises(OSError, match=r"y\.json") as caught:
        write_atomic(tmp_path / "y.json", "x" * 100)
    assert caught.value.filename == str(tmp_path / "y.json") and not list(tmp_path.iterdir())


def test_a_run_with_the_right_checksum_and_wrong_types_is_refused_by_field(tmp_path):
    run_json(tmp_path)
    path = tmp_path / "run" / MANIFEST
    body = json.loads(path.read_text(encoding="utf-8"))
    body.pop("manifest_sha256")
    for field, value, said in (("counts", [], "counts of the file is"), ("created", 7, "created of the file is 7"),
                               ("files", {"../x": {}}, "files contains the name '../x'")):  # fmt: skip
        changed = {**body, field: value}
        path.write_text(to_json({**changed, "manifest_sha256": json_sha256(changed)}), encoding="utf-8", newline="\n")
        with pytest.raises(StoreError, match=re.escape(said)):
            Run.open(tmp_path / "run")
