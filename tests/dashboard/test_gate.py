"""The gate without a server: hand-made requests to a small application that records what came through."""

from __future__ import annotations

import asyncio
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ednabed.dashboard.gate import ENTER, POLICY, Gate, is_loopback

TOKEN = "a-long-token-of-ours"
OWN = "127.0.0.1:8501"
HEADERS = {b"content-security-policy": POLICY.encode(), b"x-content-type-options": b"nosniff",
           b"referrer-policy": b"same-origin"}  # fmt: skip


class Application:
    """Answers every request and records it."""

    def __init__(self) -> None:
        self.asked: list[dict] = []

    async def __call__(self, scope, receive, send) -> None:
        self.asked.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": []})
        elif scope["type"] == "http":
            headers = [(b"content-type", b"text/plain"), (b"Content-Security-Policy", b"default-src *")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"inside"})
        else:
            await send({"type": "lifespan.startup.complete"})


class Answer:
    """The response."""

    def __init__(self, messages: list[dict], reads: int) -> None:
        self.messages, self.reads = messages, reads
        self.kind = messages[0]["type"]
        self.status = messages[0].get("status")
        self.pairs = messages[0].get("headers", [])
        self.headers = {name.lower(): value for name, value in self.pairs}
        self.body = b"".join(message.get("body", b"") for message in messages)

    @property
    def cookie(self) -> str:
        return self.headers[b"set-cookie"].decode()


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """A wrong token causes no wait here."""
    monkeypatch.setattr("ednabed.dashboard.gate._WRONG_SECONDS", 0)


def gate(token: str | None = None, host: str = "127.0.0.1") -> tuple[Gate, Application]:
    app = Application()
    return Gate(app, host=host, token=token), app


def ask(
    target: Gate,
    path: str = "/",
    *,
    host: str | None = OWN,
    method: str = "GET",
    kind: str = "http",
    headers: dict[str, str] | None = None,
    body: list[bytes] | None = None,
    port: int = 8501,
    query: str = "",
    client: str = "127.0.0.1",
) -> Answer:
    """Send one request, its body in pieces."""
    given_ = {} if host is None else {"Host": host}
    given_ |= headers or {}
    scope: dict[str, Any] = {
        "type": kind, "path": path, "headers": [(n.encode(), v.encode("latin-1")) for n, v in given_.items()],
        "server": ("127.0.0.1", port), "query_string": query.encode(), "client": (client, 50_000),
    }  # fmt: skip
    if kind == "http":
        scope["method"] = method
    pieces = list(body or [b""])
    sent: list[dict] = []
    reads = 0

    async def receive() -> dict:
        nonlocal reads
        reads += 1
        assert reads <= len(pieces), "read on after the end"
        return {"type": "http.request", "body": pieces[reads - 1], "more_body": reads < len(pieces)}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(target(scope, receive, send))
    return Answer(sent, reads)


def enter(target: Gate, token: str, **more: Any) -> Answer:
    return ask(target, ENTER, method="POST", body=[urlencode({"token": token}).encode()], **more)


def cookie_of(target: Gate, **more: Any) -> str:
    return enter(target, TOKEN, **more).cookie.split(";")[0]


# -- this machine only -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8501", "localhost", "localhost:8501", "LOCALHOST:8501", "[::1]", "[::1]:8501",
     "127.1.2.3:1"],
)  # fmt: skip
@pytest.mark.parametrize("listening", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_own_names_are_answered(host, listening, kind):
    target, app = gate(host=listening)
    answer = ask(target, "/map", host=host, kind=kind)
    assert len(app.asked) == 1
    assert answer.kind == ("websocket.accept" if kind == "websocket" else "http.response.start")
    # A page of the same name may ask.
    ask(target, host=host, kind=kind, headers={"Origin": f"http://{host}"})
    assert len(app.asked) == 2


@pytest.mark.parametrize(
    "host",
    ["example.org", "example.org:8501", "127.0.0.1.example.org", "localhost.example.org", "10.0.0.5:8501", "0.0.0.0",
     "192.168.1.2", "[::2]:8501", "", None, "[", "[::1", "[x]", "]", "::1", "127.0.0.1@example.org", "/", "ä",
     "example.org:127.0.0.1", " ", "127.0.0.1.", "2130706433"],
)  # fmt: skip
@pytest.mark.parametrize("token", [None, TOKEN])
def test_foreign_names_are_refused(host, token):
    """A name that an attacker resolves to 127.0.0.1 is still refused."""
    target, app = gate(token)
    for path in ("/", "/_stcore/health", ENTER):
        answer = ask(target, path, host=host)
        assert (answer.status, app.asked) == (403, [])
        assert b"own address only" in answer.body
        assert answer.headers[b"content-type"].startswith(b"text/plain")
    answer = ask(target, host=host, kind="websocket")
    assert (answer.kind, app.asked) == ("websocket.close", [])


@pytest.mark.parametrize(
    "origin",
    ["http://example.org", "https://example.org:8501", "null", "", "http://127.0.0.1:9999", "http://localhost:8501",
     "http://127.0.0.1", "http://127.0.0.1:8501.example.org", "file://", "http://[", "http://[::1", "x",
     "http://127.0.0.1:8501@example.org"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_pages_of_other_sites_are_refused(origin, kind):
    for token in (None, TOKEN):
        target, app = gate(token)
        answer = ask(target, kind=kind, headers={"Origin": origin})
        assert app.asked == []
        assert answer.kind == "websocket.close" if kind == "websocket" else answer.status == 403
        if token is not None:
            held = {"Cookie": cookie_of(target), "Origin": origin}
            ask(target, kind=kind, headers=held)
            assert app.asked == [], "with the cookie too"
            assert enter(target, TOKEN, headers={"Origin": origin}).status == 403


@given(st.text(st.characters(max_codepoint=255), max_size=20), st.text(st.characters(max_codepoint=255), max_size=20))
def test_no_header_breaks_the_gate(host, origin):
    target, app = gate()
    answer = ask(target, host=host, headers={"Origin": origin})
    assert (answer.status == 200) == bool(app.asked)
    assert answer.status in (200, 403)


def test_what_is_not_a_request_goes_through():
    target, app = gate(TOKEN)
    assert ask(target, kind="lifespan").kind == "lifespan.startup.complete"
    assert len(app.asked) == 1


# -- headers -----------------------------------------------------------------------------------------------------------


def test_our_headers_are_added_and_replace_others():
    target, _ = gate()
    answer = ask(target)
    assert answer.body == b"inside"
    assert [name for name, _ in answer.pairs if name.lower() == b"content-security-policy"] == [
        b"content-security-policy"
    ]
    assert HEADERS.items() <= answer.headers.items()
    assert answer.headers[b"content-type"] == b"text/plain"


def test_our_own_answers_have_them_too():
    target, _ = gate(TOKEN)
    for answer in (ask(target), ask(target, host="x"), ask(target, "/x"), enter(target, "no"), enter(target, TOKEN)):
        assert HEADERS.items() <= answer.headers.items()
        assert answer.headers[b"cache-control"] == b"no-store"


def test_the_policy_names_no_other_host():
    for rule in POLICY.split("; "):
        assert set(rule.split()[1:]) <= {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "blob:", "data:"}
    assert "default-src 'self'" in POLICY and "frame-ancestors 'none'" in POLICY


# -- token -------------------------------------------------------------------------------------------------------------


class Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}

    def handle_starttag(self, tag, attrs):
        self.found.setdefault(tag, dict(attrs))


PAGE = {"Accept": "text/html,application/xhtml+xml"}


def form_of(answer: Answer) -> dict[str, dict[str, str | None]]:
    form = Form()
    form.feed(answer.body.decode())
    return form.found


def test_without_the_cookie_there_is_only_the_form():
    target, app = gate(TOKEN)
    for path in ("/", "/map", "/identify", "/_stcore/stream", "//", ""):
        answer = ask(target, path, headers=PAGE)
        assert answer.status == 401
        form = form_of(answer)
        assert form["form"]["method"] == "post"
        assert form["form"]["action"].startswith(f"{ENTER}?to=")
        assert (form["input"]["type"], form["input"]["name"]) == ("password", "token")
        for method, headers in (("GET", {}), ("HEAD", PAGE), ("PUT", PAGE), ("POST", PAGE)):
            answer = ask(target, path, method=method, headers=headers)
            assert (answer.status, b"<form" in answer.body) == (401, False)
            assert TOKEN.encode() not in answer.body
    assert app.asked == []


@pytest.mark.parametrize(
    ("query", "to"),
    [("", "/"), ("to=/map?job=7", "/map?job=7"), ("to=%2Fmap%3Fjob%3D7", "/map?job=7"), ("to=//evil.example", "/"),
     ("to=/%5Cevil.example", "/"), ("to=http://evil.example", "/"), ("to=/a%0d%0aSet-Cookie:x", "/"), ("to=", "/"),
     ("to=/%C3%A4", "/")],
)  # fmt: skip
def test_the_token_leads_to_the_requested_page_and_nowhere_else(query, to):
    target, app = gate(TOKEN)
    answer = ask(target, ENTER, method="POST", query=query, body=[urlencode({"token": TOKEN}).encode()])
    assert (answer.status, answer.headers[b"location"]) == (303, to.encode())
    assert app.asked == []


def test_the_requested_page_is_in_the_form():
    target, _ = gate(TOKEN)
    answer = ask(target, "/identify", query='job=1"><script>', headers=PAGE)
    action = form_of(answer)["form"]["action"]
    assert b"<script" not in answer.body
    path, _, query = str(action).partition("?")
    again = ask(target, path, method="POST", query=query, body=[urlencode({"token": TOKEN}).encode()])
    assert again.headers[b"location"] == b'/identify?job=1"><script>'


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é\x00", " ", TOKEN[::-1]])
def test_a_wrong_token(wrong):
    target, app = gate(TOKEN)
    answer = enter(target, wrong)
    assert answer.status == 401
    assert b"This token is wrong" in answer.body and b"<form" in answer.body
    assert b"set-cookie" not in answer.headers
    # The response does not contain what was typed.
    assert wrong.strip() == "" or wrong.encode() not in answer.body or wrong == "x"
    assert app.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token",
        b"other=1",
        b"token=",
        b"\xff\xfe=\xff",
        b"%%%",
        b"token=%ff",
        TOKEN.encode(),
        b"Token=" + TOKEN.encode(),
    ],
)
def test_bodies_that_are_not_a_form(body):
    target, app = gate(TOKEN)
    assert ask(target, ENTER, method="POST", body=[body]).status == 401
    assert app.asked == []


@pytest.mark.parametrize("host", [OWN, "localhost:8501", "[::1]:8501"])
def test_the_right_token_opens_the_page(host):
    target, app = gate(TOKEN)
    answer = enter(target, f" {TOKEN} ", host=host, headers={"Origin": f"http://{host}"})
    assert (answer.status, answer.headers[b"location"], answer.body) == (303, b"/", b"")
    name, *attributes = answer.cookie.split("; ")
    assert set(attributes) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert TOKEN not in answer.cookie
    assert app.asked == []
    for held in (name, f"other=1; {name}", f"{name};x=y", f"a=b;{name}"):
        for path in ("/", "/map", "/_stcore/stream"):
            for kind in ("http", "websocket"):
                app.asked.clear()
                ask(target, path, host=host, kind=kind, headers={"Cookie": held})
                assert len(app.asked) == 1, (held, path, kind)
    assert ask(target, headers={"cookie": name}).body == b"inside"
    # The address of the form, visited again, leads to the page.
    assert ask(target, ENTER, host=host, headers={"Cookie": name}).headers[b"location"] == b"/"


def test_in_pieces():
    target, _ = gate(TOKEN)
    body = urlencode({"token": TOKEN}).encode()
    answer = ask(target, ENTER, method="POST", body=[body[i : i + 3] for i in range(0, len(body), 3)])
    assert answer.status == 303


def test_a_long_form_is_not_read_to_its_end():
    target, app = gate(TOKEN)
    pieces = [b"x" * 1000] * 1000 + [b"&token=" + TOKEN.encode()]
    answer = ask(target, ENTER, method="POST", body=pieces)
    assert answer.status == 401
    assert answer.reads <= 6
    # Nor is a form read whose token comes late.
    assert ask(target, ENTER, method="POST", body=[b"x=" + b"y" * 5000 + b"&token=" + TOKEN.encode()]).status == 401
    assert app.asked == []


def test_a_request_that_ends_early():
    target, _ = gate(TOKEN)
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "path": ENTER, "method": "POST", "headers": [(b"host", OWN.encode())], "server": None}
    asyncio.run(target(scope, receive, send))
    assert sent[0]["status"] == 401


def test_cookies_that_are_refused():
    target, app = gate(TOKEN)
    name, _, value = cookie_of(target).partition("=")
    other = cookie_of(gate(TOKEN)[0])
    port = cookie_of(target, port=8502)
    assert other.partition("=")[0] == name and other != f"{name}={value}", "each process has its own"
    assert port == f"ednabed_8502={value}", "pages of two ports on one machine do not take each other's"
    for held in (
        "", name, f"{name}=", f"{name}={TOKEN}", f"{name}={value}x", f"{name}={value[:-1]}", f"{name}={value.upper()}",
        f"x{name}={value}", f"ednabed={value}", value, other, f"{name}=\xe9", f"{name} = {value}", port,
    ):  # fmt: skip
        for kind in ("http", "websocket"):
            answer = ask(target, kind=kind, headers={"Cookie": held})
            assert app.asked == [], held
            assert answer.kind == "websocket.close" if kind == "websocket" else answer.status == 401


def test_the_websocket_needs_the_cookie():
    target, app = gate(TOKEN)
    answer = ask(target, "/_stcore/stream", kind="websocket", headers={"Origin": f"http://{OWN}"})
    assert (answer.kind, answer.messages[0]["code"], app.asked) == ("websocket.close", 1008, [])
    held = {"Cookie": cookie_of(target), "Origin": f"http://{OWN}"}
    assert ask(target, "/_stcore/stream", kind="websocket", headers=held).kind == "websocket.accept"


# -- other machines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", "", "127.0.0.1.example.org"])
def test_other_machines_need_a_token(host):
    with pytest.raises(ValueError, match="it needs a token"):
        gate(None, host)
    target, app = gate(TOKEN, host)
    # Under any name, but with the token.
    for name in ("lab.example.org:8501", "10.0.0.5", OWN):
        assert ask(target, host=name).status == 401
        held = {"Cookie": cookie_of(target, host=name), "Origin": f"https://{name}"}
        assert ask(target, host=name, headers=held).status == 200
        assert ask(target, host=name, headers={**held, "Origin": "https://evil.example"}).status == 403
    assert len(app.asked) == 3
    # A request without a host cannot prove that it comes from the page.
    assert ask(target, host=None, headers={"Origin": "null"}).status == 403


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_loopback(host):
    assert is_loopback(host)
    gate(None, host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.", "localhost.example.org", "127.1", "1",
                                  "::2", "example.org", "[", "\x00"])  # fmt: skip
def test_not_loopback(host):
    assert not is_loopback(host)


def test_wrong_tokens_close_the_door_for_longer_and_longer(monkeypatch):
    monkeypatch.setattr("ednabed.dashboard.gate._WRONG_SECONDS", 0.5)
    now = [1000.0]
    monkeypatch.setattr("ednabed.dashboard.gate.time.monotonic", lambda: now[0])
    target, app = gate(TOKEN)
    waits = []
    for _ in range(10):
        assert enter(target, "wrong" * 3).status == 401
        # Until then not even the right one is checked, or parallel attempts would get around the wait.
        began = now[0]
        while (answer := enter(target, TOKEN[:-1] + "!")).status == 429:
            assert int(answer.headers[b"retry-after"]) >= 1 and b"Too many wrong tokens" in answer.body
            assert enter(target, TOKEN).status == 429
            now[0] += 0.25
        waits.append(now[0] - began)
        now[0] += 100
    assert waits[:4] == [0.5, 2.0, 8.0, 32.0] and max(waits) == 60.0
    now[0] += 100
    assert enter(target, TOKEN).status == 303
    assert enter(target, "wrong" * 3).status == 401
    now[0] += 0.5
    assert enter(target, TOKEN).status == 303, "the right one forgets the wrong ones"
    assert app.asked == []


def test_other_addresses_do_not_wait(monkeypatch):
    monkeypatch.setattr("ednabed.dashboard.gate._WRONG_SECONDS", 30)
    target, _ = gate(TOKEN, "0.0.0.0")
    own = {"host": "lab.example.org"}
    assert enter(target, "wrong" * 3, client="192.0.2.1", **own).status == 401
    assert enter(target, TOKEN, client="192.0.2.1", **own).status == 429
    assert enter(target, TOKEN, client="192.0.2.2", **own).status == 303
    assert enter(target, "wrong" * 3, client="2001:db8::1", **own).status == 401
    assert enter(target, TOKEN, client="2001:db8::2", **own).status == 429, "of one network"
    for number in range(1_100):
        enter(target, "wrong" * 3, client=f"198.51.{number // 250}.{number % 250}", **own)
    assert len(target._wrong) == 1_000


def test_a_too_large_request_is_refused_before_it_is_read():
    app = Application()
    target = Gate(app, host="127.0.0.1", token=None, max_body=1000)
    answer = ask(target, "/_stcore/upload_file/a/b", method="PUT", headers={"Content-Length": "1001"})
    assert (answer.status, answer.reads) == (413, 0) and b"--max-upload" in answer.body and app.asked == []
    for size in ("1000", "", "x", "-5"):
        assert ask(target, method="PUT", headers={"Content-Length": size}).status == 200
    assert ask(target, method="PUT", headers={"Content-Length": "9" * 400}).status == 413


def test_a_form_that_does_not_arrive(monkeypatch):
    monkeypatch.setattr("ednabed.dashboard.gate._FORM_SECONDS", 0.05)
    target, _ = gate(TOKEN)
    sent = []

    async def receive() -> dict:
        await asyncio.sleep(30)
        raise AssertionError

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "path": ENTER, "method": "POST", "headers": [(b"host", OWN.encode())], "query_string": b""}
    asyncio.run(target(scope, receive, send))
    assert sent[0]["status"] == 408
