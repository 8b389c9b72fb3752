"""Access control: requests must name this host, come from its own pages and carry the token if one is required.

Every web site that the user has open can send requests to a page on this machine. So each request is checked for two
things besides the token: ``Host`` must be a name of this server (against names that an attacker resolves to
127.0.0.1), and ``Origin``, if the browser sends it, must be the page itself (against requests from other sites,
including uploads and the websocket). The browser keeps the token as a cookie that only this server can create.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_TOKEN_LENGTH = 12
"""Minimum number of characters in a token."""
ENTER = "/enter"
"""Path to which the token form is sent."""
_MAX_FORM_BYTES = 4_096
_FORM_SECONDS = 10.0
_WRONG_SECONDS = 0.5
"""Time in seconds after the first wrong token during which no other is checked; each further one doubles it."""
_MAX_WRONG_SECONDS = 60.0
_MAX_ADDRESSES = 1_000
# Plotly generates its WebGL programs at run time (unsafe-eval), and styles are inline. Nothing may be loaded from, or
# sent to, any other server.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# With "no-referrer", browsers would send "null" as the origin of the token form.
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>ednabed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 24em; padding: 0 1em; }}
input, button {{ font: inherit; padding: 0.4em; width: 100%; box-sizing: border-box; margin-top: 0.6em; }}
.wrong {{ color: #a33c00; }}</style></head>
<body><h1>ednabed</h1><p>Enter the token with which this page was started.</p>{wrong}
<form method="post" action="{action}"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus>
<button>Enter</button></form></body></html>
"""


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Gate:
    """ASGI middleware that passes on only permitted requests.

    Args:
        app: The application behind the gate.
        host: The address that the server listens on. On a loopback address, only requests for loopback names are
            answered; on any other address, requests for every name are, so a token is required.
        token: The token that visitors must enter; None requires none.
        max_body: Maximum size that a request may announce, in bytes; a larger one is refused before it is read. None
            sets no limit.

    Raises:
        ValueError: Other machines could get in without a token.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None, max_body: int | None = None) -> None:
        self._app = app
        self._max_body = max_body
        # Address to the number of consecutive wrong tokens and the time until which no other is checked.
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._local = is_loopback(host)
        if token is None and not self._local:
            raise ValueError(f"{host} can be reached from other machines; it needs a token")
        self._token = token
        # Specific to this process, so that a cookie reveals nothing about the token and expires with the server.
        self._secret = secrets.token_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reason = self._refusal(headers)
        if reason is not None:
            await _refuse(scope, send, 403, reason)
        elif self._token is not None and scope["type"] == "http" and scope["path"] == ENTER:
            await self._enter(scope, receive, send)
        elif self._token is not None and not self._holds_cookie(scope, headers):
            await self._ask(scope, headers, send)
        elif self._is_too_large(headers):
            await _refuse(scope, send, 413, "this is larger than 'ednabed dashboard --max-upload MIB' allows")
        else:
            await self._app(scope, receive, _with_headers(send))

    def _is_too_large(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request announces too large a body; Streamlit itself limits bodies of unannounced size."""
        size = headers.get("content-length", "")
        return self._max_body is not None and size.isdecimal() and int(size[:20]) > self._max_body

    def _refusal(self, headers: Mapping[str, str]) -> str | None:
        """Return why a request is refused; None if it is permitted."""
        host = headers.get("host", "")
        if self._local and not is_loopback(_host(f"//{host}")[0]):
            return "this page answers at its own address only (127.0.0.1 or localhost)"
        origin = headers.get("origin")
        if origin is not None and (not host or _host(origin)[1] != host.lower()):
            return "this request comes from a page of another site"
        return None

    def _cookie(self, scope: Scope) -> tuple[str, str]:
        """Return the name and value of the cookie; browsers share cookies between ports, so the name has the port."""
        port = (scope.get("server") or ("", 0))[1]
        value = hmac.new(self._secret, str(self._token).encode(), hashlib.sha256).hexdigest()
        return f"ednabed_{port}", value

    def _holds_cookie(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        name, value = self._cookie(scope)
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(key == name and hmac.compare_digest(held.encode(), value.encode()) for key, _, held in pairs)

    async def _ask(self, scope: Scope, headers: Mapping[str, str], send: Send) -> None:
        """Send the token form instead of a page; refuse all other requests."""
        if scope["type"] == "websocket" or scope["method"] != "GET" or "text/html" not in headers.get("accept", ""):
            await _refuse(scope, send, 401, "this page requires a token; open it in a browser")
            return
        query = scope.get("query_string", b"").decode("latin-1")
        await _answer(send, 401, _page("", scope["path"] + (f"?{query}" if query else "")))

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process the form: redirect to the requested page if the token is right."""
        requested = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("to", ["/"])[0]
        # A path on this server; two slashes, or a backslash that some browsers read as one, would mean another host.
        to = requested if re.fullmatch(r"/(?![/\\])[!-~]*", requested) else "/"
        if scope["method"] != "POST":
            await _answer(send, 303, b"", [(b"location", b"/")])
            return
        try:
            body = await asyncio.wait_for(_body(receive), _FORM_SECONDS)
        except TimeoutError:
            await _answer(send, 408, _page("<p class='wrong'>The form did not arrive in time.</p>", to))
            return
        address = _network(scope)
        count, closed_until = self._wrong.get(address, (0, 0.0))
        wait = closed_until - time.monotonic()
        if wait > 0:
            # Not even the right token is checked, or else parallel attempts would get around the wait.
            retry_after = [(b"retry-after", str(math.ceil(wait)).encode())]
            wrong = f"<p class='wrong'>Too many wrong tokens. Try again in {math.ceil(wait)} s.</p>"
            await _answer(send, 429, _page(wrong, to), retry_after)
            return
        form = parse_qs(body.decode("utf-8", "replace"))
        given = form.get("token", [""])[0].strip()
        if hmac.compare_digest(given.encode(), str(self._token).encode()):
            self._wrong.pop(address, None)
            name, value = self._cookie(scope)
            cookie = f"{name}={value}; HttpOnly; SameSite=Strict; Path=/"
            await _answer(send, 303, b"", [(b"location", to.encode()), (b"set-cookie", cookie.encode())])
        else:
            seconds = min(_WRONG_SECONDS * 2 ** min(count, 20), _MAX_WRONG_SECONDS)
            self._wrong[address] = count + 1, time.monotonic() + seconds
            self._wrong.move_to_end(address)
            if len(self._wrong) > _MAX_ADDRESSES:
                self._wrong.popitem(last=False)
            await _answer(send, 401, _page("<p class='wrong'>This token is wrong.</p>", to))


def _network(scope: Scope) -> str:
    """Return the address of the client; for IPv6, the network (/64), because its owner chooses the rest."""
    address = (scope.get("client") or ("", 0))[0]
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _host(address: str) -> tuple[str, str]:
    """Return the host of an address without and with its port; both empty if the address is invalid."""
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.netloc.lower()
    except ValueError:
        # The brackets do not contain an address.
        return "", ""


def _page(wrong: str, to: str) -> bytes:
    return _PAGE.format(wrong=wrong, action=escape(f"{ENTER}?{urlencode({'to': to})}")).encode()


async def _body(receive: Receive) -> bytes:
    """Read a small form; a longer one is not read to its end."""
    body = b""
    more = True
    while more and len(body) <= _MAX_FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body[:_MAX_FORM_BYTES]


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await _answer(send, status, reason.encode(), kind=b"text/plain; charset=utf-8")


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    extra_headers: list[tuple[bytes, bytes]] | None = None,
    kind: bytes = b"text/html; charset=utf-8",
) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store"), *_HEADERS, *(extra_headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Any:
    """Return a function that sends messages with our headers added."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in _HEADERS}
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in names]
            message = {**message, "headers": [*kept, *_HEADERS]}
        await send(message)

    return send_with_headers
