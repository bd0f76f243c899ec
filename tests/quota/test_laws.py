from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.quota.laws import after, is_far, laws_of
from stepwell.quota.laws.law import Outcome
from stepwell.quota.limit import Metric
from stepwell.quota.traffic import Traffic
from stepwell.quota.usage import Usage

WINDOW = 60.0
SENT = 3 * WINDOW

moments = st.floats(0.0, SENT)
costs = st.integers(1, 5)


@settings(deadline=None)
@given(
    calls=st.lists(st.tuples(moments, st.floats(0.0, 2.0), costs, st.booleans())),
    flying=st.lists(costs, max_size=3),
    need=costs,
    amount=st.integers(1, 40),
    is_prompt=st.booleans(),
)
def test_no_law_explains_a_refusal_far_from_the_amount(
    calls: list[tuple[float, float, int, bool]],
    flying: list[int],
    need: int,
    amount: int,
    is_prompt: bool,
) -> None:
    """So nobody needs to ask one; whatever was served, refused or is in flight."""
    usage = Usage(Metric.TOKENS, WINDOW, Traffic())
    usage.is_prompt = is_prompt
    for moment, seconds, cost, is_served in sorted(calls):
        if is_served:
            usage.add(cost, moment, moment + seconds)
        else:
            usage.doubt(cost, moment + seconds)
    for call, cost in enumerate([need, *flying]):
        usage.traffic.start(call, cost)
    refusal = Outcome(SENT, SENT + 0.1, need, served=False)
    if is_far(usage, refusal, amount):
        assert after(laws_of(usage, amount, amount), refusal) == ()


def test_a_refusal_is_far_while_there_is_room_for_two_calls_more() -> None:
    """One more may be what a bucket rounds away."""
    usage = Usage(Metric.REQUESTS, WINDOW, Traffic())
    for moment in range(7):
        usage.add(1, float(moment), float(moment))
    usage.traffic.start(1, 1)
    refusal = Outcome(10.0, 10.0, 1, served=False)
    assert is_far(usage, refusal, 9)
    assert not is_far(usage, refusal, 8)
