"""Serve the page: a Streamlit application behind the gate, at an address of this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from ednabed.dashboard.gate import MIN_TOKEN_LENGTH, Gate, is_loopback
from ednabed.dashboard.settings import Settings, set_settings
from ednabed.errors import StoreError, UsageError
from ednabed.extras import is_installed

HOST, PORT = "127.0.0.1", 8501
_BACKLOG = 100
_MAX_MESSAGE = 200_000_000
_FORM_BYTES = 1024 * 1024
"""Maximum size of the form data around an upload, in bytes."""
_SCRIPT = Path(__file__).with_name("app.py")
_NEEDED = ("streamlit", "plotly")


def check_access(host: str, token: str | None) -> None:
    """Make sure that no other machine can get in without a token.

    Raises:
        UsageError: Another machine could, or the token is too short.
    """
    if token is not None and len(token.strip()) < MIN_TOKEN_LENGTH:
        raise UsageError(
            f"the token has {len(token.strip())} characters, expected at least {MIN_TOKEN_LENGTH}; use a long random "
            "one, such as 'python -c \"import secrets; print(secrets.token_urlsafe())\"' prints"
        )
    if token is None and not is_loopback(host):
        raise UsageError(
            f"`host` {host} makes the page reachable from other machines; give `token` too, which visitors must then "
            "enter, or reach the page through 'ssh -L 8501:127.0.0.1:8501 MACHINE'"
        )


def check_installed() -> None:
    """Make sure that the packages that the page needs are installed.

    Raises:
        UsageError: One is not.
    """
    missing = [name for name in _NEEDED if not is_installed(name)]
    if missing:
        raise UsageError(
            f'the dashboard needs {" and ".join(missing)}, not installed here; run: pip install "ednabed[dashboard]"'
        )


def serve(
    settings: Settings,
    host: str = HOST,
    port: int = PORT,
    *,
    token: str | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        settings: Settings of the pages.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        token: Token that visitors must enter; None, for a loopback address only, requires none.
        ready: Called with the address of the page once browsers can connect; None for no call.

    Raises:
        UsageError: Other machines could get in without a token, or a package is not installed.
        StoreError: The workspace does not exist, or the port is not available.
    """
    check_access(host, token)
    check_installed()
    if not settings.workspace.is_dir():
        raise StoreError(f"{settings.workspace} is not a folder; give an existing one as `workspace`")
    _configure(settings)
    listening = _bind(host, port)
    import uvicorn
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    set_settings(settings)
    from ednabed.dashboard.connections import LimitedProtocol

    gate = Middleware(
        Gate,
        host=host,
        token=None if token is None else token.strip(),
        max_body=settings.upload_mb * 1024**2 + _FORM_BYTES,
    )
    app = App(_SCRIPT, middleware=[gate])
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=LimitedProtocol,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=2,
            server_header=False,
            # A selection of many points on the map is a large message, above the default limit of the library.
            ws_max_size=_MAX_MESSAGE,
        )
    )
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    if ready is not None:
        ready(f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}")
    with listening:
        server.run(sockets=[listening])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    try:
        if os.name != "nt":
            # On Windows, this would let two servers share a port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, TypeError, ValueError) as error:
        # An invalid host name is a TypeError or a ValueError.
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"port {port} of {host} is not available ({reason}), perhaps another page uses it; give another `port`, "
            "0 takes a free one"
        ) from error
    return listening


def _configure(settings: Settings) -> None:
    """Configure Streamlit to contact no other machine.

    Its own checks of origins query the internet for this machine's address, so the gate replaces them.
    """
    from streamlit.web.bootstrap import load_config_options

    load_config_options(
        {
            "browser.gatherUsageStats": False,
            "client.showErrorDetails": "none",
            "client.toolbarMode": "viewer",
            "global.developmentMode": False,
            "server.enableCORS": False,
            "server.enableStaticServing": False,
            "server.enableXsrfProtection": False,
            "server.fileWatcherType": "none",
            "server.headless": True,
            "server.maxUploadSize": settings.upload_mb,
            "theme.base": "light",
            "theme.primaryColor": "#17807e",
        }
    )
