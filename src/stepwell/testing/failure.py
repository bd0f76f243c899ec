"""Failure: one thing that can go wrong with an answer, by name.

A failure is one of three functions:

    instead   makes an answer of its own before the limits are asked; it takes no quota
    change    changes what the model says
    damage    changes the acts of a sound answer, buffered or streamed; its quota is spent

Counts of events include every event of the stream, the role preamble first. A failure about events
does to a buffered answer what comes nearest: half the body is sent instead of some of the events.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from stepwell.testing.acts import Act, Acts, Cut, Hang, Head, Pause, Refuse, Reset, Send
from stepwell.testing.dialects import Answer, Dialect, Headers, error_body, whole_seconds
from stepwell.testing.limits import Metric, Refusal, SimLimit
from stepwell.testing.reply import Reply

_JSON = (("content-type", "application/json"),)
_HTML = b"<!doctype html><html><head><title>Sign in</title></head><body>Sign in.</body></html>"

# What providers say with each status: message, type, code.
_STATUS: dict[int, tuple[str, str, str | None]] = {
    408: ("The request timed out.", "timeout", None),
    500: ("The server had an error while processing your request.", "server_error", None),
    502: ("Bad gateway.", "server_error", None),
    503: ("The engine is currently overloaded.", "server_error", "server_is_overloaded"),
    504: ("Gateway timeout.", "server_error", None),
    529: ("Overloaded.", "overloaded_error", None),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a failure that answers by itself needs to know; `unix` is the time in Unix seconds."""

    key: str
    model: str
    dialect: Dialect
    unix: float


@dataclass(frozen=True, slots=True)
class Failure:
    """See the module's text; make one with the constructors below.

    Attributes:
        name: The constructor's, for records.
        sound: The client can read the answer all the same: only its form is unusual.
    """

    name: str
    instead: Callable[[Scene], Acts] | None = None
    change: Callable[[Reply], Reply] | None = None
    damage: Callable[[Acts], Acts] | None = None
    sound: bool = False

    # Refusals.

    @classmethod
    def rate_limit(
        cls,
        delay: float | None = None,
        *,
        metric: Metric = "requests",
        window: float = 60.0,
        amount: int = 30,
        dialect: Dialect | None = None,
    ) -> "Failure":
        """429 in the provider's dialect, or another; it tells `delay` if it tells any."""
        limit = SimLimit(metric, amount, window)

        def instead(scene: Scene) -> Acts:
            refusal = Refusal(scene.model, limit, amount, 1, delay)
            return answer_acts((dialect or scene.dialect).refuse(refusal, (), scene.unix))

        return cls("rate_limit", instead)

    @classmethod
    def credit(cls, status: int = 429) -> "Failure":
        """The account has no money: 429 `insufficient_quota`, or 402."""
        message = "You exceeded your current quota, please check your plan and billing details."
        kind = "insufficient_quota"
        return _says("credit", status, message, kind, code=kind)

    @classmethod
    def unauthorized(cls) -> "Failure":
        """401 as for a revoked key; it repeats the key, as some providers do."""
        return cls("unauthorized", lambda scene: answer_acts(wrong_key(scene.key)))

    @classmethod
    def forbidden(cls, message: str = "Your key may not use this model.") -> "Failure":
        return _says("forbidden", 403, message, "permission_error", code="permission_denied")

    @classmethod
    def not_found(cls) -> "Failure":
        """404 as for a model that is gone."""
        return cls("not_found", lambda scene: answer_acts(no_model(scene.model)))

    @classmethod
    def bad_request(
        cls, message: str = "Unsupported value.", param: str | None = None, status: int = 400
    ) -> "Failure":
        return _says(
            "bad_request", status, message, "invalid_request_error", code=None, param=param
        )

    @classmethod
    def too_large(cls, context: int = 8192, status: int = 400) -> "Failure":
        """400 `context_length_exceeded`, or 413."""
        message = (
            f"This model's maximum context length is {context} tokens. "
            f"Please reduce the length of the messages."
        )
        kind, code = "invalid_request_error", "context_length_exceeded"
        return _says("too_large", status, message, kind, code=code, param="messages")

    @classmethod
    def status(
        cls, status: int, *, retry_after: float | None = None, message: str | None = None
    ) -> "Failure":
        """408, 500, 502, 503, 529 or any other, with Retry-After in seconds if given."""
        said, kind, code = _STATUS.get(status, ("Something went wrong.", "server_error", None))
        headers = () if retry_after is None else (("retry-after", whole_seconds(retry_after)),)
        answer = Answer(status, error_body(message or said, kind, code), headers)
        return cls("status", lambda _: answer_acts(answer))

    @classmethod
    def redirect(cls, location: str = "http://elsewhere.fleet.test/v1") -> "Failure":
        return cls("redirect", lambda _: raw_acts(302, b"", (("location", location),)))

    @classmethod
    def html(cls, status: int = 200) -> "Failure":
        """A web page, as a captive portal sends it."""
        headers = (("content-type", "text/html; charset=utf-8"),)
        return cls("html", lambda _: raw_acts(status, _HTML, headers))

    # No answer at all.

    @classmethod
    def connect_error(cls) -> "Failure":
        """The client cannot connect. A real server, which has to accept, resets instead."""
        return cls("connect_error", lambda _: (Refuse(),))

    @classmethod
    def reset(cls) -> "Failure":
        """The connection is reset before the first byte."""
        return cls("reset", lambda _: (Reset(),))

    @classmethod
    def hang(cls) -> "Failure":
        """Not one byte, until the client gives up."""
        return cls("hang", lambda _: (Hang(),))

    # Answers that end where they must not.

    @classmethod
    def hang_after(cls, events: int = 0) -> "Failure":
        """Silence after the headers and `events` events."""
        return cls("hang_after", damage=lambda acts: (*_first(acts, events), Hang()))

    @classmethod
    def cut(cls, events: int = 0) -> "Failure":
        """The connection is closed after `events` events, in the middle of the message."""
        return cls("cut", damage=lambda acts: (*_first(acts, events), Cut()))

    @classmethod
    def cut_bytes(cls, size: int) -> "Failure":
        """The connection is closed after `size` bytes of the body, in the middle of an event."""
        return cls("cut_bytes", damage=lambda acts: (*_first_bytes(acts, size), Cut()))

    @classmethod
    def ends_early(cls, events: int = 0) -> "Failure":
        """The message ends in good order after `events` events, but the answer is not whole."""
        return cls("ends_early", damage=lambda acts: tuple(_first(acts, events)))

    @classmethod
    def empty_stream(cls) -> "Failure":
        """200 and nothing else."""
        return cls("empty_stream", damage=lambda acts: tuple(_first(acts, 0, half=False)))

    @classmethod
    def no_done(cls) -> "Failure":
        """The finish comes, `[DONE]` does not."""
        return cls("no_done", damage=lambda acts: _without(acts, "done"), sound=True)

    @classmethod
    def no_finish(cls) -> "Failure":
        """All of the content comes, then the stream ends: no finish, no usage, no `[DONE]`."""
        return cls("no_finish", damage=lambda acts: _without(acts, "finish", "usage", "done"))

    # Errors inside a 200.

    @classmethod
    def in_band_error(
        cls, code: int | str = 500, *, after: int | None = None, message: str = "Upstream failed."
    ) -> "Failure":
        """An error event in the stream, which then ends.

        Args:
            code: The inner code, such as 429 or 500.
            after: So many content events, so that 0 is right after the role; None: the first event.
            message: The error's.
        """
        error = msgspec.json.encode(error_body(message, "server_error", code))
        event = Send(b"data: " + error + b"\n\n", "other")

        def damage(acts: Acts) -> Acts:
            if _is_buffered(acts):
                return (*_first(acts, 0, half=False), Send(error))
            return (*_first(acts, _events_before(acts, after)), event)

        return cls("in_band_error", damage=damage)

    @classmethod
    def error_in_200(cls, code: int | str = 500, message: str = "Upstream failed.") -> "Failure":
        """200 with an error as its whole JSON body, streamed or not."""
        answer = Answer(200, error_body(message, "server_error", code))
        return cls("error_in_200", damage=lambda _: answer_acts(answer))

    @classmethod
    def malformed(cls, after: int = 0) -> "Failure":
        """An event that is no JSON after `after` sound ones; a buffered body that breaks off."""
        event = Send(b'data: {"id":"chatcmpl-1","choices":[{"ind\n\n', "other")

        def damage(acts: Acts) -> Acts:
            return tuple(_first(acts, after)) + (() if _is_buffered(acts) else (event,))

        return cls("malformed", damage=damage)

    @classmethod
    def empty(cls, finish_reason: str = "stop") -> "Failure":
        """A completion without a word, with `stop`, `length` or `content_filter`."""
        return cls("empty", change=lambda _: Reply(finish_reason=finish_reason))

    # Unusual, but sound.

    @classmethod
    def crlf(cls) -> "Failure":
        """Events end their lines with CR LF."""

        def ends(send: Send) -> Iterator[Act]:
            crlf = send.part != "body"
            yield replace(send, data=send.data.replace(b"\n", b"\r\n")) if crlf else send

        return cls("crlf", damage=lambda acts: _each_send(acts, ends), sound=True)

    @classmethod
    def bytewise(cls, size: int = 1) -> "Failure":
        """Every chunk has `size` bytes, wherever the events end."""
        return cls("bytewise", damage=lambda acts: _each_send(acts, _cutter(size)), sound=True)

    @classmethod
    def lump(cls) -> "Failure":
        """The whole body in one chunk."""

        def damage(acts: Acts) -> Acts:
            data = b"".join(act.data for act in acts if isinstance(act, Send))
            return (*_first(acts, 0, half=False), Send(data, "other"))

        return cls("lump", damage=damage, sound=True)

    @classmethod
    def slow(cls, seconds: float) -> "Failure":
        """A pause before each event, or before the body."""

        def drip(send: Send) -> Iterator[Act]:
            yield Pause(seconds)
            yield send

        return cls("slow", damage=lambda acts: _each_send(acts, drip), sound=True)

    @classmethod
    def comments(cls) -> "Failure":
        """An SSE comment before each event, as some providers send to keep a connection open."""

        def comment(send: Send) -> Iterator[Act]:
            if send.part != "body":
                yield Send(b": PROCESSING\n\n", "other")
            yield send

        return cls("comments", damage=lambda acts: _each_send(acts, comment), sound=True)

    @classmethod
    def gzip(cls) -> "Failure":
        """A compressed body, flushed after each event, also if the client did not ask for it."""
        return cls("gzip", damage=_gzip, sound=True)


def _says(
    name: str, status: int, message: str, kind: str, *, code: str | None, param: str | None = None
) -> Failure:
    answer = Answer(status, error_body(message, kind, code, param))
    return Failure(name, lambda _: answer_acts(answer))


def answer_acts(answer: Answer) -> Acts:
    """Return the acts of a buffered JSON answer."""
    return raw_acts(answer.status, msgspec.json.encode(answer.body), _JSON + answer.headers)


def raw_acts(status: int, body: bytes, headers: Headers) -> Acts:
    return (Head(status, headers, len(body)), *([Send(body)] if body else []))


def wrong_key(key: str) -> Answer:
    message = f"Incorrect API key provided: {key}."
    return Answer(401, error_body(message, "invalid_request_error", "invalid_api_key"))


def no_model(model: Any) -> Answer:
    message = f"The model `{model}` does not exist or you do not have access to it."
    return Answer(404, error_body(message, "invalid_request_error", "model_not_found", "model"))


def measured(acts: Acts) -> Acts:
    """Return acts whose Content-Length is true, unless they break off on purpose."""
    if any(isinstance(act, Hang | Cut | Reset) for act in acts):
        return acts
    size = sum(len(act.data) for act in acts if isinstance(act, Send))
    return tuple(
        replace(act, length=size) if isinstance(act, Head) and act.length is not None else act
        for act in acts
    )


def _is_buffered(acts: Acts) -> bool:
    return any(isinstance(act, Head) and act.length is not None for act in acts)


def _first(acts: Acts, events: int, *, half: bool = True) -> Iterator[Act]:
    """Yield the acts up to the first `events` events, or up to half of a buffered body."""
    for act in acts:
        if isinstance(act, Send):
            if act.part == "body" and half:
                yield replace(act, data=act.data[: len(act.data) // 2])
            if events <= 0 or act.part == "body":
                return
            events -= act.ends
        yield act


def _first_bytes(acts: Acts, size: int) -> Iterator[Act]:
    for act in acts:
        if isinstance(act, Send):
            if len(act.data) >= size:
                yield from [replace(act, data=act.data[:size])] if size else []
                return
            size -= len(act.data)
        yield act


def _events_before(acts: Acts, content: int | None) -> int:
    """Return how many events stand before the place after `content` content events."""
    if content is None:
        return 0
    parts = [act.part for act in acts if isinstance(act, Send)]
    places = [index for index, part in enumerate(parts) if part in ("content", "tool")]
    if content < len(places):
        return places[content]
    return next((index for index, part in enumerate(parts) if part == "finish"), len(parts))


def _without(acts: Acts, *parts: str) -> Acts:
    return tuple(act for act in acts if not (isinstance(act, Send) and act.part in parts))


def _each_send(acts: Acts, change: Callable[[Send], Iterator[Act]]) -> Acts:
    return tuple(
        changed for act in acts for changed in (change(act) if isinstance(act, Send) else [act])
    )


def _cutter(size: int) -> Callable[[Send], Iterator[Act]]:
    def cut(send: Send) -> Iterator[Act]:
        last = len(send.data) - size
        for start in range(0, len(send.data), size):
            piece = send.data[start : start + size]
            yield Send(piece, send.part, ends=send.ends and start >= last)

    return cut


def _gzip(acts: Acts) -> Acts:
    packer = zlib.compressobj(wbits=31)
    sends = [act for act in acts if isinstance(act, Send)]

    def pack(send: Send) -> Iterator[Act]:
        last = send is sends[-1]
        data = packer.compress(send.data)
        yield replace(send, data=data + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH))

    packed = _each_send(acts, pack)
    encoding = ("content-encoding", "gzip")
    return tuple(
        replace(act, headers=(*act.headers, encoding)) if isinstance(act, Head) else act
        for act in packed
    )
