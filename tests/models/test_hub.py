"""Tests of fetching weights from a stub of the hub on the loopback interface.

The fetch runs in a separate process, because ``huggingface_hub`` reads its settings when it is imported.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.errors import UsageError
from ednabed.models import hub, weights
from ednabed.models.catalog import find_card

COMMIT = "c0ffee" + "0" * 34
CONFIG = json.dumps(
    {
        "add_bias_fnn": False, "pad_token_id": 1, "mask_token_id": 2, "position_embedding_type": "rotary",
        "vocab_size": 4107, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 144, "max_position_embeddings": 2050, "layer_norm_eps": 1e-12, "token_dropout": False,
    }
).encode()  # fmt: skip
# Several chunks of the transfer, and not a multiple of a power of two.
WEIGHTS = hashlib.shake_256(b"weights").digest(3_000_017)

# Retries wait; the waiting time is not tested.
DRIVER = """
import os, sys, time
from pathlib import Path
time.sleep = lambda seconds: None
def refuse(*_, **__):
    raise OSError("links are not allowed here")
if "NO_LINKS" in os.environ:
    Path.symlink_to = refuse
from ednabed.errors import EdnabedError
from ednabed.models import catalog, hub
card = catalog.lookup(sys.argv[1]) or hub.hub_card(sys.argv[1])
try:
    print(hub.fetch(card))
except EdnabedError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@dataclass
class Stub:
    """A hub with one repository.

    Attributes:
        files: Content by name.
        sizes: Sizes that are reported instead of the true ones.
        cuts: For each file: number of the next answers that break off half-way.
        end: For each file: position from which bytes never arrive.
        refuse: Status and headers of every answer, instead of the content.
        refuse_files: The same, for the files only.
        served: Other content than announced, by name.
        raw: Answer to every request for information, instead of the right one.
        log: Method, path and Range header of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    end: dict[str, int] = field(default_factory=dict)
    refuse: tuple[int, dict[str, str]] | None = None
    refuse_files: tuple[int, dict[str, str]] | None = None
    served: dict[str, bytes] = field(default_factory=dict)
    raw: bytes | None = None
    log: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def file_requests(self, name: str = "") -> list[tuple[str, str, str | None]]:
        return [entry for entry in self.log if "/resolve/" in entry[1] and entry[1].endswith(name)]

    def info(self, revision: str) -> bytes:
        siblings = []
        for name, content in self.files.items():
            entry: dict = {"rfilename": name, "size": self.sizes.get(name, len(content))}
            if name.endswith((".safetensors", ".bin", ".h5")):
                entry["blobId"] = "0" * 40
                entry["lfs"] = {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": entry["size"],
                    "pointerSize": 134,
                }
            else:
                entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            siblings.append(entry)
        commit = revision if re.fullmatch("[0-9a-f]{40}", revision) else COMMIT
        return json.dumps({"id": "org/name", "sha": commit, "siblings": siblings}).encode()


class Handler(BaseHTTPRequestHandler):
    stub: Stub

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, sent: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[:sent])
        self.close_connection = True

    def do_GET(self) -> None:
        stub, path = self.stub, self.path.partition("?")[0]
        asked = self.headers.get("Range")
        stub.log.append((self.command, path, asked))
        refuse = stub.refuse or (stub.refuse_files if "/resolve/" in path else None)
        if refuse is not None:
            self.answer(refuse[0], b"no", refuse[1])
        elif path.startswith("/api/models/"):
            revision = path.partition("/revision/")[2] or "main"
            self.answer(200, stub.info(revision) if stub.raw is None else stub.raw)
        else:
            name = path.rpartition("/")[2]
            content = stub.served.get(name, stub.files[name])
            first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
            headers = {"ETag": '"etag"', "X-Repo-Commit": COMMIT}
            if asked:
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            sent = None
            if stub.cuts.get(name, 0) > 0:
                stub.cuts[name] -= 1
                sent = (len(content) - first) // 2
            if name in stub.end:
                sent = max(stub.end[name] - first, 0)
            self.answer(206 if asked else 200, content[first:], headers, sent)


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub({"config.json": CONFIG, "model.safetensors": WEIGHTS})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("StubHandler", (Handler,), {"stub": stub}))
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()
    thread.join()


def environment(home: Path, endpoint: str, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "EDNABED_"))}
    return kept | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"} | more


def run(name: str, home: Path, endpoint: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, name],
        env=environment(home, endpoint, **more), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def error(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last line on stderr, which is the error sentence."""
    assert result.returncode == 1, result
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_fetch_adds_the_pinned_revision_to_the_standard_cache(stub: Stub, tmp_path: Path) -> None:
    card = find_card("nt-v2-50m")
    result = run("nt-v2-50m", tmp_path, stub.url)
    assert result.returncode == 0, result.stderr
    folder = Path(result.stdout.strip())
    repository = tmp_path / "hub" / "models--InstaDeepAI--nucleotide-transformer-v2-50m-multi-species"
    assert folder == repository / "snapshots" / str(card.revision)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG
    assert not list(repository.rglob("*.incomplete"))
    assert all(f"/resolve/{card.revision}/" in path for _, path, _ in stub.file_requests())
    # One query, two files, and no usage data.
    assert len(stub.log) == 3

    requests = len(stub.log)
    again = run("nt-v2-50m", tmp_path, stub.url, HF_HUB_OFFLINE="1")
    assert again.stdout == result.stdout
    assert len(stub.log) == requests


def test_huggingface_hub_itself_can_read_the_cache(stub: Stub, tmp_path: Path) -> None:
    assert run("org/name", tmp_path, stub.url).returncode == 0
    script = (
        "from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache as t\n"
        "print(hf_hub_download('org/name', 'model.safetensors', local_files_only=True))\n"
        "assert isinstance(t('org/name', 'config.json'), str)\n"
        "assert not scan_cache_dir().warnings and scan_cache_dir().size_on_disk > 3_000_000\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment(tmp_path, stub.url), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == WEIGHTS


def test_an_unpinned_id_keeps_the_commit_that_main_had(stub: Stub, tmp_path: Path) -> None:
    result = run("org/name", tmp_path, stub.url)
    folder = Path(result.stdout.strip())
    assert weights.revision_of(folder) == COMMIT
    assert (folder.parents[1] / "refs" / "main").read_text() == COMMIT
    assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in stub.file_requests())


def test_only_what_is_needed_is_fetched_and_never_code(stub: Stub, tmp_path: Path) -> None:
    unwanted = (
        "modeling_esm.py",
        "esm_config.py",
        "tf_model.h5",
        "flax_model.msgpack",
        "pytorch_model.bin",
        "README.md",
    )
    stub.files |= dict.fromkeys(unwanted, b"unwanted")
    folder = Path(run("org/name", tmp_path, stub.url).stdout.strip())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert len(stub.file_requests()) == 2


@pytest.mark.parametrize("form", ["safetensors shards", "bin", "bin shards"])
def test_the_other_formats_of_weights(stub: Stub, tmp_path: Path, form: str) -> None:
    del stub.files["model.safetensors"]
    names = ["pytorch_model.bin"]
    if form != "bin":
        stem, end = ("model", "safetensors") if form.startswith("safe") else ("pytorch_model", "bin")
        names = [f"{stem}-0000{i}-of-00002.{end}" for i in (1, 2)]
        index = json.dumps({"weight_map": {"a": names[0], "b": names[1]}}).encode()
        stub.files[f"{stem}.{end}.index.json"] = index
    stub.files |= {name: name.encode() for name in names}
    result = run("org/name", tmp_path, stub.url)
    assert result.returncode == 0, result.stderr
    assert all((Path(result.stdout.strip()) / name).read_bytes() == name.encode() for name in names)


def test_an_upload_without_all_its_shards_is_refused(stub: Stub, tmp_path: Path) -> None:
    del stub.files["model.safetensors"]
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    stub.files["pytorch_model.bin.index.json"] = json.dumps(index).encode()
    stub.files["pytorch_model-00001-of-00002.bin"] = b"one"
    assert "has no pytorch_model-00002-of-00002.bin on the hub" in error(run("org/name", tmp_path, stub.url))


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors"])
def test_a_repository_that_is_not_a_model(stub: Stub, tmp_path: Path, lacking: str) -> None:
    del stub.files[lacking]
    assert error(run("org/name", tmp_path, stub.url)).startswith("ModelError: org/name has no ")
    assert not stub.file_requests()


def test_a_network_of_another_kind_is_refused_before_its_weights_are_fetched(stub: Stub, tmp_path: Path) -> None:
    stub.files["config.json"] = json.dumps({"model_type": "llama"}).encode()
    assert 'model_type is "llama"' in error(run("org/name", tmp_path, stub.url))
    assert not stub.file_requests("model.safetensors")


def test_too_little_disk_space_is_reported_before_fetching(stub: Stub, tmp_path: Path) -> None:
    stub.sizes["model.safetensors"] = 10**18
    sentence = error(run("nt-v2-50m", tmp_path, stub.url))
    assert re.search(r"nt-v2-50m needs 1000000\.0 TB, but .* has [\d.]+ [TGMk]B free", sentence)
    assert str(tmp_path) in sentence
    assert "set HF_HOME" in sentence
    assert not stub.file_requests()


def test_a_broken_transfer_is_continued(stub: Stub, tmp_path: Path) -> None:
    stub.cuts["model.safetensors"] = 1
    result = run("org/name", tmp_path, stub.url)
    assert result.returncode == 0, result.stderr
    assert (Path(result.stdout.strip()) / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [asked for _, _, asked in stub.file_requests("model.safetensors")]
    assert len(ranges) == 2
    assert ranges[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d+-", ranges[1])


def test_received_data_are_kept_for_the_next_command(stub: Stub, tmp_path: Path) -> None:
    stub.end["model.safetensors"] = 2_000_000
    sentence = error(run("org/name", tmp_path, stub.url))
    assert "the transfer of model.safetensors failed after 1.8 MB of 3.0 MB" in sentence
    assert "run 'ednabed models fetch org/name' again; received data are kept" in sentence
    assert len(stub.file_requests("model.safetensors")) < 30
    repository = tmp_path / "hub" / "models--org--name"
    assert not (repository / "snapshots" / COMMIT / "model.safetensors").exists()

    stub.end.clear()
    stub.log.clear()
    result = run("org/name", tmp_path, stub.url)
    assert (Path(result.stdout.strip()) / "model.safetensors").read_bytes() == WEIGHTS
    assert [asked for _, _, asked in stub.file_requests()] == ["bytes=1835008-"]


def test_a_damaged_file_never_gets_its_final_name(stub: Stub, tmp_path: Path) -> None:
    stub.served["model.safetensors"] = bytes(len(WEIGHTS))
    assert "model.safetensors arrived damaged" in error(run("org/name", tmp_path, stub.url))
    assert not list(tmp_path.rglob("*.incomplete"))
    stub.served.clear()
    assert run("org/name", tmp_path, stub.url).returncode == 0


def test_removing_the_folder_and_fetching_again_repairs_damaged_files(stub: Stub, tmp_path: Path) -> None:
    folder = Path(run("org/name", tmp_path, stub.url).stdout.strip())
    (folder / "model.safetensors").resolve().write_bytes(bytes(len(WEIGHTS)))
    shutil.rmtree(folder)
    stub.log.clear()
    assert run("org/name", tmp_path, stub.url).returncode == 0
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(stub.file_requests()) == 1


@pytest.mark.parametrize("variable", ["NO_LINKS", "HF_HUB_DISABLE_SYMLINKS"])
def test_files_are_moved_if_links_are_not_allowed(stub: Stub, tmp_path: Path, variable: str) -> None:
    from huggingface_hub import constants

    if variable.startswith("HF_") and not hasattr(constants, variable):
        pytest.skip(f"this version of huggingface_hub does not know {variable}")
    result = run("org/name", tmp_path, stub.url, **{variable: "1"})
    weights = Path(result.stdout.strip()) / "model.safetensors"
    assert not weights.is_symlink()
    assert weights.read_bytes() == WEIGHTS
    assert sum(path.stat().st_size for path in (tmp_path / "hub").rglob("*") if path.is_file()) < 2 * len(WEIGHTS)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "does not exist; check the spelling"),
        (404, {}, "does not exist; check the spelling"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no revision 81b29e5786726d891dbf929404ef20adca5b36f1"),
        (401, {}, "does not exist or is private"),
        (401, {"X-Error-Code": "GatedRepo"}, "is gated"),
        (403, {"X-Error-Code": "GatedRepo"}, "is gated"),
        (403, {}, "is gated"),
        (429, {}, "asks to slow down (HTTP 429)"),
        (500, {}, "has a server error (HTTP 500)"),
        (503, {}, "has a server error (HTTP 503)"),
        (418, {}, "answers HTTP 418"),
    ],
)
def test_every_refusal_gives_a_sentence(
    stub: Stub, tmp_path: Path, status: int, headers: dict[str, str], expected: str
) -> None:
    stub.refuse = (status, headers)
    sentence = error(run("nt-v2-50m", tmp_path, stub.url))
    assert sentence.startswith("ModelError: ")
    assert expected in sentence
    assert not stub.file_requests()


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [(403, {"X-Error-Code": "GatedRepo"}, "is gated"), (500, {}, "failed after 0 B of")],
)
def test_refused_files_give_a_sentence_too(
    stub: Stub, tmp_path: Path, status: int, headers: dict[str, str], expected: str
) -> None:
    stub.refuse_files = (status, headers)
    assert expected in error(run("nt-v2-50m", tmp_path, stub.url))


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>log in to the guest network</html>",
        b'{"id": "org/name"}',
        b"[]",
        json.dumps({"id": "x", "sha": "../../x", "siblings": [{"rfilename": "config.json"}]}).encode(),
    ],
)
def test_an_endpoint_that_is_not_a_hub(stub: Stub, tmp_path: Path, raw: bytes) -> None:
    stub.raw = raw
    assert error(run("nt-v2-50m", tmp_path, stub.url)).startswith("ModelError: ")
    assert not stub.file_requests()


def test_without_network_the_manual_steps_are_stated(tmp_path: Path) -> None:
    sentence = error(run("nt-v2-50m", tmp_path, "http://127.0.0.1:9"))
    for part in ("cannot reach http://127.0.0.1:9", "config.json", "model.safetensors", "EDNABED_MODELS", "`model`",
                 "81b29e5786726d891dbf929404ef20adca5b36f1", str(tmp_path)):  # fmt: skip
        assert part in sentence


def test_offline_mode_sends_no_request(stub: Stub, tmp_path: Path) -> None:
    carried = tmp_path / "carried"
    sentence = error(run("nt-v2-50m", tmp_path, stub.url, HF_HUB_OFFLINE="1", EDNABED_MODELS=str(carried)))
    assert "HF_HUB_OFFLINE is set" in sentence
    assert str(carried / "nt-v2-50m") in sentence
    assert not stub.log


def test_a_model_without_weights_has_nothing_to_fetch() -> None:
    with pytest.raises(UsageError, match="kmer6 has no weights"):
        hub.fetch(find_card("kmer6"))
    assert weights.local_folder(find_card("kmer6")) is None


def test_a_fetched_checkpoint_loads(stub: Stub, tmp_path: Path, shared: Path) -> None:
    names = ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors")
    stub.files = {name: (shared / "golden" / "nt_tiny" / "v2" / name).read_bytes() for name in names}
    script = (
        "import sys\n"
        "from ednabed.cli.models import models\n"
        "from ednabed.models.load import load_encoder\n"
        "models(['fetch', 'org/name'], standalone_mode=False)\n"
        "encoder = load_encoder('org/name')\n"
        "print(encoder.name, encoder.dimension, encoder.revision)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment(tmp_path, stub.url), capture_output=True, text=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == f"org/name 64 {COMMIT}", result.stderr


@given(st.text(max_size=60) | st.from_regex(r"[\w.\-/:\\~]{1,40}", fullmatch=True))
def test_a_hub_id_is_two_plain_names(text: str) -> None:
    if hub.is_hub_id(text):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", text)
        assert weights.cache_folder(hub.hub_card(text)).name == f"models--{text.replace('/', '--')}"
        assert ".." not in text
    else:
        with pytest.raises(UsageError, match="is not a hub id"):
            hub.hub_card(text)
