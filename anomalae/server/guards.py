"""Before a request is looked at: whom it may come from, how large it may be, how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from anomalae.server.limits import Limits, RefusedError, json_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.on_answer(scope["path"], message["status"])
            await send(message)

        self.under_way += 1
        try:
            self._check(scope)
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, self._bounded(receive), noted)
        except (RefusedError, TimeoutError) as error:
            if begun:
                raise
            status = error.status if isinstance(error, RefusedError) else 408
            said = (
                str(error)
                if isinstance(error, RefusedError)
                else f"took longer than {self.limits.seconds:g} seconds"
            )
            # What is left of the body is not read.
            answer = JSONResponse(json_error(said), status, headers={"connection": "close"})
            await answer(scope, receive, noted)
        finally:
            self.under_way -= 1

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
            raise self._too_large()
        if self.under_way > self.limits.waiting:
            raise RefusedError(429, f"{self.limits.waiting} requests are under way; try again later")

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.limits.body:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413, f"more than {self.limits.megabytes:g} MB, the most that is taken in one request"
        )


def _name(host: str) -> str:
    """Return the name in a Host header, without its port and the brackets of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
