"""Misuse of the page: hostile names, files and requests do no harm."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
from urllib.parse import urlencode, urlsplit

import pytest

from browser_support import Served, cells, choose, rest, saved, unfold, until, upload
from ednabed.dashboard.jobs import Jobs
from support import ednabed

EVIL = "<img/src=x/onerror=document.title='owned'><script>document.title='owned'</script>"
FORMULA = '=HYPERLINK("http://evil.example","x")'
LETTERS = "CACCGCGGTTATACGAGAGGCCCAAGTTGAAAGACATCGGCGTAAAGAGTGGTTAAGTAAAAACTAAACTAAAGTCGAACATCTTCAAGGCTGTT"


def ask(address, path="/", method="GET", body=None, **headers):
    """One request by hand; returns status, headers and text."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode("utf-8", "replace")
    connection.close()
    return found


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A workspace whose names are an attack: ids, samples, lineages; and a broken run."""
    workspace = tmp_path_factory.mktemp("evil")
    file = workspace / "evil.tsv"
    lines = ["id\tsequence\tsample\tabundance\tkingdom\tphylum\tclass\torder\tfamily\tgenus\tspecies"]
    for number in range(12):
        letters = LETTERS[number:] + "ACGT" * number
        lineage = ["Animalia", EVIL, "c", "o", "f", FORMULA, f"{FORMULA} {number}"]
        lines.append("\t".join([f"{EVIL if number % 2 else FORMULA}{number}", letters, EVIL, "3", *lineage]))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for step in (("embed", file, "--dataset", "evil"), ("consolidate", "--no-calibrate"), ("reference", "map")):
        done = ednabed("--workspace", workspace, *step, cwd=workspace)
        assert done.returncode == 0, done.stderr.decode()
    good = next((workspace / "consolidated_data" / "runs" / "evil").iterdir())
    shutil.copytree(good, good.with_name("2020-01-01_00-00-00"))
    (good.with_name("2020-01-01_00-00-00") / "run.json").write_text("{", encoding="utf-8")
    return workspace


@pytest.fixture(scope="module")
def served(evil):
    """The page of that workspace, with a small limit of uploads."""
    page = Served(evil, "--max-upload", "1")
    yield page
    page.close()


def test_names_that_are_html_or_formulas_do_nothing_on_any_page(visit, tmp_path):
    page = visit()
    page.get_by_text("is broken").wait_for()
    until(lambda: "broken" in cells(page))
    for path in ("map", "search", "identify", "discover"):
        other = visit(path)
        rest(other)
        assert other.get_by_test_id("stException").count() == 0
    page = visit("map")
    page.locator(".js-plotly-plot").wait_for()
    choose(page, "Colour by", "phylum")
    page.locator(".legendtext", has_text="<img/src=x").wait_for()
    page = visit("search")
    page.get_by_label("Sequence", exact=True).fill(LETTERS)
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_text("nearest sequences").wait_for()
    until(lambda: any(cell.startswith("'=HYPERLINK") for cell in cells(page)))
    assert not any(cell.startswith("=") for cell in cells(page))
    rest(page)
    assert page.title() == "ednabed"
    assert page.locator("img[src='x']").count() == 0
    for line in saved(page, "TSV", tmp_path).read_text(encoding="utf-8").splitlines():
        assert not any(cell.startswith("=") for cell in line.split("\t"))
    assert json.loads(saved(page, "JSON", tmp_path).read_text(encoding="utf-8"))["results"]


def test_a_broken_file_is_reported_before_a_job_starts_and_leaves_nothing(visit, served, tmp_path):
    page = visit()
    broken = tmp_path / "br<b>oken.fasta.gz"
    broken.write_bytes(gzip.compress(b">a\n" + LETTERS.encode() + b"\n")[:-9])
    upload(page, "Sequence files", broken)
    page.get_by_label("Name of the dataset").fill("broken")
    page.get_by_role("button", name="Embed", exact=True).click()
    page.get_by_test_id("stAlert").filter(has_text="br<b>oken.fasta.gz").wait_for()
    assert list(Jobs(served.workspace).list()) == []
    assert not list((served.workspace / "data" / "jobs").glob("*/inputs/*"))
    for name in ("../up", "con", "a/b", ""):
        page.get_by_label("Name of the dataset").fill(name)
        page.get_by_role("button", name="Embed", exact=True).click()
        rest(page)
        page.get_by_test_id("stAlert").filter(has_text="name").last.wait_for()
    assert not list((served.workspace / "data" / "jobs").glob("*/inputs/*"))


@pytest.mark.parametrize(
    "name",
    ["www.evil.example.fasta", "http;evil.example.fasta", "a -> b.fasta", "me@evil.example.fasta", ":smile:.fasta",
     "$x^2$ [a](b) ~a~.fasta", "2 >= 1 -- x.fasta", ":red[a] _b_ **c**.fasta"],
)  # fmt: skip
def test_a_name_in_a_message_is_shown_literally(visit, tmp_path, name):
    page = visit("identify")
    # There is no calibrated reference here, but a file can be tried.
    unfold(page, "Identify sequences")
    (tmp_path / name).write_bytes(b"no sequences at all")
    upload(page, "Sequence files", tmp_path / name)
    page.get_by_role("button", name="Identify", exact=True).click()
    alert = page.get_by_test_id("stAlert").filter(has_text="fasta")
    alert.wait_for()
    assert name in alert.inner_text().replace("\u2060", "")
    assert alert.locator("a, img, em, strong, code, .katex").count() == 0


def test_an_upload_above_the_limit_is_refused(visit, served, tmp_path):
    page = visit("search")
    large = tmp_path / "large.fasta"
    large.write_bytes(b">a\n" + b"ACGT" * 400_000)
    box = page.get_by_test_id("stFileUploader")
    box.locator("input[type=file]").set_input_files(large)
    box.get_by_text("must be 1.0MB or smaller").wait_for()


def test_an_upload_may_be_called_anything(visit, served, tmp_path):
    named = tmp_path / "%2e%2e%2f..passwd;rm -rf $(x) ünï.fasta"
    named.write_text(f">a\n{LETTERS}\n", encoding="utf-8")
    page = visit()
    upload(page, "Sequence files", named)
    page.get_by_label("Name of the dataset").fill("odd")
    page.get_by_role("button", name="Embed", exact=True).click()
    until(lambda: [job.state for job in Jobs(served.workspace).list()] == ["done"])
    job = Jobs(served.workspace).list()[0]
    assert [path.name for path in (job.folder / "inputs").iterdir()] == ["1_2e_2e_2f..passwd_rm_-rf_x_n_.fasta"]


def test_only_its_own_pages_may_ask_it(served):
    assert ask(served.address)[0] == 200
    assert ask(served.address, Host="evil.example")[0] == 403
    assert ask(served.address, Host="127.0.0.1.evil.example")[0] == 403
    assert ask(served.address, Origin="http://evil.example")[0] == 403
    assert ask(served.address, Origin="null")[0] == 403
    headers = ask(served.address)[1]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    path = "/_stcore/stream"
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert ask(served.address, path, **upgrade, **key, Origin="http://evil.example")[0] == 403
    assert ask(served.address, "/_stcore/upload_file/x/y", "PUT", b"x", Origin="http://evil.example")[0] == 403
    for path in ("/../pyproject.toml", "/static/../../settings.py", "/media/../../etc/passwd"):
        assert "[project]" not in ask(served.address, path)[2]


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_token_is_asked_for(chromium, evil, tmp_path, way):
    token = "correct horse battery"
    options = ["--host", "0.0.0.0"] + (["--token", token] if way == "option" else [])
    page = Served(evil, *options, env={"EDNABED_TOKEN": token} if way == "variable" else None)
    try:
        status, _, text = ask(page.address, Accept="text/html")
        assert status == 401 and "Enter the token" in text and token not in text
        assert ask(page.address, "/_stcore/health")[0] == 401
        assert ask(page.address, "/_stcore/upload_file/x/y", "PUT", b"x" * 100)[0] == 401
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        assert ask(page.address, "/enter", "POST", urlencode({"token": "wrong horse battery"}), **form)[0] == 401
        visitor = chromium.new_page()
        visitor.goto(f"{page.address}/search?reference=x")
        visitor.get_by_label("Token").fill(token)
        visitor.get_by_role("button", name="Enter").click()
        visitor.get_by_role("heading", name="Search").wait_for()
        assert token not in visitor.url
        assert "/search" in visitor.url
        visitor.close()
    finally:
        page.close()


def test_another_host_needs_a_token(evil):
    done = ednabed("--workspace", evil, "dashboard", "--host", "0.0.0.0", "--port", "0", cwd=evil)
    assert done.returncode == 2
    assert b"--host 0.0.0.0 makes the page reachable from other machines; give --token too" in done.stderr
    done = ednabed("--workspace", evil, "dashboard", "--token", "short", "--port", "0", cwd=evil)
    assert done.returncode == 2
    assert b"expected at least 12" in done.stderr


def test_a_port_that_is_taken_and_a_workspace_that_does_not_exist_are_reported(served, evil, tmp_path):
    port = str(urlsplit(served.address).port)
    done = ednabed("--workspace", evil, "dashboard", "--port", port, cwd=evil)
    assert done.returncode == 1 and b"is not available" in done.stderr
    done = ednabed("--workspace", tmp_path / "absent", "dashboard", "--port", "0", cwd=evil)
    assert done.returncode == 1 and b"is not a folder" in done.stderr
