"""What is learned of a limit, beside providers that count as they like within what is known.

A provider counts a call at some moment between its sending and its answer. Whatever the moments,
the law by which it counts must never be refuted, and what the law says of the present and the
future must be true.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.quota.count import Count
from stepwell.quota.laws import laws_of
from stepwell.quota.laws.fixed import Fixed
from stepwell.quota.laws.law import Kind, Law, Outcome
from stepwell.quota.limit import Limit, Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import WAY
from stepwell.testing.limits import Limiter, SimLimit

few = settings(deadline=None, max_examples=200)

Telling = Literal["nothing", "exactly", "whole seconds"]

# Moments are whole milliseconds, and often whole quarters of a second, so that edges coincide.
quarters = st.integers(0, 4 * 20).map(lambda number: number * 250)
moments = st.one_of(st.integers(0, 20_000), quarters)
delays = st.one_of(st.just(0), st.integers(0, 4_000), st.integers(0, 16).map(lambda n: n * 250))


@dataclass(frozen=True, slots=True)
class Call:
    """Times in milliseconds: after the sending before it, until it is counted, until it is answered."""

    gap: int
    way: int
    back: int
    tokens: int
    telling: Telling


calls = st.builds(
    Call,
    gap=st.one_of(delays, delays, moments),
    way=delays,
    back=delays,
    tokens=st.integers(1, 12),
    telling=st.sampled_from(["nothing", "exactly", "whole seconds"]),
)
truths = st.builds(
    SimLimit,
    metric=st.sampled_from(["requests", "tokens"]),
    amount=st.integers(1, 12),
    window=st.one_of(st.integers(6, 60), st.sampled_from([6, 10, 60])).map(float),
    kind=st.sampled_from(["fixed", "first-call", "sliding", "bucket"]),
    offset=moments.map(lambda ms: ms / 1000),
)


@dataclass
class Scene:
    """A provider and what is known of it, moved from event to event.

    Attributes:
        truth: How the provider counts.
        prompt: It counts every call as it comes, and that is known.
        doubts: Refused calls are doubted, as the keeper does.
        by_stage: What happens in one moment happens stage by stage, else call by call.
        learns: The count is told of every call that goes past it.
    """

    truth: SimLimit
    prompt: bool = False
    doubts: bool = False
    by_stage: bool = False
    learns: bool = False
    epoch: float = 1000.0
    traffic: Traffic = field(default_factory=Traffic)
    delays: dict[int, float | None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.metric = Metric(self.truth.metric)
        limit = Limit(self.metric, self.truth.amount, self.truth.window)
        self.count = Count.of(limit, self.traffic)
        self.usage = self.count.usage
        self.usage.is_prompt = self.prompt
        self.provider = Limiter([self.truth], self.epoch)

    def need(self, call: Call) -> int:
        return self.usage.need(min(call.tokens, self.truth.amount))

    def refuses(self, need: int, moment: float) -> bool:
        # A later moment is asked of a copy: the referee forgets as time goes on.
        return deepcopy(self.provider).refusal("", "", need, moment) is not None

    def play(self, script: list[Call]) -> Iterator[tuple[float, Outcome | None]]:
        """Yield each moment, with what a call has come to if one is answered then.

        The outcome is yielded before it is booked, as the keeper learns from it.
        """
        for moment, stage, number, times in self._timeline(script):
            call, outcome = script[number], None
            if stage == 0:
                self._send(number, self.need(call), moment)
            elif stage == 1:
                self._decide(number, call, moment)
            else:
                outcome = self._outcome(number, call, *times)
            if outcome is not None:
                yield moment, outcome
                self._book(number, outcome)
            yield moment, None

    def _send(self, number: int, need: int, now: float) -> None:
        if self.learns:
            self.count.challenge(number, need, now)
        self.traffic.start(number, need)

    def _decide(self, number: int, call: Call, now: float) -> None:
        refusal = self.provider.refusal("", "", self.need(call), now)
        if refusal is None:
            self.provider.take("", "", self.need(call), now)
        else:
            self.refused.add(number)
            assert refusal.wait is not None
            exact = refusal.wait if call.telling == "exactly" else float(ceil(refusal.wait))
            self.delays[number] = None if call.telling == "nothing" else exact

    def _outcome(self, number: int, call: Call, sent: float, answered: float) -> Outcome:
        served = number not in self.refused
        if served:
            self.traffic.end([(number, self.need(call), 0.0, 0.0)])
        need, delay = self.need(call), self.delays.get(number)
        return Outcome(sent, answered, need, served=served, delay=delay)

    def _book(self, number: int, outcome: Outcome) -> None:
        need = self.usage.need(outcome.need)
        if outcome.served:
            times = outcome.sent, outcome.answered
            self.count.add(number, need, *times, served=True)
            return
        self.traffic.end([(number, need, 0.0, 0.0)])
        if self.doubts:
            self.count.doubt(need, outcome.answered)

    def _timeline(self, script: list[Call]) -> list[tuple[float, int, int, tuple[float, float]]]:
        """Return what happens, in its order: 0 for a sending, 1 for its decision, 2 for its answer."""
        events, sent = [], self.epoch * 1000
        for number, call in enumerate(script):
            sent += call.gap
            decided = sent + (min(call.way, WAY * 1000) if self.prompt else call.way)
            times = (sent / 1000, (decided + call.back) / 1000)
            for stage, moment in enumerate((times[0], decided / 1000, times[1])):
                events.append((moment, stage, number, times))
        return sorted(events, key=lambda e: e[:3] if self.by_stage else (e[0], e[2], e[1]))


def has_edge(law: Law, edge: float) -> bool:
    if not isinstance(law, Fixed):
        return True
    window = law.usage.window
    phase = edge % window
    return any(
        low - SLACK <= phase + turn <= high + SLACK
        for low, high in law.phases.arcs
        for turn in (-window, 0.0, window)
    )


# By how much the amount may be smaller or larger, as far as is known.
Bounds = tuple[int, float]
bounds: st.SearchStrategy[Bounds] = st.one_of(
    st.just((0, 0)),
    st.tuples(st.integers(0, 6), st.one_of(st.integers(0, 6), st.just(inf))),
)
# Sums of floats, and the microsecond by which the referee gives back early.
SLACK = 1e-5
scenes = st.builds(Scene, truths, st.booleans(), st.booleans(), st.booleans())
scripts = st.lists(calls, min_size=1, max_size=40)


def true_law(scene: Scene, bounds: Bounds) -> Law:
    """Return the law by which the provider counts, as far as it is known."""
    amount, (below, above) = scene.truth.amount, bounds
    laws = laws_of(scene.usage, max(1, amount - below), amount + above)
    return next(law for law in laws if law.kind == Kind(scene.truth.kind))


@few
@given(scenes, bounds, scripts)
def test_the_true_law_is_never_refuted(scene: Scene, known: Bounds, script: list[Call]) -> None:
    """Every answer fits it, and leaves the true amount within its bounds and the true edge."""
    law: Law | None = true_law(scene, known)
    for _, outcome in scene.play(script):
        if outcome is not None:
            assert law is not None
            law = law.after(outcome)
            assert law is not None, outcome
            assert law.least <= scene.truth.amount <= law.most, (outcome, law)
            assert has_edge(law, scene.epoch + scene.truth.offset), (outcome, law)


@few
@given(scenes, bounds, scripts, st.integers(1, 12))
def test_what_the_true_law_says_of_room_is_true(
    scene: Scene, known: Bounds, script: list[Call], tokens: int
) -> None:
    """From when it opens the provider admits, and before it may open the provider refuses."""
    law: Law | None = true_law(scene, known)
    for moment, outcome in scene.play(script):
        assert law is not None
        if outcome is not None:
            law = law.after(outcome)
        elif not len(scene.traffic):
            compare(scene, law, min(tokens, scene.truth.amount), moment)


@few
@given(scenes, scripts)
def test_a_count_of_the_right_amount_is_never_silenced(scene: Scene, script: list[Call]) -> None:
    """However the provider counts, its kind stays possible; at most the amount is not proven in time."""
    scene.learns, scene.usage.is_prompt = True, False
    for _, outcome in scene.play(script):
        if outcome is not None and not outcome.served:
            believed = scene.count.refuse(outcome)
            assert believed or not scene.count.belief.proofs.is_plausible, outcome
        assert Kind(scene.truth.kind) in {law.kind for law in scene.count.belief.laws}


def compare(scene: Scene, law: Law, tokens: int, now: float) -> None:
    need = scene.usage.need(tokens)
    opens, may_open = law.opens(tokens, now), law.may_open(tokens, now)
    assert may_open <= max(now, opens) + SLACK
    if opens < inf:
        assert not scene.refuses(need, max(now, opens + SLACK))
    else:
        assert need > law.least
    if may_open > now + SLACK:
        assert scene.refuses(need, now)
        assert scene.refuses(need, min(may_open, now + 1e6) - SLACK)
