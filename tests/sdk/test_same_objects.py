"""What the official SDK gets through stepwell is what it gets from the provider, in every field."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import zip_longest
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

Ask = Callable[[Any, dict[str, Any]], Awaitable[list[dict[str, Any]]]]

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of some days.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"


def say(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": say("hi"),
    "a conversation": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "again"},
        ]
    },
    "unicode": say("unicode"),
    "tools": say("weather", tools=[TOOL], parallel_tool_calls=True),
    "a tool by name": say(
        "x", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}
    ),
    "a tool's result": {
        "messages": [
            {"role": "user", "content": "weather"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Pune"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": "dry"},
        ],
        "tools": [TOOL],
    },
    "a JSON object": say("json", response_format={"type": "json_object"}),
    "a JSON schema": say(
        "json",
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "thing", "strict": True, "schema": {"type": "object"}},
        },
    ),
    "three choices": say("hi", n=3),
    "an image": say(
        [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ]
    ),
    "reasoning": say("reason", reasoning_effort="low"),
    "a refusal": say("refuse"),
    "a filtered answer": say("filter"),
    "a short answer": say("hi", max_tokens=2),
    "a short answer by the new name": say("hi", max_completion_tokens=2),
    "all kinds of parameters": say(
        "hi",
        temperature=0.1,
        top_p=0.9,
        seed=7,
        stop=["\n"],
        user="me",
        metadata={"a": "b"},
        logit_bias={"50256": -100},
        presence_penalty=1,
        extra_body={"invented_tomorrow": {"deep": [1.1, None]}},
    ),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_a_completion_is_the_same(ways: Any, ask: Ask, request_: dict[str, Any]) -> None:
    """Every field of the completion, its usage and its id included."""
    assert await ask(ways.stepwell, request_) == await ask(ways.direct, request_)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_a_stream_is_the_same(ways: Any, ask: Ask, request_: dict[str, Any]) -> None:
    """Every field of every chunk; usage comes if it was asked for and not otherwise."""
    for options in ({}, {"stream_options": {"include_usage": True}}):
        streamed = {**request_, "stream": True, **options}
        through, direct = await ask(ways.stepwell, streamed), await ask(ways.direct, streamed)
        assert len(direct) > 1
        for got, wanted in zip_longest(through, direct):
            assert got == wanted
        assert any(chunk["usage"] for chunk in through) is bool(options)


async def test_the_provider_gets_what_the_client_sent(ways: Any, ask: Ask) -> None:
    """Through stepwell the body arrives as it would directly, but for the model's name."""
    request = REQUESTS["all kinds of parameters"]
    await ask(ways.stepwell, request)
    await ask(ways.direct, request)
    assert ways.stepwell.provider.calls[0].body == ways.direct.provider.calls[0].body


async def test_tool_calls_add_up_to_the_same(ways: Any) -> None:
    """The SDK's own accumulation of a stream ends in the same message."""
    finals = []
    for way in ways:
        async with (
            way.async_client() as client,
            client.chat.completions.stream(
                model=way.model, **REQUESTS["tools"], stream_options={"include_usage": True}
            ) as stream,
        ):
            final = await stream.get_final_completion()
            finals.append(final.model_dump())
    assert finals[0] == finals[1]
    calls = finals[0]["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == [
        '{"city": "K\u00f6ln", "days": 3}',
        '{"city": "Pune"}',
    ]


class Thing(BaseModel):
    name: str
    steps: int


async def test_a_parsed_answer_is_the_same(ways: Any) -> None:
    """`parse` turns a schema's answer into the caller's own class."""
    for way in ways:
        async with way.async_client() as client:
            answer = await client.chat.completions.parse(
                model=way.model, response_format=Thing, **say("json")
            )
        assert answer.choices[0].message.parsed == Thing(name="stepwell", steps=3)


async def test_the_raw_response_tells_the_way(ways: Any) -> None:
    """Headers say who answered, and the request has an id that the SDK knows."""
    async with ways.stepwell.async_client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="default", **REQUESTS["plain"]
        )
        assert raw.headers["x-stepwell-target"] == "alpha/sim-model"
        assert raw.headers["x-stepwell-attempts"] == "1"
        assert raw.parse()._request_id == raw.headers["x-request-id"]


async def test_the_stream_is_opened_and_left(ways: Any) -> None:
    """A client that stops reading leaves nothing running at the provider."""
    provider = ways.stepwell.provider
    provider.hold()
    async with ways.stepwell.async_client() as client:
        provider.let(2)
        stream = await client.chat.completions.create(
            model="default", stream=True, **REQUESTS["plain"]
        )
        first = await anext(stream)
        assert isinstance(first, ChatCompletionChunk)
        await stream.close()
        await ended(provider)
    assert provider.aborted == 1


async def ended(provider: Any) -> None:
    """Wait until the provider's calls are over; the loop must turn for it."""
    while provider.in_flight:  # noqa: ASYNC110 - a record, not an event
        await asyncio.sleep(0)


async def test_models_are_listed_and_retrieved(ways: Any) -> None:
    """The SDK's own methods find every name, slashes included."""
    async with ways.stepwell.async_client() as client:
        models = [model async for model in client.models.list()]
        assert [model.id for model in models] == ["default", "alpha/sim-model"]
        for model in models:
            assert await client.models.retrieve(model.id) == model
            assert model.object == "model"
            assert model.created > 0


async def test_each_way_of_naming_the_provider_s_model_works(ways: Any) -> None:
    """A chain, a step, and the model's bare name."""
    async with ways.stepwell.async_client() as client:
        for name in ("default", "alpha/sim-model", "sim-model"):
            answer = await client.chat.completions.create(model=name, **REQUESTS["plain"])
            assert answer.model == "sim-model"
