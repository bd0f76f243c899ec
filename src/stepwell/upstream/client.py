"""One call of an upstream: send, read as far as needed, and say what it came to.

Whatever a provider does (refuse, hang, cut, lie), `Endpoint.attempt` returns a Reply with a verdict;
only a cancellation passes through, and then nothing is left open.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import httpx
import msgspec

from stepwell.chat import ChatRequest
from stepwell.clock import Alarm, Clock, Deadline
from stepwell.providers import dialects
from stepwell.quota.reading import Hint
from stepwell.routing.chain import Step
from stepwell.routing.verdict import Outcome, Verdict, outcome_of
from stepwell.upstream.completion import decode, plain_tokens, read_content
from stepwell.upstream.relay import Relay
from stepwell.upstream.seam import Answer, Body, Line, RawHeaders, Tap

# A refusal is a few hundred bytes; a provider's HTML page a few thousand.
MAX_REFUSAL: Final = 256 * 1024
# Refusals that are known again as a whole, and the longest of them: most say the same each time.
FAMILIAR: Final = 64
LONGEST_FAMILIAR: Final = 2048
# Answers with several long choices and base64 audio stay well below; more is no chat completion.
MAX_ANSWER: Final = 64 * 1024 * 1024

_OK: Final = 200
_ANSWERED: Final = Verdict(Outcome.ANSWER)

# Encodings that are none.
_PLAIN: Final = (b"", b"identity")

# Raised before the provider could have taken the request, so that its quota is untouched.
_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.LocalProtocolError,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class Reply(msgspec.Struct):
    """What one attempt came to.

    Attributes:
        verdict: What it means.
        status: The HTTP status; None if none came.
        body: The whole body of an answer; empty for streams and refusals.
        error: The body of a refusal, decoded, or as text if it is no JSON.
        detail: A short word on a failure that has no body: `timeout`, `connect`.
        tokens: Total tokens as the provider counted; None if it did not say.
        stream: The open stream of an answer to a streamed request; whoever takes it closes its answer.
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


class OpenStream(msgspec.Struct):
    """A stream that has begun, and the answer that it reads from."""

    relay: Relay
    answer: Answer


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may take beside its step's own time, in seconds.

    Attributes:
        connect: To connect.
        first_token: Until a stream's first meaningful delta.
        idle: Between two events of a stream.
    """

    connect: float
    first_token: float
    idle: float


# Statuses of refusals that are the client's to read.
_NEEDS_WORDS: Final = frozenset({400, 422})


class Endpoint:
    """One account's way to its provider, prepared once.

    Args:
        line: What sends, with the key in its headers.
        dialect: How the provider speaks of its quota.
        clock: For all time.
        patience: How long an attempt may take.
    """

    def __init__(
        self, line: Line, *, dialect: dialects.Dialect, clock: Clock, patience: Patience
    ) -> None:
        self._line = line
        self._dialect = dialect
        self._clock = clock
        self._patience = patience
        self._idle_alarm = Alarm(clock)
        # By status, what headers tell of quota, and body.
        self._familiar = dialects.Familiar[Reply](FAMILIAR)

    async def attempt(
        self,
        request: ChatRequest,
        step: Step,
        observe: Callable[[Hint], object],
        within: Deadline | None = None,
    ) -> Reply:
        """Call the upstream once.

        Args:
            request: The client's.
            step: Which model, with which parameters, for how long.
            observe: Told what the head of an answer says of quota as soon as it is there.
            within: The request's own deadline, if that runs in this task.
        """
        seconds, patience = step.timeout, self._patience
        if request.stream:
            seconds = min(seconds, patience.first_token)
        try:
            with Deadline(self._clock, seconds, within=within):
                answer = await self._line.open(request.parts_for(step), patience.connect)
                return self._at_once(answer, request, observe) or await self._reply(
                    answer, request, observe
                )
        except TimeoutError:
            return _unreachable("timeout")
        except _NOT_SENT as error:
            return _unreachable(_name(error), was_sent=False)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return _unreachable(_name(error))

    def _at_once(
        self, answer: Answer, request: ChatRequest, observe: Callable[[Hint], object]
    ) -> Reply | None:
        """Judge what most calls come to, and is all there as soon as its head is.

        Returns:
            None for anything else; the answer is left as it was.
        """
        is_served = answer.status == _OK
        if (is_served and request.stream) or (body := answer.whole()) is None:
            return None
        if is_served:
            return self._plain(answer, body, observe)
        return self._familiar.get((answer.status, dialects.undated(answer.headers), body))

    def _plain(
        self, answer: Answer, body: bytes, observe: Callable[[Hint], object]
    ) -> Reply | None:
        """Judge a completion; None for anything else."""
        tokens = plain_tokens(body)  # of a body that is compressed it knows nothing
        if tokens is None:
            return None
        observe(self._dialect(self._said(answer, None)))
        return Reply(_ANSWERED, _OK, body, tokens=tokens)

    async def _reply(
        self, answer: Answer, request: ChatRequest, observe: Callable[[Hint], object]
    ) -> Reply:
        """Read an answer as far as needed; what is no open stream is closed after that."""
        is_open = False
        try:
            if not 200 <= answer.status < 300:
                return await self._refusal(answer)
            observe(self._dialect(self._said(answer, None)))
            kind, encoding = _content(answer.headers)
            if request.stream and not kind.lower().startswith(b"application/json"):
                reply = await self._stream(answer, request, encoding)
                is_open = reply.verdict.outcome is Outcome.ANSWER
                return reply
            return await self._whole(answer, request)
        finally:
            if not is_open:
                await answer.aclose()

    async def _refusal(self, answer: Answer) -> Reply:
        told = dialects.undated(answer.headers)
        body = await _read_refusal(answer)
        name = answer.status, told, body
        if (known := self._familiar.get(name)) is not None:
            return known
        said = self._said(answer, _decode_or_text(body))
        hint = self._dialect(said)
        verdict = Verdict(outcome_of(answer.status, hint.about), hint)
        reply = Reply(verdict, answer.status, error=said.body, tokens=0)
        if len(body) + sum([len(value) for _, value in told]) <= LONGEST_FAMILIAR:
            is_timeless = partial(dialects.is_timeless, self._dialect, said, hint)
            self._familiar.add(name, reply, is_timeless)
        return reply

    async def _whole(self, answer: Answer, request: ChatRequest) -> Reply:
        """Judge a 2xx that came as one body: a completion, or an error in disguise."""
        body = await _read_all(answer, MAX_ANSWER)
        status = answer.status
        if not request.stream and (tokens := plain_tokens(body)) is not None:
            return Reply(_ANSWERED, status, body, tokens=tokens)
        try:
            decoded = decode(body)
            content = read_content(decoded)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return Reply(Verdict(Outcome.FAULT), status, detail="no JSON in a success")
        if content.error_status is not None:
            return self._inner_error(answer, decoded, content.error_status)
        if request.stream or not isinstance(decoded.get("choices"), list):
            return Reply(Verdict(Outcome.FAULT), status, detail="no completion in a success")
        outcome = Outcome.ANSWER if content.is_answer else Outcome.EMPTY
        return Reply(Verdict(outcome), status, body, tokens=content.tokens)

    async def _stream(self, answer: Answer, request: ChatRequest, encoding: bytes) -> Reply:
        relay = Relay(
            _decoded(answer, encoding),
            clock=self._clock,
            idle_timeout=self._patience.idle,
            drop_usage=not request.wants_usage,
            every_choice=request.choices > 1,
            keep=request.is_resumable,
            alarm=self._idle_alarm,
        )
        await relay.look_ahead()
        status = answer.status
        if relay.error_status is not None and not relay.is_answer:
            return self._inner_error(answer, relay.error, relay.error_status)
        stream = OpenStream(relay, answer)
        if relay.is_answer:
            return Reply(_ANSWERED, status, stream=stream)
        if relay.finished and not relay.broken:
            return Reply(Verdict(Outcome.EMPTY), status, tokens=relay.tokens, stream=stream)
        return Reply(Verdict(Outcome.FAULT), status, detail=relay.broken or "empty stream")

    def _inner_error(self, answer: Answer, error: Any, status: int) -> Reply:
        hint = self._dialect(self._said(answer, error, status))
        return Reply(Verdict(outcome_of(status, hint.about), hint), status, error=error, tokens=0)

    def _said(self, answer: Answer, body: Any, status: int | None = None) -> dialects.Reply:
        code = answer.status if status is None else status
        pick = dialects.Head if body is None else dialects.quota_headers
        return dialects.Reply(code, pick(answer.headers), body, self._clock.time())


def _unreachable(detail: str, *, was_sent: bool = True) -> Reply:
    return Reply(Verdict(Outcome.UNREACHABLE), detail=detail, was_sent=was_sent)


def _name(error: Exception) -> str:
    return type(error).__name__


def _content(headers: RawHeaders) -> tuple[bytes, bytes]:
    """Return the content's type and encoding; nothing for what is not said."""
    kind, encoding = _places(tuple([name for name, _ in headers]))
    return (
        b"" if kind is None else headers[kind][1],
        b"" if encoding is None else headers[encoding][1],
    )


@lru_cache(maxsize=256)
def _places(names: tuple[bytes, ...]) -> tuple[int | None, int | None]:
    """Find both headers; a provider sends the same names with every answer, so this is rarely done."""
    lower = [name.lower() for name in names]
    kind, encoding = (
        lower.index(name) if name in lower else None
        for name in (b"content-type", b"content-encoding")
    )
    return kind, encoding


def _decoded(answer: Answer, encoding: bytes) -> Body:
    """Return the body as it arrives; decompressed only where a provider insists."""
    return answer if encoding in _PLAIN else _Decompressed(answer)


class _Decompressed:
    """A body that came compressed."""

    tap: Tap | None = None  # never offered anything

    def __init__(self, answer: Answer) -> None:
        response = httpx.Response(answer.status, headers=answer.headers, stream=_Raw(answer))
        self._chunks = response.aiter_bytes()

    async def read(self) -> bytes:
        return await anext(self._chunks, b"")


class _Raw(httpx.AsyncByteStream):
    """An answer's body for httpx's decoders."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._answer.read():
            yield chunk


async def _read_all(answer: Answer, most: int) -> bytes:
    read = _decoded(answer, _content(answer.headers)[1]).read
    chunks: list[bytes] = []
    size = 0
    while chunk := await read():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise httpx.RemoteProtocolError(f"body of more than {most} bytes")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _read_refusal(answer: Answer) -> bytes:
    """Return the body; nothing where it cannot be read and the head has said enough.

    Whoever is refused for the request's own sake is told why, so that one is not left without.
    """
    try:
        return await _read_all(answer, MAX_REFUSAL)
    except (httpx.HTTPError, httpx.StreamError, OSError):
        if answer.status in _NEEDS_WORDS:
            raise
        return b""


def _decode_or_text(body: bytes) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")
