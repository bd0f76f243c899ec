"""SimProvider: one simulated free-tier provider with an OpenAI-compatible API.

It answers `POST {base}/chat/completions` and `GET {base}/models`. A chat call passes, in this
order: key (401), body (400), model (404), the script of failures that answer by themselves, calls
in flight and limits (429), the script of failures that damage an answer. Nothing here is random.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import msgspec

from stepwell.clock import Clock
from stepwell.testing.acts import Acts, Head, Pause, Send
from stepwell.testing.dialects import Answer, Dialect, error_body
from stepwell.testing.failure import (
    Failure,
    Scene,
    answer_acts,
    measured,
    no_model,
    wrong_key,
)
from stepwell.testing.limits import Gauge, Limiter, Refusal, SimLimit
from stepwell.testing.performance import Call, Gate, Outcome, Performance
from stepwell.testing.reply import Reply, ToolCall, Wire, count_prompt, text_of
from stepwell.testing.script import Rule, Script

Spoken: TypeAlias = str | Reply


@dataclass(frozen=True, slots=True)
class Manners:
    """How a provider answers; see `Fleet.add`."""

    dialect: Dialect
    reply: Spoken | Callable[[Call], Spoken] | None
    latency: float
    tokens_per_second: float | None
    prefill: bool


class SimProvider:
    """One provider of a fleet; made by `Fleet.add`.

    Attributes:
        name: Its name in the fleet and in settings.
        dialect: Its dialect's name; `auto` for one that has none.
        base_url: Where it is to be found now; changes while the fleet serves on real sockets.
        models: The models that it knows.
        keys: The keys that it takes; none means that everyone may call.
        concurrency: Calls in flight at most for each key; None is unbounded.
        calls: A record of every chat request, in order.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        dialect: str,
        limiter: Limiter,
        models: Sequence[str],
        keys: Sequence[str],
        concurrency: int | None,
        manners: Manners,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.base_url = f"http://{name}.fleet.test/v1"
        self.models = tuple(models)
        self.keys = tuple(keys)
        self.concurrency = concurrency
        self.calls: list[Call] = []
        self._clock = clock
        self._limiter = limiter
        self._manners = manners
        self._script = Script()
        self._gate = Gate()
        self._open: Counter[str] = Counter()
        self._outcomes: Counter[Outcome] = Counter()

    def __repr__(self) -> str:
        return (
            f"<SimProvider {self.name}: {self.served} served, {self.refused} refused, "
            f"{self.in_flight} in flight>"
        )

    @property
    def limits(self) -> tuple[SimLimit, ...]:
        return self._limiter.limits

    @property
    def served(self) -> int:
        """Calls that were answered in full."""
        return self._outcomes["served"]

    @property
    def refused(self) -> int:
        """Calls that the provider's own rules refused: limits, key, model, body."""
        return self._outcomes["refused"]

    @property
    def failed(self) -> int:
        """Calls that failed as scripted."""
        return self._outcomes["failed"]

    @property
    def aborted(self) -> int:
        """Calls that the client left before the end."""
        return self._outcomes["aborted"]

    @property
    def in_flight(self) -> int:
        """Calls whose answer has not ended."""
        return self._open.total()

    def fail(
        self,
        *failures: Failure,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        """Let calls fail.

        Rules take turns in the order in which they were made, those without end after the others.
        A call that the provider's limits refuse meets no failure that would have damaged its
        answer, and does not count for `times` and `after` then.

        Args:
            failures: Done to the same answer one after the other.
            times: How many calls; None is all calls to come.
            after: Calls that pass before the first.
            when: Picks the calls that the rule is about, and counts; None is all.
        """
        self._script.rules.append(Rule(failures, times, after, when))

    def recover(self) -> None:
        """Forget all rules of `fail`."""
        self._script.rules.clear()

    def hold(self) -> None:
        """Hold back events (and buffered bodies) from now on; headers pass."""
        self._gate.hold()

    def let(self, count: int = 1) -> None:
        """Let `count` events pass, while `hold` is on; those not asked for yet pass later."""
        self._gate.let(count)

    def release(self) -> None:
        """End `hold`: everything flows again."""
        self._gate.release()

    def room(self, *, key: str | None = None, model: str | None = None, tokens: int = 1) -> bool:
        """Return whether a request would be admitted now: the truth, which scripted failures hide.

        Args:
            key: One key; None asks whether any has room.
            model: One model; None asks whether any has room.
            tokens: What the request would cost, prompt and answer.
        """
        keys = (key,) if key is not None else self.keys or ("",)
        models = (model,) if model is not None else self.models
        return any(self._no_room(key, model, tokens) is None for key in keys for model in models)

    def wait(self, *, key: str | None = None, model: str | None = None, tokens: int = 1) -> float:
        """Return the seconds until `room` is true; infinity if time alone never helps."""
        keys = (key,) if key is not None else self.keys or ("",)
        models = (model,) if model is not None else self.models
        return min(_wait(self._no_room(key, model, tokens)) for key in keys for model in models)

    def gauges(self, *, key: str | None = None, model: str | None = None) -> tuple[Gauge, ...]:
        """Return the true state of every limit of one key and model; None is the first of them."""
        key = key if key is not None else next(iter(self.keys), "")
        model = model if model is not None else self.models[0]
        return tuple(self._limiter.gauges(key, model, self._clock.monotonic()))

    # What the transport and the server call.

    def receive(
        self, method: str, path: str, headers: Mapping[str, str], raw: bytes
    ) -> Performance:
        """Take one request and decide on its answer.

        Args:
            method: The request's.
            path: What follows the base URL, without a query.
            headers: Names in lower case.
            raw: The whole body.
        """
        key = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if (method, path) == ("POST", "/chat/completions"):
            return self._chat(self._record(key, headers, raw))
        if (method, path) == ("GET", "/models"):
            return self._play_off_record(self._list_models(key))
        message = f"Unknown request URL: {method} {path}."
        return self._play_off_record(
            Answer(404, error_body(message, "invalid_request_error", "unknown_url"))
        )

    def _record(self, key: str, headers: Mapping[str, str], raw: bytes) -> Call:
        now = self._clock.monotonic()
        call = Call(len(self.calls) + 1, now, key, headers, raw, _decoded(raw))
        self.calls.append(call)
        self._open[key] += 1
        return call

    def _chat(self, call: Call) -> Performance:
        refusal = self._refuse_at_the_door(call)
        if refusal is not None:
            return self._perform(call, answer_acts(refusal), "refused")
        rule = self._script.match(call)
        if rule is not None and rule.instead:
            self._script.spend(call, rule)
            return self._fail_instead(call, rule)
        reply = self._reply(call, rule)
        refusal = self._refuse_for_quota(call, reply)
        if refusal is not None:
            return self._perform(call, answer_acts(refusal), "refused")
        self._script.spend(call, rule)
        return self._answer(call, reply, rule)

    def _refuse_at_the_door(self, call: Call) -> Answer | None:
        if not self._knows(call.key):
            return wrong_key(call.key)
        if not isinstance(call.body.get("messages"), list):
            message = "Missing required parameter: 'messages'."
            return Answer(400, error_body(message, "invalid_request_error", None, "messages"))
        return None if call.model in self.models else no_model(call.model)

    def _refuse_for_quota(self, call: Call, reply: Reply) -> Answer | None:
        """Take the quota of a call, or return its refusal."""
        tokens = self._wire(call).usage(reply)["total_tokens"]
        now = self._clock.monotonic()
        # The call itself is among those in flight, and must not count against itself.
        refusal = self._no_room(call.key, call.model, tokens, itself=1)
        if refusal is None:
            self._limiter.take(call.key, call.model, tokens, now)
            call.tokens = tokens
            return None
        self._limiter.refuse(call.key, call.model, now)
        refusal = self._no_room(call.key, call.model, tokens, itself=1) or refusal
        gauges = self._limiter.gauges(call.key, call.model, now)
        return self._manners.dialect.refuse(refusal, gauges, self._clock.time())

    def _no_room(self, key: str, model: str, tokens: int, itself: int = 0) -> Refusal | None:
        if self.concurrency is not None and self._open[key] - itself >= self.concurrency:
            return Refusal(model, None, 0, 1, wait=None)
        return self._limiter.refusal(key, model, tokens, self._clock.monotonic())

    def _fail_instead(self, call: Call, rule: Rule) -> Performance:
        scene = Scene(call.key, call.model, self._manners.dialect, self._clock.time())
        acts: Acts = ()
        for failure in rule.failures:
            if failure.instead is not None:
                acts = failure.instead(scene)
            elif failure.damage is not None:
                acts = failure.damage(acts)
        call.failure = _names(rule)
        return self._perform(call, acts, "failed")

    def _answer(self, call: Call, reply: Reply, rule: Rule | None) -> Performance:
        acts = self._stream(call, reply) if call.stream else self._buffer(call, reply)
        if rule is None:
            return self._perform(call, acts, "served")
        for failure in rule.failures:
            acts = failure.damage(acts) if failure.damage else acts
        call.failure = _names(rule)
        sound = all(failure.sound for failure in rule.failures)
        return self._perform(call, acts, "served" if sound else "failed")

    def _stream(self, call: Call, reply: Reply) -> Acts:
        events = list(self._wire(call).events(reply))
        spoken = sum(event.part in ("content", "tool") for event in events)
        pause = self._speaking_time(reply) / spoken if spoken else 0.0
        acts: list[Pause | Send] = []
        for event in events:
            if pause and event.part in ("content", "tool"):
                acts.append(Pause(pause))
            acts.append(event)
        return (self._head(call, "text/event-stream; charset=utf-8", None), *acts)

    def _buffer(self, call: Call, reply: Reply) -> Acts:
        body = self._wire(call).body(reply)
        pause = self._speaking_time(reply)
        head = self._head(call, "application/json", len(body))
        return (*([Pause(pause)] if pause else []), head, Send(body))

    def _head(self, call: Call, content_type: str, length: int | None) -> Head:
        gauges = self._limiter.gauges(call.key, call.model, self._clock.monotonic())
        headers = (("content-type", content_type), *self._manners.dialect.headers(gauges))
        return Head(200, headers, length)

    def _speaking_time(self, reply: Reply) -> float:
        speed = self._manners.tokens_per_second
        return reply.tokens / speed if speed else 0.0

    def _perform(self, call: Call, acts: Acts, outcome: Outcome) -> Performance:
        latency = self._manners.latency
        acts = (Pause(latency), *acts) if latency else acts
        identity = ("x-request-id", f"req_{self.name}_{call.number}")
        performance = Performance(
            call,
            _with_header(measured(acts), identity),
            self._clock,
            self._gate,
            lambda ended: self._close(call, ended),
        )
        performance.outcome = outcome
        return performance

    def _close(self, call: Call, outcome: Outcome) -> None:
        if call.ended is None:
            call.outcome = outcome
            call.ended = self._clock.monotonic()
            self._open[call.key] -= 1
            self._outcomes[outcome] += 1

    def _play_off_record(self, answer: Answer) -> Performance:
        nobody = Call(0, self._clock.monotonic(), "", {}, b"", {})
        return Performance(nobody, answer_acts(answer), self._clock, Gate(), lambda _: None)

    def _list_models(self, key: str) -> Answer:
        if not self._knows(key):
            return wrong_key(key)
        models = [
            {"id": model, "object": "model", "created": 0, "owned_by": self.name}
            for model in self.models
        ]
        return Answer(200, {"object": "list", "data": models})

    def _knows(self, key: str) -> bool:
        return not self.keys or key in self.keys

    def _wire(self, call: Call) -> Wire:
        options = call.body.get("stream_options")
        return Wire(
            id=f"chatcmpl-{self.name}-{call.number}",
            model=call.model,
            created=int(self._clock.time()),
            prompt_tokens=count_prompt(call.body["messages"]),
            choices=_number(call.body.get("n")) or 1,
            usage_event=isinstance(options, dict) and options.get("include_usage") is True,
        )

    def _reply(self, call: Call, rule: Rule | None) -> Reply:
        reply = self._speak(call)
        if self._manners.prefill:
            reply = _continued(reply, call)
        for failure in rule.failures if rule else ():
            reply = failure.change(reply) if failure.change else reply
        most = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
        return reply.cut_to(_number(most))

    def _speak(self, call: Call) -> Reply:
        said = self._manners.reply
        if said is None:
            return self._default_reply(call)
        spoken = said(call) if callable(said) else said
        return spoken if isinstance(spoken, Reply) else Reply(spoken)

    def _default_reply(self, call: Call) -> Reply:
        tool = _chosen_tool(call.body)
        if tool is not None:
            return Reply(tool_calls=(ToolCall(tool),))
        wanted = call.body.get("response_format")
        if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
            facts = {"provider": self.name, "call": call.number}
            return Reply(msgspec.json.encode(facts).decode())
        return Reply(f"This is {self.name} answering call {call.number}.")


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _names(rule: Rule) -> str:
    return "+".join(failure.name for failure in rule.failures)


def _wait(refusal: Refusal | None) -> float:
    if refusal is None:
        return 0.0
    return float("inf") if refusal.wait is None else refusal.wait


def _with_header(acts: Acts, header: tuple[str, str]) -> Acts:
    return tuple(
        replace(act, headers=(*act.headers, header)) if isinstance(act, Head) else act
        for act in acts
    )


def _chosen_tool(body: Mapping[str, Any]) -> str | None:
    """Return the function that `tool_choice` demands; `auto` is answered with text."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    if choice == "required" and body.get("tools"):
        return str(body["tools"][0]["function"]["name"])
    return None


def _continued(reply: Reply, call: Call) -> Reply:
    """Return what is left to say after the assistant's words that end the request."""
    last = call.body["messages"][-1] if call.body["messages"] else {}
    said = text_of(last) if isinstance(last, dict) and last.get("role") == "assistant" else ""
    return replace(reply, text=reply.text.removeprefix(said))
