"""What may and what must be in a bucket, against the bucket that a provider has."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.quota.limit import Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import WAY, Usage
from stepwell.testing.limits import BucketMeter, SimLimit

WINDOW = 10.0
AMOUNT = 60
LIMIT = SimLimit("tokens", AMOUNT, WINDOW, kind="bucket")
# What an answer's arithmetic may lose in a hundred steps.
BLUR = 1e-3


class Call(NamedTuple):
    """One that is let in if there is room: when it comes, what it costs, how it is answered."""

    after: float
    cost: int
    way: float
    thinks: float
    is_asked: bool


calls = st.builds(
    Call,
    after=st.floats(0.0, 6.0),
    cost=st.integers(1, 40),
    way=st.floats(0.0, WAY),
    thinks=st.floats(0.0, 8.0),
    is_asked=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(calls, min_size=1, max_size=80),
    st.integers(AMOUNT - 20, AMOUNT),
    st.integers(AMOUNT, AMOUNT + 20),
    st.integers(0, 80),
)
def test_a_bucket_holds_no_less_than_it_must_and_no_more_than_it_may(
    load: list[Call], least: int, most: int, prompt_from: int
) -> None:
    """However calls overtake each other, whatever is forgotten, and whenever that is learned."""
    usage = Usage(Metric.TOKENS, WINDOW, Traffic())
    meter = BucketMeter(LIMIT, 0.0)
    under_way: list[tuple[float, float, int, bool]] = []
    now = 0.0

    def answer(until: float) -> None:
        for answered, sent, cost, is_asked in sorted(under_way):
            if answered <= until:
                under_way.remove((answered, sent, cost, is_asked))
                usage.add(cost, sent, answered)
                if is_asked:
                    check(answered)

    def check(moment: float) -> None:
        if under_way:
            return  # who is in flight counts beside the bucket
        room = AMOUNT - meter.used(moment)
        assert least - usage.maybe_level(least, moment + WAY) <= room + BLUR + AMOUNT * WAY / WINDOW
        assert most - usage.surely_level(most, moment) >= room - BLUR

    for number, call in enumerate(load):
        now += call.after
        answer(now)
        usage.is_prompt = number >= prompt_from
        counted = now + call.way
        if meter.wait(counted, call.cost) <= 0:
            meter.take(counted, call.cost)
            under_way.append((counted + call.thinks, now, call.cost, call.is_asked))
            now = counted  # the provider counts one after the other
        check(now)
    answer(now + 20.0)
    check(now + 20.0)
