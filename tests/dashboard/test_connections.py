"""Connections that send no request, too many connections, and too large requests, with a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

uvicorn = pytest.importorskip("uvicorn")

from ednabed.dashboard import connections  # noqa: E402
from ednabed.dashboard.gate import Gate  # noqa: E402

HEAD = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"


async def application(scope, receive, send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(1.0)
        await send({"type": "websocket.send", "text": "inside"})
    if scope["type"] == "http":
        if scope["path"] == "/slow":
            await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"inside"})


@pytest.fixture
def port(monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    gate = Gate(application, host="127.0.0.1", token=None, max_body=1_000_000)
    config = uvicorn.Config(gate, http=connections.LimitedProtocol, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(20)


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.settimeout(10)
    return made


def answer(made: socket.socket) -> bytes:
    """The data received until the other side closes the connection, or a complete small answer."""
    found = b""
    try:
        while b"inside" not in found and (data := made.recv(65536)):
            found += data
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD, HEAD + b"\r\n"])
def test_the_head_of_a_request_must_arrive_in_time(port, sent):
    with connect(port) as made:
        began = time.monotonic()
        made.sendall(sent)
        if sent.endswith(b"\r\n\r\n"):
            assert answer(made).startswith(b"HTTP/1.1 200")
            # The second request on the same connection is watched like the first.
            made.sendall(b"GET / HT")
        assert answer(made) == b"" and time.monotonic() - began < 5


def test_drops_do_not_keep_a_connection_open(port):
    with connect(port) as made:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 8:
                made.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_an_answer_may_take_its_time(port):
    with connect(port) as made:
        made.sendall(HEAD.replace(b"/ ", b"/slow ") + b"\r\n")
        assert answer(made).endswith(b"inside")


def test_a_websocket_may_be_silent(port):
    pytest.importorskip("websockets")
    with connect(port) as made:
        made.sendall(
            HEAD + b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        found = answer(made)
        assert found.startswith(b"HTTP/1.1 101") and found.endswith(b"inside")


def test_connections_above_the_limit_are_closed_and_room_comes_back(port):
    with ExitStack() as stack:
        made = [stack.enter_context(connect(port)) for _ in range(30)]
        time.sleep(0.2)
        for one in made[8:]:
            assert answer(one) == b""
    time.sleep(0.2)
    with connect(port) as made_later:
        made_later.sendall(HEAD + b"\r\n")
        assert answer(made_later).endswith(b"inside")


def test_a_large_upload_is_refused_before_it_is_sent(port):
    with connect(port) as made:
        made.sendall(HEAD.replace(b"GET", b"PUT") + b"content-length: 5000000000\r\n\r\n" + b"x" * 1000)
        assert answer(made).startswith(b"HTTP/1.1 413")
