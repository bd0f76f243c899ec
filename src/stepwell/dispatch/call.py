"""Call: one request on its way, and the steps that can serve it."""

from collections.abc import Callable, Sequence
from math import inf
from types import TracebackType
from typing import Self

import msgspec

from stepwell.chat import ChatRequest
from stepwell.clock import Deadline
from stepwell.dispatch.answer import Answer
from stepwell.providers.catalogue import choosing_fields
from stepwell.routing.chain import Step
from stepwell.routing.fit import Needs, fit, refuse_choosing, refuse_hosted
from stepwell.routing.line import Place
from stepwell.routing.trail import Trail


class Call(msgspec.Struct):
    """One request on its way.

    As a context manager it stands for the request's whole time: leaving it tells what it ended with.

    Attributes:
        request: What the client sent.
        steps: Where it may go.
        arrived: Monotonic time of its arrival.
        trail: What has been tried.
        doing: What it is about now; see `Dispatcher.doing`.
        client: Whose it is: clients take turns in the queue.
        max_wait: Seconds that it may wait for quota in all.
        free_only: It must cost nothing.
        number: Its place among all requests by arrival; the dispatcher gives it.
        place: Where it stands in the queue now.
        held_from: Monotonic time from which it may be held at a target that may have room (see
            `quota.opening`): its arrival, then the end of its patience; -inf if it wants no wait.
        rests: How often it paused before it went down again.
        was_turned_away: It could have waited, but the queue was full.
        route: The name by which it found its steps, for records.
        deadline: Of the search for an answer, while that runs.
        answer: Who serves it, at first; None before there is one.
        finish: Told at the end what it ended with, an error or None.
    """

    request: ChatRequest
    steps: Sequence[Step]
    arrived: float
    trail: Trail = msgspec.field(default_factory=Trail)
    doing: str = "quota"
    client: str = ""
    max_wait: float = 0.0
    free_only: bool = False
    number: int | None = None
    place: Place | None = None
    held_from: float = -inf
    rests: int = 0
    was_turned_away: bool = False
    route: str = ""
    deadline: Deadline | None = None
    answer: Answer | None = None
    finish: Callable[["Call", BaseException | None], object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.finish is not None:
            self.finish(self, exc)

    @property
    def needs(self) -> Needs:
        """What it asks of a step."""
        request = self.request
        return Needs(
            request.prompt_tokens, request.max_tokens or 0, request.capabilities, self.free_only
        )


def able_steps(call: Call) -> Sequence[Step]:
    """Return the steps that can serve a request at all.

    Raises:
        BadRequest: None can.
    """
    request = call.request
    if call.free_only:
        refuse_choosing(filter(request.has, request.fields), choosing_fields())
        refuse_hosted(request.hosted_tools)
    return fit(call.steps, call.needs)
