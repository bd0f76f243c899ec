"""How many calls a stranger is sent at once."""

from collections.abc import Sequence
from typing import Final

from stepwell.quota.ledger import (
    Ended,
    Report,
)
from stepwell.testing.ledger.bank import (
    Bank,
    Scenario,
    equal,
    make_stranger,
    refused_for,
    requests_left,
)


async def a_stranger_is_sent_two_calls_at_first(bank: Bank) -> None:
    """Of an unknown target two calls in flight are admitted; a third goes to the next target."""
    one, other = make_stranger("one"), make_stranger("other")
    chosen = [(await bank.take(one, other)).target for _ in range(4)]
    equal("the choices", chosen, [one, one, other, other])


async def each_success_admits_one_more(bank: Bank) -> None:
    """Successes widen slow start by one each, and a refusal about rates starts it anew."""
    target = make_stranger("t")
    await bank.call(target)
    three = [await bank.take(target) for _ in range(3)]
    equal("probes", [held.probe for held in three], [False] * 3)
    bank.ledger.settle(three[0], refused_for(1))
    bank.clock.shift(1)
    equal("probe", (await bank.take(target)).probe, True)


async def slow_start_ends_where_something_is_known(bank: Bank) -> None:
    """A living reading says how much there is, and admits that many."""
    target = make_stranger("t")
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(requests_left(9),)))
    held = [await bank.take(target) for _ in range(9)]
    equal("probes", any(each.probe for each in held), False)
    equal("the block", (await bank.block(target)).reason, "reading")


SCENARIOS: Final[Sequence[Scenario]] = (
    a_stranger_is_sent_two_calls_at_first,
    each_success_admits_one_more,
    slow_start_ends_where_something_is_known,
)
