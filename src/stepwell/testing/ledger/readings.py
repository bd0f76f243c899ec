"""What responses say of room."""

from collections.abc import Sequence
from typing import Final

from stepwell.quota.ledger import (
    Ended,
    Report,
)
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.testing.ledger.bank import (
    SUCCESS,
    Bank,
    Scenario,
    equal,
    make_siblings,
    make_target,
    near,
    requests_left,
)


async def a_reading_lowers_room_at_once(bank: Bank) -> None:
    """What remains by a reading is all there is until its reset, hard, whatever we counted."""
    target = make_target("t", "100 requests/minute")
    bank.ledger.observe(await bank.take(target), [requests_left(0, reset=7.0)])
    block = await bank.block(target)
    equal("the block", (block.reason, block.told, block.hard), ("reading", True, True))
    near("until", block.until, bank.now + 7)
    bank.clock.shift(7)
    await bank.take(target)


async def a_reading_is_lowered_by_what_it_may_not_contain(bank: Bank) -> None:
    """Older calls still unanswered and all calls made since are taken off; its own is not."""
    target = make_target("t", "100 requests/minute")
    await bank.take(target)
    reader = await bank.take(target)
    bank.ledger.settle(await bank.take(target), SUCCESS)
    await bank.take(target)
    bank.ledger.observe(reader, [requests_left(5)])
    equal("remaining", await bank.remaining(target), 5 - 3)


async def a_limit_is_shown_once(bank: Bank) -> None:
    """Configured and told, it is one: as told while that lasts, and as counted afterwards."""
    target = make_target("t", "10 requests/minute")
    reading = requests_left(4, reset=20.0)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(reading,)))
    shown = [(each.source, each.remaining) for each in (await bank.status(target)).limits]
    equal("the limits", shown, [("told", 4)])
    bank.clock.shift(60)
    shown = [(each.source, each.limit) for each in (await bank.status(target)).limits]
    equal("the limits", shown, [("configured", 10)])


async def an_older_answer_never_raises_room(bank: Bank) -> None:
    """Answers out of order: the older call's reading may lower the room and not raise it."""
    target = make_target("t", "100 requests/minute")
    older, younger = await bank.take(target), await bank.take(target)
    bank.ledger.observe(younger, [requests_left(3)])
    bank.ledger.settle(younger, SUCCESS)
    equal("room by the younger", await bank.remaining(target), 2)
    bank.ledger.settle(older, Report(Ended.SUCCESS, readings=(requests_left(9),)))
    equal("room after the older", await bank.remaining(target), 2)


async def room_rises_only_with_nothing_older_in_flight(bank: Bank) -> None:
    """A better reading counts once all that started before it has been answered."""
    target = make_target("t", "100 requests/minute")
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(requests_left(3),)))
    older, younger = await bank.take(target), await bank.take(target)
    bank.ledger.settle(younger, Report(Ended.SUCCESS, readings=(requests_left(9),)))
    equal("with an older call in flight", await bank.remaining(target), 1)
    bank.ledger.settle(older, SUCCESS)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(requests_left(8),)))
    equal("with none", await bank.remaining(target), 8)


async def silence_erases_nothing(bank: Bank) -> None:
    """No headers, or a counter without its rest, leave a reading as it was."""
    target = make_target("t", "100 requests/minute")
    first, second = await bank.take(target), await bank.take(target)
    bank.ledger.settle(first, Report(Ended.SUCCESS, readings=(requests_left(1, reset=30.0),)))
    bank.ledger.settle(second, Report(Ended.SUCCESS, readings=(requests_left(None),)))
    near("until", (await bank.block(target)).until, bank.now + 30)


async def a_bucket_refills_evenly(bank: Bank) -> None:
    """Of a counter that refills, one unit is back after its part of the time to the reset."""
    target = make_target("t", "100 requests/minute")
    bucket = Reading(Metric.REQUESTS, limit=10, remaining=0, reset=60.0, refills=True)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(bucket,)))
    near("until", (await bank.block(target)).until, bank.now + 6)
    bank.clock.shift(6.001)
    await bank.take(target)
    await bank.block(target)


async def tokens_left_must_hold_the_estimate(bank: Bank) -> None:
    """A request larger than what remains is kept off, a smaller one is not."""
    target = make_target("t")
    tokens = Reading(Metric.TOKENS, window=60.0, limit=1000, remaining=100, reset=20.0)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(tokens,)))
    equal("hard", (await bank.block(target, tokens=101)).hard, True)
    await bank.take(target, tokens=100)


async def an_estimate_beyond_the_told_limit_is_only_soft(bank: Bank) -> None:
    """What can never fit by an estimate may be tried: the estimate may be wrong."""
    target = make_target("t")
    tokens = Reading(Metric.TOKENS, window=60.0, limit=1000, remaining=1000, reset=20.0)
    bank.ledger.settle(await bank.take(target), Report(Ended.SUCCESS, readings=(tokens,)))
    equal("probe", (await bank.take(target, tokens=1001)).probe, True)


async def an_account_reading_covers_its_models(bank: Bank) -> None:
    """A counter of the account is empty for all its models, and for no other account."""
    one, other = make_target("one", account="a"), make_target("other", account="a")
    elsewhere = make_target("one", account="b")
    empty = Reading(Metric.REQUESTS, remaining=0, reset=20.0, scope=Scope.ACCOUNT)
    bank.ledger.settle(await bank.take(one), Report(Ended.SUCCESS, readings=(empty,)))
    equal("the choice", (await bank.take(other, elsewhere)).target, elsewhere)


async def a_reading_of_free_models_covers_them_alone(bank: Bank) -> None:
    """A counter of an account's `:free` models is empty for all of them, and for no others."""
    one, two, paid = make_siblings()
    empty = Reading(Metric.REQUESTS, remaining=0, reset=20.0, scope=Scope.FREE)
    bank.ledger.settle(await bank.take(one), Report(Ended.SUCCESS, readings=(empty,)))
    equal("the choice", (await bank.take(two, paid)).target, paid)
    block = await bank.block(two)
    equal("the block", (block.reason, block.told, block.hard), ("reading", True, True))


SCENARIOS: Final[Sequence[Scenario]] = (
    a_reading_lowers_room_at_once,
    a_reading_is_lowered_by_what_it_may_not_contain,
    a_limit_is_shown_once,
    an_older_answer_never_raises_room,
    room_rises_only_with_nothing_older_in_flight,
    silence_erases_nothing,
    a_bucket_refills_evenly,
    tokens_left_must_hold_the_estimate,
    an_estimate_beyond_the_told_limit_is_only_soft,
    an_account_reading_covers_its_models,
    a_reading_of_free_models_covers_them_alone,
)
