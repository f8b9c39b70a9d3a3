"""Connections: how many there may be, and how long one may take to ask for something."""

from __future__ import annotations

import asyncio
import functools
import http
import json
import math
import socket
from collections.abc import Callable
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from anomalae.server.guards import Guard
from anomalae.server.limits import Limits, json_error

# Connections that are accepted at a time, and that wait to be.
BURST, QUEUE = 16, 2048
# Bytes that the system takes of an answer before they are sent, so that it is seen whether they are.
AHEAD = 2**18
# Descriptors that are left to the process itself. Of the others half are for connections: an upload may take some, too.
RESERVED = 64


def make_server(app: Guard, limits: Limits, *, log_level: str = "warning") -> uvicorn.Server:
    """Make the server of an application; its `run` is given the sockets that listen.

    app: of `application`.
    limits: of requests and connections.
    log_level: what is worth a line on standard error.
    """
    protocol = functools.partial(Connection, most=most_connections(limits), seconds=limits.seconds)
    return _Server(
        uvicorn.Config(
            app,
            http=cast(Any, protocol),
            loop="asyncio",
            backlog=BURST,
            log_level=log_level,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=math.ceil(limits.seconds),
        )
    )


def most_connections(limits: Limits) -> int:
    """Return how many connections may be open: as the limits say, if the process may have so many descriptors."""
    try:
        import resource
    except ImportError:  # Windows
        return limits.connections
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return limits.connections
    return max(1, min(limits.connections, (soft - RESERVED) // 2))


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # The backlog is both of the system, which may be long, and what is accepted before any of it is looked at.
        for one in sockets or ():
            one.listen(QUEUE)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, AHEAD)


class Connection(H11Protocol):
    """A connection that must ask for something soon, and makes room for others while it does not.

    most: connections that may be open. One more takes the place of that which has asked for nothing for longest, of
        those to which nothing is still to be sent if there are any; where all are being answered it is refused.
    seconds: from a connection's start, or the end of an answer, to the end of the next request's head; and for which
        it may take nothing of an answer.
    """

    def __init__(self, *given: Any, most: int, seconds: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self.most, self.seconds = most, seconds
        self.since = self.loop.time()
        self.given_up = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was asked for here is still to be answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def n_unsent(self) -> int:
        """Bytes of answers that wait until they are taken."""
        return self.transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for this connection, or refuse it."""
        super().connection_made(transport)
        others = [one for one in self.connections if isinstance(one, Connection) and not one.given_up]
        if len(others) > self.most:
            idle = [one for one in others if one.is_idle and one is not self]
            if not idle:
                self._refuse(503, f"{self.most} connections are open; try again later")
                return
            min(idle, key=lambda one: (one.n_unsent > 0, one.since))._leave()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what comes, and see whether it is the whole head of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        self.since = self.loop.time()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait until more of an answer is taken, but not for ever."""
        super().pause_writing()
        self._by_then("taken", self._leave)

    def resume_writing(self) -> None:
        """Go on with an answer."""
        self._in_time("taken")
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self.given_up = True
        for what in list(self._timers):
            self._in_time(what)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close this connection, or let what is under way here end first."""
        if self.conn.our_state is h11.ERROR:
            self._leave()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, as everything is refused."""
        self._refuse(400, "this is no request of HTTP/1.1")

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of one who would rather speak another protocol; he is answered in this one."""

    def _watch(self) -> None:
        if self.is_idle:
            self._by_then("asked", self._give_up)
        else:
            self._in_time("asked")

    def _by_then(self, what: str, otherwise: Callable[[], None]) -> None:
        if what in self._timers:
            return
        n_before = self.n_unsent

        def late() -> None:
            del self._timers[what]
            if 0 < self.n_unsent < n_before:
                self._by_then(what, otherwise)  # it is slow, but takes its answer
            else:
                otherwise()

        self._timers[what] = self.loop.call_later(self.seconds, late)

    def _in_time(self, what: str) -> None:
        if what in self._timers:
            self._timers.pop(what).cancel()

    def _give_up(self) -> None:
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self._refuse(408, f"no whole head of a request came in {self.seconds:g} seconds")
        else:
            self._leave()

    def _leave(self) -> None:
        self.given_up = True
        self.transport.abort()

    def _refuse(self, status: int, why: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            # An answer is under way, or was given: there is no place for another.
            self._leave()
            return
        body = json.dumps(json_error(why)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        reason = http.HTTPStatus(status).phrase.encode()
        head = h11.Response(status_code=status, headers=headers, reason=reason)
        of_head = not self.is_idle and self.scope["method"] == "HEAD"
        parts = (head, h11.Data(data=b"" if of_head else body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(part) or b"" for part in parts))
        if not self.is_idle:
            # What is done for it has nobody to be told to.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self.given_up = not self.n_unsent
        self._by_then("left", self._leave)
