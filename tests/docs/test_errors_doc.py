"""docs/errors.md lists every error code; each of them is provoked here."""

import ast
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

import stepwell
from stepwell import create_app, errors
from stepwell.api.boundary import http_exception
from stepwell.errors import StepwellError
from stepwell.testing import Failure, FakeClock, Fleet, SimProvider

PACKAGE = Path(stepwell.__file__).parent
# What reads providers' codes, plays providers, or never answers over HTTP.
ELSEWHERE = {"providers", "testing", "cli", "settings"}
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


class Site:
    """A gateway, its one provider, and a client that holds a key."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.fleet = Fleet(self.clock)
        self.alpha: SimProvider = self.fleet.add("alpha")
        self.settings = self.fleet.settings(unknown_model="reject", limits=True)
        step = {"provider": "alpha", "model": "sim-model"}
        self.settings["chains"]["paid"] = [step | {"cost": "paid"}]
        self.settings["chains"]["small"] = [step | {"context": 1000, "capabilities": []}]
        self.app: Starlette = create_app(
            self.settings,
            transport=self.fleet.transport(),
            clock=self.clock,
        )

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": "Bearer sk-test", **options.pop("headers", {})}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://gateway"
        ) as client:
            return await self.clock.run(client.request(method, path, headers=headers, **options))

    async def chat(self, **fields: Any) -> httpx.Response:
        return await self.send("POST", CHAT, json={"messages": MESSAGES, **fields})


async def exhausted(site: Site) -> httpx.Response:
    site.alpha.fail(Failure.rate_limit(17.4), times=None)
    return await site.chat()


async def queue_full(site: Site) -> httpx.Response:
    settings = {**site.settings, "queue": {"max_size": 0}}
    site.app = create_app(settings, transport=site.fleet.transport(), clock=site.clock)
    site.alpha.fail(Failure.rate_limit(17.4), times=None)
    headers = {"x-stepwell-max-wait": "30"}
    return await site.send("POST", CHAT, json={"messages": MESSAGES}, headers=headers)


async def truncated(site: Site) -> httpx.Response:
    site.alpha.fail(Failure.cut(3))
    return await site.chat(stream=True)


async def overloaded(site: Site) -> httpx.Response:
    settings = {**site.settings, "limits": {"max_in_flight": 1}}
    site.app = create_app(settings, transport=site.fleet.transport(), clock=site.clock)
    site.app.state.gateway.enter(object())
    return await site.chat()


async def shutting_down(site: Site) -> httpx.Response:
    await site.app.state.gateway.drain(0)
    return await site.chat()


async def failed(site: Site) -> httpx.Response:
    site.app.state.gateway.dispatcher = None
    return await site.chat()


async def wrong_type(site: Site) -> httpx.Response:
    return await site.send("POST", CHAT, content=b"hi", headers={"content-type": "text/plain"})


async def too_large(site: Site) -> httpx.Response:
    return await site.send("POST", CHAT, content=b"", headers={"content-length": str(1 << 30)})


PROVOKED: dict[str, Callable[[Site], Awaitable[httpx.Response]]] = {
    "all_providers_exhausted": exhausted,
    "queue_full": queue_full,
    "upstream_stream_truncated": truncated,
    "overloaded": overloaded,
    "shutting_down": shutting_down,
    "invalid_api_key": lambda site: site.send("GET", "/v1/models", headers={"authorization": ""}),
    "model_not_found": lambda site: site.chat(model="nobody/knows"),
    "invalid_request": lambda site: site.chat(n="many"),
    "context_length_exceeded": lambda site: site.chat(
        model="small", messages=[{"role": "user", "content": "word " * 2000}]
    ),
    "unsupported_parameter": lambda site: site.chat(model="small", tools=[{"type": "function"}]),
    "no_free_step": lambda site: site.send(
        "POST",
        CHAT,
        json={"model": "paid", "messages": MESSAGES},
        headers={"x-stepwell-free-only": "1"},
    ),
    "request_too_large": too_large,
    "unsupported_media_type": wrong_type,
    "not_found": lambda site: site.send("GET", "/v1/v1/models"),
    "method_not_allowed": lambda site: site.send("GET", CHAT),
    "internal_error": failed,
}


@pytest.fixture
def listed(page: Any) -> dict[str, str]:
    """Status by code, as the page has it."""
    rows = page("docs/errors.md").tables()["Codes"]
    return {code.strip("`"): status for code, status, _, _ in rows}


@pytest.mark.parametrize("code", PROVOKED)
async def test_a_listed_code_reaches_a_client(code: str, listed: dict[str, str]) -> None:
    """With the status that the page gives it, or inside a stream."""
    answer = await PROVOKED[code](Site())
    if listed[code] == "in the stream":
        assert answer.status_code == 200
        last = answer.text.strip().rpartition("\n\n")[2]
        error = json.loads(last.removeprefix("data: "))["error"]
    else:
        assert answer.status_code == int(listed[code])
        error = answer.json()["error"]
    assert error["code"] == code


def test_the_list_is_whole(listed: dict[str, str], page: Any) -> None:
    """Every code in the source stands on the page, and every code of the page in the source."""
    assert sorted(listed) == sorted(PROVOKED)
    rows = page("docs/errors.md").tables()
    others = {"http_error"}  # it waits for what Starlette may raise one day
    assert not others & set(page("docs/errors.md").words())
    python = {code.strip("`") for _, code, _ in rows["In Python"]}
    assert {*listed, *python, *others} == set(codes_in_source())


def codes_in_source() -> Iterator[str]:
    """Yield the strings that something called `code` or `codes` is made of."""
    for file in PACKAGE.rglob("*.py"):
        if file.relative_to(PACKAGE).parts[0] not in ELSEWHERE:
            for node in ast.walk(ast.parse(file.read_text())):
                for value in values_of_code(node):
                    yield from strings(value)


def values_of_code(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what an assignment, a keyword argument or an entry gives to that name."""
    match node:
        case ast.keyword(arg="code", value=value):
            yield value
        case ast.Assign(targets=[ast.Name(id="code" | "codes")], value=value):
            yield value
        case ast.AnnAssign(target=ast.Name(id="code"), value=ast.expr() as value):
            yield value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    yield value


def strings(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_exception_is_listed_with_its_code(page: Any) -> None:
    """The tree of stepwell/errors.py, each with the code that it has when nobody says otherwise."""
    rows = page("docs/errors.md").tables()["In Python"]
    shown = {name.strip("`"): code.strip("`") for name, code, _ in rows}
    assert shown == {kind.__name__: code_of(kind) for kind in family(StepwellError)}
    assert all(hasattr(stepwell, name) and hasattr(errors, name) for name in shown)


def family(kind: type[StepwellError]) -> Iterator[type[StepwellError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


def code_of(kind: type[StepwellError]) -> str:
    return errors.UnknownModel("").code if kind is errors.UnknownModel else kind.code


async def test_the_example_has_the_shape_of_a_real_error(page: Any) -> None:
    """Every name of the example's body, and no other, is in what a client gets."""
    shown = json.loads(page("docs/errors.md").blocks("json")[0])
    answer = await exhausted(Site())
    assert shape(shown) == shape(answer.json())
    assert answer.headers["retry-after"] == "18"
    assert answer.headers["retry-after-ms"] == "17400"
    named = {word for word in page("docs/errors.md").words() if word.startswith("x-")}
    assert named <= set(answer.headers)


def shape(value: Any) -> Any:
    """Return names without values; of a list its first element's."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(value[0])] if isinstance(value, list) else None


async def test_any_other_refusal_of_the_router_has_an_envelope() -> None:
    """Starlette raises 404 and 405; what a later version may add is no crash."""
    scope = {"type": "http", "method": "GET", "path": "/v1/tea", "headers": []}
    answer = await http_exception(Request(scope), HTTPException(418))
    assert answer.status_code == 418
    assert json.loads(bytes(answer.body))["error"]["code"] == "http_error"
