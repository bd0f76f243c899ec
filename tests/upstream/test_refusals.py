"""Refusals that come again: read once, and read anew where they say something else."""

from collections.abc import Sequence

import httpx
import pytest

from stepwell.chat import ChatRequest
from stepwell.providers.dialects import Reply as Said
from stepwell.providers.dialects import dialect
from stepwell.quota.reading import Hint
from stepwell.routing.chain import Step
from stepwell.routing.verdict import Outcome
from stepwell.testing import FakeClock
from stepwell.upstream import client
from stepwell.upstream.client import Endpoint, Patience, Reply
from stepwell.upstream.seam import RawHeaders, Tap

STEP = Step("a", "m", (), timeout=10.0)
BROKEN = b"broken"
BODY = b'{"error": {"message": "Too many requests", "code": "rate_limit_exceeded"}}'


class Refusal:
    """An answer that refuses."""

    is_complete = False
    is_bound = False
    tap: Tap | None = None

    def __init__(self, status: int, headers: RawHeaders, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._left = [body]

    def whole(self) -> None:
        """Say that it is not known to be there."""

    async def read(self) -> bytes:
        if self._left == [BROKEN]:
            raise httpx.ReadError("the connection broke")
        return self._left.pop() if self._left else b""

    async def aclose(self) -> None:
        self._left.clear()


class Provider:
    """Refuses as it is told to; `read` counts how often its dialect had to read a refusal."""

    def __init__(self, clock: FakeClock) -> None:
        self.read = 0
        self._answer = Refusal(429, [], b"")
        self._endpoint = Endpoint(
            self,
            dialect=self._read,
            clock=clock,
            patience=Patience(connect=1.0, first_token=1.0, idle=1.0),
        )

    async def open(self, body: Sequence[bytes | memoryview], connect: float) -> Refusal:
        return self._answer

    async def refuse(self, body: bytes = BODY, status: int = 429, /, **headers: str) -> Reply:
        """Return what the endpoint makes of such a refusal."""
        raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        self._answer = Refusal(status, raw, body)
        request = ChatRequest(b'{"messages":[{"role":"user","content":"hi"}]}')
        return await self._endpoint.attempt(request, STEP, lambda hint: None)

    def _read(self, said: Said) -> Hint:
        self.read += 1
        return dialect("auto")(said)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider(clock: FakeClock) -> Provider:
    return Provider(clock)


async def test_a_refusal_that_comes_again_and_again_is_read_no_more(provider: Provider) -> None:
    """Also with another date and another request's id, which do not speak of quota."""
    replies = [
        await provider.refuse(retry_after="60", date=f"Sat, 28 Nov 2026 12:00:0{n} GMT", id=str(n))
        for n in range(2)
    ]
    read = provider.read
    replies.append(await provider.refuse(retry_after="60"))

    assert replies == replies[:1] * 3
    assert replies[0].verdict.hint.delay == 60.0
    assert provider.read == read


async def test_a_refusal_that_comes_once_is_read_once(provider: Provider) -> None:
    """Many providers never say the same twice: that costs nothing more."""
    for seconds in range(3):
        await provider.refuse(retry_after=str(seconds))

    assert provider.read == 3


async def test_a_refusal_that_says_something_else_is_read_anew(provider: Provider) -> None:
    """Be it by its status, its headers or its body."""
    for _ in range(2):
        await provider.refuse(retry_after="60")
    replies = [
        await provider.refuse(retry_after="60"),
        await provider.refuse(retry_after="61"),
        await provider.refuse(retry_after_ms="60"),
        await provider.refuse(BODY, 400, retry_after="60"),
        await provider.refuse(b'{"error": "no such model"}', 404, retry_after="60"),
    ]

    assert [reply.verdict.hint.delay for reply in replies] == [60.0, 61.0, 0.06, None, None]
    assert [reply.status for reply in replies] == [429, 429, 429, 400, 404]
    assert replies[4].error == {"error": "no such model"}


async def test_a_told_moment_comes_nearer(provider: Provider, clock: FakeClock) -> None:
    """What a refusal says of a date or a day's end depends on when it comes."""
    body = b'{"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}}'
    delays = []
    for _ in range(4):
        delays.append((await provider.refuse(body)).verdict.hint.delay)
        await clock.advance(600.0)

    first = delays[0]
    assert first is not None
    assert delays == [first, first - 600.0, first - 1200.0, first - 1800.0]
    assert provider.read == 5  # once more, to see that it depends on the time


async def test_refusals_that_never_repeat_do_not_fill_memory(provider: Provider) -> None:
    """Only so many are kept, and none that is long."""

    async def readings(body: bytes = BODY, **headers: str) -> int:
        before = provider.read
        await provider.refuse(body, **headers)
        return provider.read - before

    assert [await readings(retry_after="0") for _ in range(3)] == [1, 3, 0]
    for seconds in range(1, client.FAMILIAR + 1):
        await provider.refuse(retry_after=str(seconds))
    assert await readings(retry_after="0") == 1

    long = BODY + b" " * client.LONGEST_FAMILIAR
    assert [await readings(long) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("body", "headers"), [(BROKEN, {}), (b"no gzip", {"content_encoding": "gzip"})]
)
async def test_a_head_holds_though_its_body_cannot_be_read(
    provider: Provider, status: int, body: bytes, headers: dict[str, str]
) -> None:
    """Status and delay were told; a broken body takes nothing of that back."""
    reply = await provider.refuse(body, status, retry_after="60", **headers)

    assert (reply.status, reply.verdict.hint.delay) == (status, 60.0)


async def test_a_refusal_of_the_request_without_its_words_is_an_accident(
    provider: Provider,
) -> None:
    """The client could not be told what is wrong, so somebody else is asked."""
    assert (await provider.refuse(BROKEN, 400)).verdict.outcome is Outcome.UNREACHABLE
