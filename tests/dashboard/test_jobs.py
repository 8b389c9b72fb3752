"""Jobs: a command line in its own process, recovered from its folder, ended with nothing half-written."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from ednabed.dashboard import job as module
from ednabed.dashboard import jobs as starting
from ednabed.dashboard import runner
from ednabed.dashboard.job import Job, Progress, command_line
from ednabed.dashboard.jobs import Jobs
from ednabed.errors import StoreError, UsageError
from taxonomy_support import reference_of, world

MANY = 12_000


def until(true, seconds: float = 120):
    """Wait until a function returns a true value, and return that value."""
    last = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < last, "waited in vain"
        time.sleep(0.03)
    return found


def ended(job: Job) -> Job:
    until(lambda: job.state not in ("waiting", "running"))
    return job


def write_random(path: Path, count: int, length: int = 300) -> Path:
    table = bytes(b"ACGT"[i % 4] for i in range(256))
    letters = random.Random(0).randbytes(count * length).translate(table)
    with path.open("wb") as file:
        for i in range(count):
            file.write(b">s%d\n%s\n" % (i, letters[length * i : length * (i + 1)]))
    return path


def doing(job: Job, what: str) -> bool:
    assert job.state in ("waiting", "running"), job.notices
    return job.progress is not None and job.progress.doing == what


def alive(pid: int) -> bool:
    try:
        # A process that has not been waited for yet (a zombie) is dead all the same.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def jobs(tmp_path):
    """Jobs of a workspace with an awkward name; jobs that a test leaves running end with it."""
    found = Jobs(tmp_path / "Proben aus 北 & süd's")
    yield found
    for job in found.list():
        job.cancel()
    for job in found.list():
        ended(job)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return write_random(tmp_path_factory.mktemp("many") / "many.fasta", MANY)


def runs_of(jobs: Jobs, dataset: str) -> list[str]:
    folder = jobs.workspace / "consolidated_data" / "runs" / dataset
    return [p.name for p in folder.iterdir() if not p.name.startswith(".")] if folder.exists() else []


def test_a_command_runs_to_its_end(jobs):
    reference_of(jobs.workspace, world(8, length=300))
    folder = jobs.new_folder()
    queries = write_random(folder / "inputs" / "a b é.fasta", 20)
    title = "<script>alert('1')</script>\n& *more*"
    about = {"kind": "classify", "inputs": ["a b é.fasta"]}
    arguments = ["classify", str(queries), "--output", str(folder / "taxonomy.tsv")]
    started = jobs.start(title, arguments, about=about, folder=folder)
    assert started.state in ("waiting", "running")
    assert started.exit_code is None
    assert started.error is None
    job = ended(jobs.get(started.id))
    assert job.state == "done", job.notices
    assert (job.title, job.about, job.arguments, job.folder) == (title, about, arguments, folder)
    assert abs(datetime.now(UTC) - job.created) < timedelta(minutes=5)
    assert job.exit_code == 0
    assert job.error is None
    assert job.output == ""
    assert "is not calibrated" in job.notices
    assert 0 < job.seconds < 120
    progress = job.progress
    assert (progress.doing, progress.done, progress.total, progress.unit) == ("classifying", 20, None, "query")
    assert progress.rate > 0 < progress.seconds
    assert len((folder / "taxonomy.tsv").read_text(encoding="utf-8").splitlines()) == 21
    # Only the files that formats.md names.
    assert sorted(p.name for p in folder.iterdir()) == [
        "child.json", "end.json", "inputs", "job.json", "lock", "progress.json", "runner.json", "runner.log",
        "stderr.txt", "stdout.txt", "taxonomy.tsv", "taxonomy.tsv.about.json",
    ]  # fmt: skip
    assert (folder / "runner.log").read_bytes() == b""
    job.cancel()
    assert job.state == "done"

    # The command shown has the same result.
    if os.name != "nt":
        (folder / "taxonomy.tsv").unlink()
        words = shlex.split(job.command)
        assert words[:3] == ["ednabed", "--workspace", str(jobs.workspace)]
        subprocess.run([sys.executable, "-m", "ednabed", *words[1:]], check=True, capture_output=True)
        assert (folder / "taxonomy.tsv").exists()

    job.remove()
    assert jobs.list() == []
    assert not folder.exists()
    assert job.state == "lost"
    job.remove()
    with pytest.raises(StoreError, match="has no job"):
        jobs.get(job.id)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["embed", "no\nsuch.fasta"], 1, "no such file"),
        (["embed", "--no-such-option"], 2, "No such option"),
        # There is no standard input to wait for.
        (["embed", "-", "--dataset", "x"], 1, "standard input"),
    ],
)
def test_a_command_fails_with_its_sentence(jobs, arguments, code, says):
    job = ended(jobs.start("fails", arguments))
    assert job.state == "failed"
    assert job.exit_code == code
    assert says in job.error
    assert not job.error.startswith("ednabed:")
    assert job.progress is None or job.progress.done == 0


def test_cancelled_in_the_midst_and_started_again(jobs, many):
    job = jobs.start("embed", ["embed", str(many), "--dataset", "d"])
    # A reloaded page finds it.
    found = Jobs(jobs.workspace).get(job.id)
    until(lambda: doing(found, "embedding"))
    assert found.state == "running"
    assert found.progress.total == MANY
    with pytest.raises(StoreError, match="cancel it before"):
        found.remove()
    found.cancel()
    ended(job)
    assert job.state == "cancelled"
    assert job.exit_code == 143
    assert job.error is None
    assert runs_of(jobs, "d") == []
    assert list(jobs.workspace.rglob("*.tmp")) == []

    again = ended(jobs.start("embed", job.arguments))
    assert again.state == "done", again.notices
    assert again.progress.done == MANY
    dataset = jobs.workspace / "consolidated_data" / "runs" / "d"
    assert len(list(dataset.iterdir())) == 1, "work in progress of the first try is used up"
    assert [j.id for j in jobs.list()] == [again.id, job.id]


def test_cancelled_while_results_are_written(jobs, many):
    reference_of(jobs.workspace, world(8, length=300))
    before = sorted(p for p in jobs.workspace.rglob("*") if module.FOLDER not in p.parents)
    job = jobs.start("classify", ["classify", str(many), "--output", str(jobs.workspace / "out" / "taxonomy.tsv")])
    until(lambda: doing(job, "classifying") and job.progress.done)
    job.cancel()
    assert ended(job).state == "cancelled"
    after = {p for p in jobs.workspace.rglob("*") if jobs.folder not in [p, *p.parents] and p != jobs.folder.parent}
    assert after - set(before) == {jobs.workspace / "out"}


def test_jobs_wait_for_one_another(jobs, many):
    first = jobs.start("first", ["embed", str(many), "--dataset", "d"])
    second = jobs.start("second", ["embed", "nothing.fasta"])
    third = jobs.start("third", ["embed", "nothing.fasta"])
    assert [job.title for job in jobs.list()] == ["third", "second", "first"]
    until(lambda: doing(first, "embedding"))
    assert [second.state, third.state] == ["waiting", "waiting"]
    second.cancel()
    ended(second)
    assert first.state == "running"
    assert (second.state, second.exit_code, second.seconds, second.output) == ("cancelled", None, None, "")
    assert third.state == "waiting"
    first.cancel()
    assert ended(first).state == "cancelled"
    assert ended(third).state == "failed"


def test_a_waiting_job_goes_before_a_later_one(jobs):
    started = [jobs.start(str(i), ["models", "list"]) for i in range(3)]
    for job in started:
        assert ended(job).state == "done", job.notices
    began = [json.loads((job.folder / "child.json").read_text())["began"] for job in started]
    over = [json.loads((job.folder / "end.json").read_text())["ended"] for job in started]
    assert began == sorted(began)
    assert all(a <= b for a, b in zip(over, began[1:], strict=False))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_the_process_that_waits_is_ended(jobs, many, how):
    job = jobs.start("embed", ["embed", str(many), "--dataset", "d"])
    until(lambda: doing(job, "embedding"))
    waiting, child = (json.loads((job.folder / f"{n}.json").read_text())["pid"] for n in ("runner", "child"))
    assert alive(waiting) and alive(child)
    os.kill(waiting, getattr(signal, how))
    until(lambda: not alive(waiting))
    assert job.state == ("lost" if how == "SIGKILL" else "cancelled")
    assert (job.error is None) == (how == "SIGTERM")
    # The command ends too, and softly.
    until(lambda: not alive(child))
    assert runs_of(jobs, "d") == []
    assert job.notices == ""
    job.cancel()
    job.remove()
    assert jobs.list() == []


def test_a_command_that_does_not_end_is_killed(jobs, monkeypatch):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(9)"
    monkeypatch.setattr(runner, "python", lambda _: [sys.executable, "-c", stubborn])
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.2)
    folder = jobs.new_folder()
    job = Job(folder.name, "t", {}, [], folder, datetime.now(UTC))

    class EndRequest:
        @property
        def to_end(self) -> bool:
            return job.output != ""

    began = time.monotonic()
    assert runner._run_command(job, EndRequest()) != 0
    assert 0.2 < time.monotonic() - began < 60


def test_ids_stay_in_the_folder(jobs, tmp_path):
    job = ended(jobs.start("t", ["--version"]))
    for bad in ("../x", "..", "", "a/b", "a\\b", f"../jobs/{job.id}", str(job.folder), "con", f"{job.id}\n"):
        with pytest.raises(UsageError):
            jobs.get(bad)
    for absent in ("x", "20200101-000000-000000-abcdef", ".queue.lock"[1:]):
        with pytest.raises(StoreError):
            jobs.get(absent)
    for folder in (tmp_path, job.folder, jobs.folder / "x", jobs.folder / ".." / "jobs" / "x"):
        with pytest.raises(UsageError):
            jobs.start("t", ["--version"], folder=folder)


def test_a_damaged_job_is_listed_as_broken(jobs):
    good = ended(jobs.start("good", ["--version"]))
    text = (good.folder / "job.json").read_text()
    facts = json.loads(text)
    damages = [
        b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, text[:-9].encode(), json.dumps({**facts, "title": 1}).encode(),
        json.dumps({**facts, "arguments": [1]}).encode(), json.dumps({**facts, "created": "x"}).encode(),
        json.dumps({**facts, "schema": 99}).encode(), json.dumps({**facts, "about": None}).encode(),
    ]  # fmt: skip
    for data in damages:
        (jobs.new_folder() / "job.json").write_bytes(data)
    gone = jobs.new_folder()
    (gone / "stdout.txt").touch()
    (jobs.folder / "strange").mkdir()
    (jobs.folder / "20200101-000000-000000-abcdef").write_text("a file")
    listed = jobs.list()
    assert listed[-1].id == good.id
    assert [job.state for job in listed] == ["broken"] * (len(damages) + 1) + ["done"]
    for job in listed[:-1]:
        assert "job.json" in job.error
        assert (job.command, job.arguments, job.progress, job.output) == ("", [], None, "")
        job.cancel()
        job.remove()
    assert [job.id for job in jobs.list()] == [good.id]
    # The files that describe a running job may be damaged too.
    for name in ("progress.json", "end.json", "child.json"):
        (good.folder / name).write_bytes(b'{"done": []')
    assert (good.state, good.progress, good.seconds) == ("lost", None, None)


def test_a_flipped_byte_in_a_file_of_a_job_is_named(jobs):
    job = ended(jobs.start("t", ["--version"]))
    assert job.faults() == []
    for name in ("job.json", "runner.json", "child.json", "end.json"):
        path = job.folder / name
        raw = path.read_bytes()
        assert json.loads(raw)["schema"] == 2
        path.write_bytes(raw.replace(b'"', b"#", 1))
        (fault,) = jobs.list()[0].faults()
        assert f"{path} is damaged" in fault
        if name == "end.json":
            assert job.state == "lost"
            assert f"{path} is damaged" in job.error
        path.write_bytes(raw)
    assert (job.state, job.faults()) == ("done", [])


def test_jobs_of_the_first_form_are_read(jobs):
    """They have no checksums, and only one of the files has a schema."""
    folder = jobs.new_folder()
    began = module.now()
    facts = {"schema": 1, "title": "t", "arguments": ["--version"], "about": {"a": 1}, "created": began}
    progress = {"doing": "x", "done": 1, "total": 2, "unit": "seq", "rate": None, "seconds": 0.5}
    for name, content in (
        (module.JOB, facts), (module.RUNNER, {"pid": 1, "began": began}), (module.CHILD, {"pid": 2, "began": began}),
        (module.END, {"exit_code": 0, "cancelled": False, "ended": began}), (module.PROGRESS, progress),
    ):  # fmt: skip
        (folder / name).write_text(json.dumps(content, indent=2))
    (job,) = jobs.list()
    assert (job.state, job.about, job.seconds, job.faults()) == ("done", {"a": 1}, 0.0, [])
    assert job.progress == Progress("x", 1, 2, "seq", None, 0.5)


def test_folders_that_were_never_started(jobs, monkeypatch):
    folder = jobs.new_folder()
    (folder / "inputs" / "upload.fasta").write_text(">a\nACGT\n")
    assert jobs.list() == []
    with pytest.raises(StoreError):
        jobs.get(folder.name)
    jobs.new_folder()
    assert folder.exists()
    monkeypatch.setattr(starting, "_DRAFT", timedelta(0))
    jobs.new_folder()
    assert not folder.exists()


def test_a_process_that_never_came_up(jobs):
    folder = jobs.new_folder()
    facts = {"schema": 1, "title": "t", "arguments": ["--version"], "about": {}}
    states = []
    for age in (timedelta(seconds=5), timedelta(minutes=5)):
        (folder / "job.json").write_text(json.dumps({**facts, "created": (datetime.now(UTC) - age).isoformat()}))
        states.append(jobs.get(folder.name).state)
    assert states == ["waiting", "lost"]
    # It does not hold up those that come later.
    assert ended(jobs.start("later", ["--version"])).state == "done"


@pytest.fixture
def vanished(jobs) -> Job:
    """A job whose process started and has vanished."""
    folder = jobs.new_folder()
    facts = {"schema": 1, "title": "t", "arguments": ["--version"], "about": {}, "created": module.now()}
    (folder / module.JOB).write_text(json.dumps(facts))
    (folder / module.RUNNER).write_text("{}")
    return jobs.get(folder.name)


def test_a_check_is_not_taken_for_the_process(vanished, monkeypatch):
    """A check holds the lock for an instant; a live process keeps it."""
    assert vanished.state == "lost"
    waits = []
    check = FileLock(vanished.folder / module.LOCK, timeout=0)

    def over(seconds: float) -> None:
        waits.append(seconds)
        check.release()

    with check:
        monkeypatch.setattr(module.time, "sleep", over)
        assert vanished.state == "lost"
        assert len(waits) == 1 and 0 < waits[0] < 0.1
    with check:
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
        assert vanished.state == "waiting"


def test_a_lock_of_another_user_is_held(vanished, monkeypatch):
    def refused(*args, **more):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(FileLock, "acquire", refused)
        assert vanished.state == "waiting"
        with pytest.raises(StoreError, match="cancel it before"):
            vanished.remove()
    assert vanished.state == "lost"


def test_a_job_that_cannot_be_started(jobs, monkeypatch):
    for about in ({"x": {1}}, {"x": float("nan")}):
        with pytest.raises(UsageError, match="JSON"):
            jobs.start("t", ["--version"], about=about)
    monkeypatch.setattr(sys, "executable", str(jobs.workspace / "no python"))
    with pytest.raises(StoreError, match="cannot be started"):
        jobs.start("t", ["--version"])
    assert jobs.list() == []
    (jobs.workspace / "data" / "jobs").rename(jobs.workspace / "data" / "gone")
    (jobs.workspace / "data" / "jobs").write_text("a file")
    with pytest.raises(StoreError, match="cannot be created"):
        jobs.new_folder()
    assert jobs.list() == []


def test_names_that_are_not_valid_text(jobs):
    job = ended(jobs.start("half \udcff", ["embed", "/no/such\udcff\u202e.fasta"]))
    assert jobs.get(job.id).arguments[1] == "/no/such\udcff\u202e.fasta"
    assert job.title == "half \udcff"
    assert job.state == "failed"
    assert "no such file" in job.error
    too_long = ended(jobs.start("long", ["embed", "x" * 10_000_000]))
    assert too_long.state == "failed"
    assert "cannot be started" in too_long.error


def test_long_output_is_cut(jobs):
    folder = jobs.new_folder()
    job = Job(folder.name, "t", {}, [], folder, datetime.now(UTC))
    assert (job.output, job.notices) == ("", "")
    (folder / "stdout.txt").write_text("é" * 600_000, encoding="utf-8")
    (folder / "stderr.txt").write_text("".join(f"line {i}\n" for i in range(20_000)))
    assert len(job.output.encode()) < 1_001_000
    assert "has the complete output" in job.output
    assert len(job.notices) < 65_000
    assert job.notices.startswith("...\nline ")
    assert job.notices.endswith("line 19999\n")


def test_progress_as_it_is_read(jobs):
    folder = jobs.new_folder()
    job = Job(folder.name, "t", {}, [], folder, datetime.now(UTC))
    state = {"doing": "x", "done": 3, "total": 9, "unit": "seq", "rate": 1.5, "seconds": 2.0}
    (folder / "progress.json").write_text(json.dumps(state))
    assert job.progress == Progress(**state)


def test_lines_for_a_terminal(monkeypatch):
    words = ["ednabed", "a b", "$(x)", "it's", "", "a&b", "plain.fa", "two\nlines"]
    assert shlex.split(command_line(words)) == words
    monkeypatch.setattr(module.os, "name", "nt")
    assert command_line(["ednabed", "C:\\my data\\a.fa", "a&b", "", "C:\\x\\y.fa"]) == (
        'ednabed "C:\\my data\\a.fa" "a&b" "" C:\\x\\y.fa'
    )
