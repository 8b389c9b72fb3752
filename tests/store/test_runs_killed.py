"""A run is killed at any moment and started again: no flushed work is lost, repeated or left over."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ednabed.errors import StoreError
from ednabed.store.run_writer import RunRequest, embed_to_run
from ednabed.store.runs import Run
from support import expected, letters

DRIVER = Path(__file__).resolve().parents[1] / "run_driver.py"
BATCH = 8
PLACES = ["staged", "assembling", "assembled", "manifest", "published"]


def sequences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choice("ACGT") for _ in range(rng.randint(20, 60))) for _ in range(count)]


class Job:
    """One input with duplicates and rejected records, and the run that an uninterrupted job creates from it."""

    def __init__(
        self, folder: Path, distinct: int = 150, seconds_a_row: float = 0.0, flush_seconds: float = 0.0, seed: int = 1
    ):
        self.folder = folder
        self.log = folder / "log"
        self.mark = folder / "mark"
        self.seconds_a_row, self.flush_seconds = seconds_a_row, flush_seconds
        self.sequences = sequences(distinct, seed)
        rng = random.Random(seed)
        rows = list(range(distinct)) + [rng.randrange(distinct) for _ in range(distinct // 2)]
        rng.shuffle(rows)
        self.rows = rows
        text = "".join(f">r{i}\n{self.sequences[row]}\n" for i, row in enumerate(rows))
        self.input = folder / "in.fa"
        self.input.write_text(text + ">short\nACGT\n>odd\nACGTACGTACGTACGTACGTACG*TACGT\n")
        self.workspace = folder / "ws"
        self.distinct = distinct
        self.abundance: list[Path] = []
        self.records = [(f"r{i}", None) for i in range(len(rows))]

    def count(self) -> Job:
        """Give the records counts in three samples; every seventh has no reads."""
        counts = [[0, 0, 0] if i % 7 == 3 else [i + 1, i % 2, 0] for i in range(len(self.rows))]
        lines = [f"r{i}\t" + "\t".join(map(str, row)) for i, row in enumerate(counts)]
        self.abundance = [self.folder / "counts.tsv"]
        self.abundance[0].write_text("\n".join(["id\tS0\tS1\tS2", *lines]) + "\n")
        self.records = [(f"r{i}", f"S{s}") for i, row in enumerate(counts) for s, reads in enumerate(row) if reads]
        self.distinct = len({self.rows[i] for i, row in enumerate(counts) if any(row)})
        return self

    def request(self, **more):
        return {
            "inputs": [str(self.input)],
            "workspace": str(self.workspace),
            "dataset": "see",
            "batch_size": BATCH,
            "abundance": list(map(str, self.abundance)),
            **more,
        }

    def start(self, stall: str | None = None, **more) -> subprocess.Popen:
        settings = self.folder / "settings.json"
        settings.write_text(
            json.dumps(
                {
                    "request": self.request(**more),
                    "log": str(self.log),
                    "mark": str(self.mark),
                    "seconds_a_row": self.seconds_a_row,
                    "flush_seconds": self.flush_seconds,
                    "stall": stall,
                }
            )
        )
        self.mark.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, str(DRIVER), str(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def computed(self) -> int:
        return len(self.log.read_bytes().splitlines()) if self.log.exists() else 0

    def flushed(self) -> int:
        """Return the number of complete journal rows on the disk."""
        journals = list(self.workspace.rglob("journal"))
        assert len(journals) <= 1
        if not journals:
            return 0
        sizes = [(journals[0] / name).stat().st_size for name in ("vectors.f32", "digests.bin")]
        return min(sizes[0] // 40, sizes[1] // 25)

    def kill_when(self, process: subprocess.Popen, ready) -> bool:
        """Kill the process as soon as ``ready()``; return False if it ended before."""
        while process.poll() is None:
            if ready():
                process.kill()
                process.communicate()
                return True
            time.sleep(0.001)
        out, error = process.communicate()
        assert process.returncode == 0, error.decode()
        self.result = json.loads(out)
        return False

    def finish(self, **more) -> dict:
        process = self.start(**more)
        assert not self.kill_when(process, lambda: False)
        return self.result

    def check(self) -> None:
        """Check that the run exists, is complete and equals the uninterrupted one, and that nothing else exists."""
        left = sorted(str(p.relative_to(self.workspace)) for p in self.workspace.rglob("*") if p.name.startswith("."))
        assert left == []
        (folder,) = (self.workspace / "consolidated_data" / "runs" / "see").iterdir()
        run = Run.open(folder)
        assert run.verify() == []
        vectors, records = run.load_embeddings(), run.load_records(["id", "sample", "sequence"])
        named = list(zip(*(records.column(name).to_pylist() for name in ("id", "sample")), strict=True))
        assert named == self.records
        sequences_ = [self.sequences[self.rows[int(name[1:])]] for name, _ in self.records]
        assert records.column("sequence").to_pylist() == sequences_
        np.testing.assert_allclose(vectors, np.stack([expected(sequence) for sequence in sequences_]), atol=1e-6)
        request = RunRequest(
            [self.input], self.folder / "whole", output=self.folder / "whole" / "r", abundance=self.abundance
        )
        whole = embed_to_run(request, letters()).run
        for name in ("embeddings.npy", "rejected.tsv"):
            assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()
        assert pq.read_table(run.folder / "records.parquet").equals(pq.read_table(whole.folder / "records.parquet"))
        assert run.manifest.counts == whole.manifest.counts
        assert sum(entry["sequences"] for entry in run.manifest.compute) == self.distinct


def killed_at_random(job: Job, kills: int, seed: int) -> None:
    """Kill the job several times after a random number of rows, then let it finish."""
    rng = random.Random(seed)
    # Rows since the last flush (each takes a minimum time), the batch about to be flushed and the current one.
    lost_at_most = (job.flush_seconds / job.seconds_a_row if job.seconds_a_row else 0) + 2 * BATCH
    killed = 0
    for _ in range(kills):
        before, safe = job.computed(), job.flushed()
        until = before + rng.randint(0, max(2 * job.distinct // kills, 2))
        if not job.kill_when(job.start(), lambda until=until: job.computed() >= until):
            break
        killed += 1
        done, kept = job.computed() - before, job.flushed()
        assert kept >= safe, "what was on the disk must stay there"
        assert done <= job.distinct - safe, "nothing that was flushed may be computed again"
        assert done - (kept - safe) <= lost_at_most
    else:
        before, safe = job.computed(), job.flushed()
        result = job.finish()
        assert result == {"computed": job.distinct - safe, "taken_up": safe, "existed": False}
        assert job.computed() - before == job.distinct - safe
    assert job.computed() <= job.distinct + killed * lost_at_most
    job.check()
    assert job.finish()["existed"]
    job.check()


def test_killed_at_random_moments_and_resumed(tmp_path):
    killed_at_random(Job(tmp_path, 200, seconds_a_row=0.002, flush_seconds=0.03), kills=6, seed=4)


def test_killed_with_every_batch_flushed(tmp_path):
    killed_at_random(Job(tmp_path, 120, seconds_a_row=0.001, flush_seconds=0.0, seed=2), kills=3, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_many_times(tmp_path, seed):
    killed_at_random(Job(tmp_path, 600, seconds_a_row=0.001, flush_seconds=0.02, seed=seed), kills=20, seed=seed)


@pytest.mark.parametrize(
    ("place", "counted"), [*((place, False) for place in PLACES), ("staged", True), ("assembling", True)]
)
def test_killed_at_a_given_step(tmp_path, place, counted):
    job = Job(tmp_path, 60)
    if counted:
        job.count()
    assert job.kill_when(job.start(stall=place), job.mark.exists)
    runs = job.workspace / "consolidated_data" / "runs" / "see"
    visible = [p for p in runs.iterdir() if not p.name.startswith(".")]
    assert len(visible) == (1 if place == "published" else 0), "a run is whole or absent"
    for folder in visible:
        assert Run.open(folder).verify() == []
    result = job.finish()
    assert result["existed"] == (place == "published")
    # Nothing was computed twice: all of it was flushed before assembly began.
    assert job.computed() == job.distinct
    job.check()


def test_killed_everywhere_one_after_the_other(tmp_path):
    job = Job(tmp_path, 60)
    for place in PLACES:
        assert job.kill_when(job.start(stall=place), job.mark.exists)
    assert job.finish()["existed"]
    assert job.computed() == job.distinct
    job.check()


def test_two_processes_doing_the_same_work(tmp_path):
    job = Job(tmp_path, 30)
    first = job.start(stall="staged")
    try:
        while not job.mark.exists():
            assert first.poll() is None, first.communicate()[1].decode()
            time.sleep(0.005)
        request = RunRequest([job.input], job.workspace, dataset="see", batch_size=BATCH)
        for _ in range(2):
            with pytest.raises(
                StoreError,
                match=r"another process is embedding the same input \('ednabed embed'\); wait until it has finished",
            ):
                embed_to_run(request, letters())
        other = embed_to_run(RunRequest([job.input], job.workspace, dataset="see", min_length=21), letters())
        assert not other.existed
    finally:
        first.kill()
        first.communicate()
    assert embed_to_run(request, letters()).computed == 30


def test_an_input_edited_after_an_interruption_reuses_shared_sequences(tmp_path):
    job = Job(tmp_path, 60)
    assert job.kill_when(job.start(stall="assembling"), job.mark.exists)
    assert job.flushed() == 60
    new = "ACGTT" * 6
    job.input.write_text(f">first\n{job.sequences[3]}\n>new\n{new}\n>last\n{job.sequences[5]}\n")
    result = job.finish()
    assert (result["computed"], result["taken_up"]) == (1, 2)
    (folder,) = (job.workspace / "consolidated_data" / "runs" / "see").iterdir()
    run = Run.open(folder)
    assert run.verify() == []
    wanted = np.stack([expected(s) for s in (job.sequences[3], new, job.sequences[5])])
    np.testing.assert_allclose(run.load_embeddings(), wanted, atol=1e-6)


def test_no_resume_discards_the_work(tmp_path):
    job = Job(tmp_path, 40)
    assert job.kill_when(job.start(stall="assembling"), job.mark.exists)
    result = job.finish(resume=False)
    assert (result["computed"], result["taken_up"]) == (40, 0)
    assert job.computed() == 80
    job.check()


def test_work_of_another_model_is_not_reused(tmp_path):
    job = Job(tmp_path, 40)
    assert job.kill_when(job.start(stall="assembling"), job.mark.exists)
    result = embed_to_run(RunRequest([job.input], job.workspace, dataset="see", batch_size=BATCH), letters(salt=1))
    assert (result.computed, result.taken_up) == (40, 0)
    wanted = np.stack([expected(job.sequences[row], 1) for row in job.rows])
    np.testing.assert_allclose(result.run.load_embeddings(), wanted, atol=1e-6)


def test_the_complete_rows_of_a_torn_journal_are_reused(tmp_path):
    job = Job(tmp_path, 40)
    assert job.kill_when(job.start(stall="assembling"), job.mark.exists)
    (journal,) = job.workspace.rglob("journal")
    data = (journal / "vectors.f32").read_bytes()
    (journal / "vectors.f32").write_bytes(data[: 40 * 17 + 3])
    assert job.finish()["taken_up"] == 17
    job.check()


def test_many_processes_at_once_create_one_run(tmp_path):
    """A process that starts during the work gets an error; one that starts later finds the run."""
    job = Job(tmp_path, 40)
    ended = [(p.communicate(), p.returncode) for p in [job.start() for _ in range(5)]]
    assert any(code == 0 for _, code in ended)
    for (_, error), code in ended:
        if code:
            assert b"another process is embedding the same input" in error, error.decode()
    assert job.finish()["existed"]
    assert job.computed() == 40
    job.check()
