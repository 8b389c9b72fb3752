"""Limits on connections, which uvicorn does not have: how many are open, and how long the head of a request may take.

Without them a program that opens connections and sends nothing, or a byte now and then, keeps everybody else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_CONNECTIONS = 200
"""A browser opens some six of them, and one for each tab."""
HEAD_SECONDS = 10.0


class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's own protocol, which closes connections above ``MAX_CONNECTIONS`` and those that ask for nothing."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or close it at once where there are too many."""
        super().connection_made(transport)
        # Websockets are among them.
        if len(self.server_state.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Hand on what came, and watch whether the head of the next request becomes complete."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Watch the time again from the end of a response; until then the request has what time it needs."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        is_upgraded = self.transport.get_protocol() is not self
        if self.transport.is_closing() or is_upgraded or not is_answered:
            self._forget()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
