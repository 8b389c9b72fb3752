"""Limits on connections that uvicorn lacks: how many are open, and how long the head of a request may take.

Without these limits, a program that opens connections and sends nothing, or a byte now and then, locks out all others.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

MAX_CONNECTIONS = 200
"""Maximum number of open connections. A browser opens about six, and one more per tab."""
HEAD_SECONDS = 10.0
"""Time within which the head of a request must arrive, in seconds."""


class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol that also closes connections beyond ``MAX_CONNECTIONS`` and those that send no request."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Accept a connection, or close it at once if there are too many."""
        super().connection_made(transport)
        # This count includes websockets.
        if len(self.server_state.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Pass the data on, and start the timer if the head of the next request is incomplete."""
        super().data_received(data)
        self._update_timer()

    def on_response_complete(self) -> None:
        """Start the timer again at the end of a response; until then the request may take any time."""
        super().on_response_complete()
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _update_timer(self) -> None:
        is_answered = self.cycle is None or self.cycle.response_complete
        is_upgraded = self.transport.get_protocol() is not self
        if self.transport.is_closing() or is_upgraded or not is_answered:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
