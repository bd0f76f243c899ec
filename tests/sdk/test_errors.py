"""What the official SDK raises through stepwell, beside what it raises at the provider."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from stepwell.testing import Failure

HI: list[Any] = [{"role": "user", "content": "hi"}]


async def raised(way: Any, *, stream: bool, **request: Any) -> openai.APIError:
    """Ask, and return what was raised: before the first event, also for streams."""
    fields = {"model": way.model, "messages": HI, "stream": stream, **request}
    async with way.async_client(max_retries=0) as client:
        with pytest.raises(openai.APIError) as caught:
            await client.chat.completions.create(**fields)
    return caught.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_of_the_request_is_the_same_exception(
    ways: Any, status: int, stream: bool
) -> None:
    """The class, the status, and the provider's message, type, param and code."""
    errors = []
    for way in ways:
        way.provider.fail(Failure.bad_request("No such effort.", "reasoning_effort", status))
        errors.append(await raised(way, stream=stream))
    through, direct = errors
    assert type(through) is type(direct)
    assert isinstance(through, openai.APIStatusError)
    for name in ("status_code", "type", "param", "code"):
        assert getattr(through, name) == getattr(direct, name)
    assert isinstance(through.body, dict)
    assert isinstance(direct.body, dict)
    assert through.body["message"] == direct.body["message"]
    assert through.request_id


async def test_a_prompt_that_is_too_long_has_openai_s_code(ways: Any) -> None:
    """Agents look for `context_length_exceeded` to shorten the conversation."""
    for way in ways:
        way.provider.fail(Failure.too_large(), times=None)
        error = await raised(way, stream=False)
        assert isinstance(error, openai.BadRequestError)
        assert error.code == "context_length_exceeded"


async def test_a_wrong_key_is_an_authentication_error(ways: Any) -> None:
    """As at the provider."""
    client = openai.AsyncOpenAI(base_url=ways.stepwell.base_url, api_key="sk-nonsense")
    async with client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.models.list()
    assert caught.value.code == "invalid_api_key"


async def test_an_unknown_model_is_not_found(ways: Any) -> None:
    """Where it is asked for by name."""
    async with ways.stepwell.async_client() as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("no/such:model")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_a_request_without_messages_is_a_bad_request(ways: Any) -> None:
    """Stepwell answers it by itself, in the words of the API."""
    error = await raised(ways.stepwell, stream=False, messages=[])
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "messages"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_exhausted_chain_is_raised_at_once_if_the_reset_is_far(
    ways: Any, stream: bool
) -> None:
    """With the SDK's own retries on: it reads Retry-After, sees that it is too long, and raises."""
    ways.stepwell.provider.fail(Failure.rate_limit(3600), times=None)
    async with ways.stepwell.async_client() as client:
        assert client.max_retries > 0
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="default", messages=HI, stream=stream)
    error = caught.value
    assert error.status_code == 503
    assert error.code == "all_providers_exhausted"
    assert 3590 < float(error.response.headers["retry-after"]) <= 3600
    assert isinstance(error.body, dict)
    assert error.body["stepwell"]["blocked"][0]["target"] == "alpha/sim-model"
    assert len(ways.stepwell.provider.calls) == 1


class Impatient(openai.AsyncOpenAI):
    """The SDK, but for its waiting: the times are noted and not waited."""

    waits: list[float]

    def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
        self.waits.append(super()._calculate_retry_timeout(*args, **kwargs))
        return 0.0


async def test_an_exhausted_chain_is_retried_when_it_says_so(ways: Any) -> None:
    """A near reset is what the SDK waits for, to the millisecond; then it raises."""
    ways.stepwell.provider.fail(Failure.rate_limit(45), times=None)
    client = Impatient(base_url=ways.stepwell.base_url, api_key=ways.stepwell.key)
    client.waits = []
    async with client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="default", messages=HI)
    assert len(client.waits) == client.max_retries
    assert all(35 < wait <= 45 for wait in client.waits)
    assert len(set(client.waits)) == len(client.waits)  # each tells the rest anew
    assert len(ways.stepwell.provider.calls) == 1  # while it is told to wait, nobody is asked


@pytest.mark.parametrize(
    "failure",
    [
        Failure.in_band_error(500, after=1),
        Failure.cut(3),
        Failure.ends_early(3),
        Failure.no_finish(),
        Failure.malformed(after=3),
    ],
    ids=lambda failure: failure.name,
)
async def test_a_broken_stream_raises(ways: Any, failure: Failure) -> None:
    """What was said has arrived, and the end is an APIError: never a short answer."""
    ways.stepwell.provider.fail(failure)
    chunks: list[Any] = []
    async with ways.stepwell.async_client() as client:
        stream = await client.chat.completions.create(model="default", messages=HI, stream=True)
        with pytest.raises(openai.APIError) as caught:
            await read(stream, chunks)
    assert caught.value.code == "upstream_stream_truncated"
    assert any(chunk.choices[0].delta.content for chunk in chunks)
    assert not any(chunk.choices[0].finish_reason for chunk in chunks)


async def read(stream: AsyncIterator[Any], chunks: list[Any]) -> None:
    """Read to the end; what has come before an error stays in `chunks`."""
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401 - a comprehension would lose them


async def test_a_broken_stream_raises_in_the_sync_client_too(ways: Any) -> None:
    """The same event, the same exception."""
    ways.stepwell.provider.fail(Failure.cut(3))

    def run() -> None:
        with ways.stepwell.client() as client:
            stream = client.chat.completions.create(model="default", messages=HI, stream=True)
            for _ in stream:
                pass

    with pytest.raises(openai.APIError, match="broke off"):
        await asyncio.to_thread(run)


@pytest.mark.parametrize("failure", [Failure.no_done(), Failure.crlf(), Failure.comments()])
async def test_an_unusual_stream_reads_as_a_usual_one(ways: Any, failure: Failure) -> None:
    """What the provider forgets or adds does not reach the caller."""
    ways.stepwell.provider.fail(failure)
    async with ways.stepwell.async_client() as client:
        stream = await client.chat.completions.create(model="default", messages=HI, stream=True)
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"
