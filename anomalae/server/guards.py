"""Before a request is looked at: whom it may come from, how large it may be, how long it may take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from anomalae.server.limits import Limits, RefusedError, json_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Seconds for which the rest of a refused body is taken and thrown away: a connection that is closed on one who still
# sends is broken, and the answer lost with it.
LINGER = 5


class Guard:
    """A guard stands before an application and refuses requests, in one line of JSON.

    app: the application.
    hosts: names by which it may be asked for, without a port; a page of another name cannot reach it through a
        visitor's browser then, whatever its name leads to. `*` lets all.
    limits: of a request.
    on_answer: told the path and the status of each answer.
    """

    def __init__(
        self, app: App, *, hosts: Iterable[str], limits: Limits, on_answer: Callable[[str, int], None]
    ) -> None:
        self.app, self.hosts, self.limits, self.on_answer = app, frozenset(hosts), limits, on_answer
        self.under_way = 0
        # Bytes of the bodies that are under way.
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # HEAD is what GET says, whose body the server leaves out; what is asked for with nothing is not asked for.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        asked = b"&".join(part for part in scope["query_string"].split(b"&") if part.partition(b"=")[2])
        scope = {**scope, "method": method, "query_string": asked}
        begun, body = False, _Body(self, receive)

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.on_answer(scope["path"], message["status"])
            await send(message)

        self.under_way += 1
        try:
            self._check(scope)
            async with asyncio.timeout(self.limits.seconds) as limit:

                async def in_time(message: MutableMapping[str, Any]) -> None:
                    if message["type"] == "http.response.start":
                        # How long the answer may wait to be taken is for the connection to say.
                        limit.reschedule(None)
                    await noted(message)

                await self.app(scope, body.receive, in_time)
        except (RefusedError, TimeoutError) as error:
            if begun:
                raise
            status = error.status if isinstance(error, RefusedError) else 408
            said = (
                str(error)
                if isinstance(error, RefusedError)
                else f"took longer than {self.limits.seconds:g} seconds"
            )
            answer = JSONResponse(json_error(said), status, headers={"connection": "close"})
            await noted({"type": "http.response.start", "status": status, "headers": answer.raw_headers})
            await noted({"type": "http.response.body", "body": answer.body, "more_body": True})
            await body.throw_away()
            await noted({"type": "http.response.body", "body": b""})
        finally:
            self.under_way -= 1
            self.held -= body.taken

    def _check(self, scope: Scope) -> None:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        host = headers.get("host", "")
        if "*" not in self.hosts and _name(host) not in self.hosts:
            raise RefusedError(403, f"host {host!r}: this server answers to {', '.join(sorted(self.hosts))}")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise RefusedError(403, f"origin {origin!r}: pages of other servers are refused")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.limits.body:
            raise self.too_large()
        if self.under_way > self.limits.waiting:
            raise RefusedError(429, f"{self.limits.waiting} requests are under way; try again later")

    def too_large(self) -> RefusedError:
        """Return what is said of a body that is too large."""
        return RefusedError(
            413, f"more than {self.limits.megabytes:g} MB, the most that is taken in one request"
        )


class _Body:
    """The body of a request as it comes in, counted."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self.guard, self.from_outside = guard, receive
        self.taken, self.ended = 0, False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next part. Raises RefusedError where it is more than one body, or all of them, may have."""
        message = await self._next()
        limits, n = self.guard.limits, len(message.get("body", b""))
        self.taken += n
        self.guard.held += n
        if self.taken > limits.body:
            raise self.guard.too_large()
        if self.guard.held > limits.bodies:
            raise RefusedError(429, f"{limits.bodies / 1e6:g} MB of uploads are under way; try again later")
        return message

    async def throw_away(self) -> None:
        """Take the rest and keep nothing of it, for a while."""
        self.guard.held -= self.taken
        self.taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self.ended:
                    await self._next()

    async def _next(self) -> MutableMapping[str, Any]:
        message = await self.from_outside()
        self.ended = not message.get("more_body", False)
        return message


def _name(host: str) -> str:
    """Return the name in a Host header, without its port and the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
