"""One call of an upstream: send, read as far as needed, and say what it came to.

Whatever a provider does (refuse, hang, cut, lie), `Endpoint.attempt` returns a Reply with a verdict;
only a cancellation passes through, and then nothing is left open.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from stepwell.chat import ChatRequest
from stepwell.clock import Clock, Deadline
from stepwell.providers import dialects
from stepwell.quota.reading import Hint
from stepwell.routing.chain import Step
from stepwell.routing.verdict import Outcome, Verdict, outcome_of
from stepwell.upstream.completion import decode, read_content
from stepwell.upstream.relay import Relay

# A refusal is a few hundred bytes; a provider's HTML page a few thousand.
MAX_REFUSAL: Final = 256 * 1024
# Answers with several long choices and base64 audio stay well below; more is no chat completion.
MAX_ANSWER: Final = 64 * 1024 * 1024

# Raised before the provider could have taken the request, so that its quota is untouched.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.LocalProtocolError,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(slots=True)
class Reply:
    """What one attempt came to.

    Attributes:
        verdict: What it means.
        status: The HTTP status; None if none came.
        body: The whole body of an answer; empty for streams and refusals.
        error: The body of a refusal, decoded, or as text if it is no JSON.
        detail: A short word on a failure that has no body: `timeout`, `connect`.
        tokens: Total tokens as the provider counted; None if it did not say.
        stream: The open stream of an answer to a streamed request; whoever takes it closes it.
        was_sent: The request may have reached the provider.
    """

    verdict: Verdict
    status: int | None = None
    body: bytes = b""
    error: Any = None
    detail: str = ""
    tokens: int | None = None
    stream: "OpenStream | None" = None
    was_sent: bool = True


@dataclass(slots=True)
class OpenStream:
    """A stream that has begun to answer, and the response that it reads from."""

    relay: Relay
    response: httpx.Response

    async def aclose(self) -> None:
        await self.response.aclose()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one attempt may take, in seconds.

    Attributes:
        connect: To connect.
        attempt: Until a buffered answer is whole.
        first_token: Until a stream's first meaningful delta.
        idle: Between two events of a stream.
    """

    connect: float
    attempt: float
    first_token: float
    idle: float


class Endpoint:
    """One account's way to its provider, prepared once.

    Args:
        url: Of the chat completions, with its query.
        headers: All headers of a request but its length, the key among them.
        transport: What sends.
        dialect: How the provider speaks of its quota.
        clock: For all time.
    """

    def __init__(
        self,
        url: httpx.URL,
        headers: Sequence[tuple[str, str]],
        *,
        transport: httpx.AsyncBaseTransport,
        dialect: dialects.Dialect,
        clock: Clock,
    ) -> None:
        self._url = url
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers]
        self._transport = transport
        self._dialect = dialect
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Endpoint {self._url.copy_with(query=None)}>"

    async def attempt(
        self,
        request: ChatRequest,
        step: Step,
        patience: Patience,
        observe: Callable[[Hint], object],
    ) -> Reply:
        """Call the upstream once.

        Args:
            request: The client's.
            step: Which model, with which parameters.
            patience: How long it may take.
            observe: Told what the head of an answer says of quota as soon as it is there.
        """
        seconds = (
            min(patience.attempt, patience.first_token) if request.stream else patience.attempt
        )
        try:
            async with Deadline(self._clock, seconds):
                return await self._call(request, step, patience, observe)
        except TimeoutError:
            return _unreachable("timeout")
        except _NOT_SENT as error:
            return _unreachable(_name(error), was_sent=False)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return _unreachable(_name(error))

    async def _call(
        self,
        request: ChatRequest,
        step: Step,
        patience: Patience,
        observe: Callable[[Hint], object],
    ) -> Reply:
        timeout = {"connect": patience.connect, "read": None, "write": None, "pool": None}
        response = await self._transport.handle_async_request(
            httpx.Request(
                "POST",
                self._url,
                headers=self._headers,
                content=request.body_for(step),
                extensions={"timeout": timeout},
            )
        )
        is_open = False
        try:
            if not 200 <= response.status_code < 300:
                return await self._refusal(response)
            observe(self._hint(response, None))
            if request.stream and not _is_json(response):
                reply = await self._stream(response, request, patience)
                is_open = reply.verdict.outcome is Outcome.ANSWER
                return reply
            return await self._whole(response, request)
        finally:
            if not is_open:
                await response.aclose()

    async def _refusal(self, response: httpx.Response) -> Reply:
        body = await _read_all(response, MAX_REFUSAL)
        error = _decode_or_text(body)
        hint = self._hint(response, error)
        verdict = Verdict(outcome_of(response.status_code, hint.about), hint)
        return Reply(verdict, response.status_code, error=error, tokens=0)

    async def _whole(self, response: httpx.Response, request: ChatRequest) -> Reply:
        """Judge a 2xx that came as one body: a completion, or an error in disguise."""
        body = await _read_all(response, MAX_ANSWER)
        status = response.status_code
        try:
            decoded = decode(body)
            content = read_content(decoded)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return Reply(Verdict(Outcome.FAULT), status, detail="no JSON in a success")
        if content.error_status is not None:
            return self._inner_error(response, decoded, content.error_status)
        if request.stream or not isinstance(decoded.get("choices"), list):
            return Reply(Verdict(Outcome.FAULT), status, detail="no completion in a success")
        outcome = Outcome.ANSWER if content.is_answer else Outcome.EMPTY
        return Reply(Verdict(outcome), status, body, tokens=content.tokens)

    async def _stream(
        self, response: httpx.Response, request: ChatRequest, patience: Patience
    ) -> Reply:
        relay = Relay(
            _chunks(response),
            clock=self._clock,
            idle_timeout=patience.idle,
            drop_usage=not request.wants_usage,
            every_choice=request.choices > 1,
            keep=request.is_resumable,
        )
        await relay.look_ahead()
        status = response.status_code
        if relay.error_status is not None and not relay.is_answer:
            return self._inner_error(response, relay.error, relay.error_status)
        stream = OpenStream(relay, response)
        if relay.is_answer:
            return Reply(Verdict(Outcome.ANSWER), status, stream=stream)
        if relay.finished and not relay.broken:
            return Reply(Verdict(Outcome.EMPTY), status, tokens=relay.tokens, stream=stream)
        return Reply(Verdict(Outcome.FAULT), status, detail=relay.broken or "empty stream")

    def _inner_error(self, response: httpx.Response, error: Any, status: int) -> Reply:
        hint = self._hint(response, error, status)
        return Reply(Verdict(outcome_of(status, hint.about), hint), status, error=error, tokens=0)

    def _hint(self, response: httpx.Response, body: Any, status: int | None = None) -> Hint:
        code = response.status_code if status is None else status
        headers = dialects.quota_headers(response.headers.raw)
        return self._dialect(dialects.Reply(code, headers, body, self._clock.time()))


def _unreachable(detail: str, *, was_sent: bool = True) -> Reply:
    return Reply(Verdict(Outcome.UNREACHABLE), detail=detail, was_sent=was_sent)


def _name(error: Exception) -> str:
    return type(error).__name__


def _is_json(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("application/json")


def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Iterate over the body as it arrives; decompressed only where a provider insists."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding in ("identity", ""):
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return aiter(response.stream)
    return response.aiter_bytes()


async def _read_all(response: httpx.Response, most: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in _chunks(response):
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise httpx.RemoteProtocolError(f"body of more than {most} bytes")
    return b"".join(chunks)


def _decode_or_text(body: bytes) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
