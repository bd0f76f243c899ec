"""open_stream: drive an ASGI application message by message, without a server.

`httpx.ASGITransport` hands over an answer only when the application has ended; here a test sees
each message when it is sent, can hold the application back, and can hang up in the middle.

    async with open_stream(app, "POST", "/v1/chat/completions", json={...}) as stream:
        start = await stream.start()
        first = await stream.chunk()
        await stream.disconnect()

What a server does, it does: after the client has left, `send` does nothing and `receive` says
`http.disconnect`, which it also says after the whole answer was sent. It does not run the
lifespan, as Starlette does not for a mounted application. When the block ends, the application is
cancelled if it still runs, and what it raised is raised. No timers, so it works on a FakeClock:
`await clock.run(stream.chunk())`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of an answer."""

    status: int
    headers: Headers


class OpenStream:
    """One request to an application; made by `open_stream`.

    Attributes:
        sent: Every message that the application sent, in order.
    """

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes, ahead: int | None) -> None:
        self.sent: list[Message] = []
        self._app = app
        self._scope = scope
        self._ahead = ahead
        self._requests: deque[Message] = deque([{"type": "http.request", "body": body}])
        self._messages: deque[Message] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._gone = False
        self._whole = False
        self._raised = False
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(lambda _: self._wake())

    def __repr__(self) -> str:
        state = "ended" if self.ended else "running"
        return f"<OpenStream {self._scope['path']}: {len(self.sent)} messages, {state}>"

    def __aiter__(self) -> "OpenStream":
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    @property
    def ended(self) -> bool:
        """The application has returned."""
        return self._task.done()

    @property
    def complete(self) -> bool:
        """The application has sent its answer to the end."""
        return self._whole

    async def start(self) -> Start:
        """Return status and headers as soon as they are sent.

        Raises:
            RuntimeError: The application returned without them.
        """
        message = await self._next()
        if message is None:
            raise RuntimeError("The application returned without an answer.")
        assert message["type"] == "http.response.start", message["type"]
        return Start(message["status"], Headers(raw=list(message.get("headers", []))))

    async def chunk(self) -> bytes | None:
        """Return the next bytes of the body, None after its end; empty chunks are passed over.

        The start is read first, if nobody did.

        Raises:
            RuntimeError: The application returned in the middle of its answer.
        """
        while (message := await self._next()) is not None:
            if message.get("body"):
                return bytes(message["body"])
        if not self._whole and not self._gone:
            raise RuntimeError("The application returned in the middle of its answer.")
        return None

    async def body(self) -> bytes:
        """Return the rest of the body."""
        return b"".join([chunk async for chunk in self])

    async def disconnect(self) -> None:
        """Hang up, and wait until the application has returned."""
        self._hang_up()
        await asyncio.wait([self._task])
        self._reraise()

    async def aclose(self) -> None:
        """Cancel the application if it still runs, wait for it, and raise what it raised."""
        self._hang_up()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._reraise()

    async def _run(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._requests:
            return self._requests.popleft()
        await self._until(lambda: self._gone or self._whole)
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self._gone or self._whole:
            return
        self.sent.append(message)
        self._messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._whole = True
        self._wake()
        await self._until(self._may_go_on)

    async def _next(self) -> Message | None:
        await self._until(lambda: self._messages or self._whole or self._task.done())
        if not self._messages:
            self._reraise()
            return None
        message = self._messages.popleft()
        self._wake()
        return message

    def _may_go_on(self) -> bool:
        return self._ahead is None or self._gone or len(self._messages) <= self._ahead

    def _hang_up(self) -> None:
        self._gone = True
        self._wake()

    async def _until(self, condition: Callable[[], object]) -> None:
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        # All look again at what they wait for.
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _reraise(self) -> None:
        """Raise what the application raised, once."""
        if self._raised or not self._task.done() or self._task.cancelled():
            return
        error = self._task.exception()
        if error is not None:
            self._raised = True
            raise error


@asynccontextmanager
async def open_stream(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    body: bytes = b"",
    root_path: str = "",
    ahead: int | None = None,
    client: tuple[str, int] = ("127.0.0.1", 50_000),
    extra: Mapping[str, Any] | None = None,
) -> AsyncIterator[OpenStream]:
    """Send one request to `app` and drive its answer.

    Args:
        app: Any ASGI application.
        method: The request's.
        path: With a query if there is one; below `root_path`.
        headers: Names in any case; Host and Content-Length are added.
        json: Encoded as the body, with its Content-Type.
        body: The raw body, instead of `json`.
        root_path: Where a host would have mounted the application.
        ahead: How many messages the application may send before the test reads them; None is any
            number, 0 is lockstep.
        client: The client's address.
        extra: More keys for the ASGI scope, such as `user`.
    """
    content = body if json is None else msgspec.json.encode(json)
    given = {name.lower(): value for name, value in (headers or {}).items()}
    scope = _scope(method, path, root_path, _headers(given, content, is_json=json is not None))
    stream = OpenStream(app, {**scope, "client": client, **(extra or {})}, content, ahead)
    try:
        yield stream
    finally:
        await stream.aclose()


def _headers(given: Mapping[str, str], body: bytes, *, is_json: bool) -> dict[str, str]:
    headers = {"host": "testserver"}
    if is_json:
        headers["content-type"] = "application/json"
    if body:
        headers["content-length"] = str(len(body))
    return {**headers, **given}


def _scope(method: str, path: str, root_path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    bare, _, query = path.partition("?")
    full = root_path + bare
    return {
        "type": "http",
        # What uvicorn announces: an application learns of a disconnect by receive() alone.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(full),
        "raw_path": full.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": root_path,
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        "server": ("testserver", 80),
        "state": {},
        "extensions": {},
    }
