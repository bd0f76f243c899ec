"""What our own counts say of room."""

from collections.abc import Sequence
from typing import Final

from stepwell.quota.ledger import (
    Ended,
    Report,
)
from stepwell.quota.limit import Scope
from stepwell.testing.ledger.bank import SUCCESS, Bank, Scenario, equal, make_target


async def requests_age_from_the_response(bank: Bank) -> None:
    """A request counts from its reservation and leaves a window after its response began."""
    target, other = make_target("t", "1 request/minute"), make_target("other")
    held = await bank.take(target)
    bank.clock.shift(100)
    bank.ledger.observe(held, ())
    bank.clock.shift(59)
    equal("with the window not over", (await bank.take(target, other)).target, other)
    bank.clock.shift(1)
    equal("a window later", (await bank.take(target, other)).target, target)


async def tokens_are_corrected_by_the_real_count(bank: Bank) -> None:
    """A success costs what the provider counted, or the estimate where it did not say."""
    target = make_target("t", "1000 tokens/minute")
    bank.ledger.settle(await bank.take(target, tokens=500), Report(Ended.SUCCESS, tokens=100))
    equal("after a count", await bank.remaining(target), 900)
    bank.ledger.settle(await bank.take(target, tokens=300), SUCCESS)
    equal("without a count", await bank.remaining(target), 600)


async def a_refused_call_costs_its_request_and_no_tokens(bank: Bank) -> None:
    """What was declined was not computed; but many providers count the request."""
    target = make_target("t", "10 requests/minute", "1000 tokens/minute")
    held = await bank.take(target, tokens=500)
    bank.ledger.settle(held, Report(Ended.REFUSED))
    limits = (await bank.status(target)).limits
    equal("remaining", [limit.remaining for limit in limits], [9, 1000])


async def an_account_limit_is_shared_by_its_models(bank: Bank) -> None:
    """A limit of scope account counts the calls of all its models, and only of this account."""
    one = make_target("one", "1 request/minute", account="a", scope=Scope.ACCOUNT)
    other = make_target("other", "1 request/minute", account="a", scope=Scope.ACCOUNT)
    elsewhere = make_target("one", "1 request/minute", account="b", scope=Scope.ACCOUNT)
    await bank.call(one)
    equal("the choice", (await bank.take(other, elsewhere)).target, elsewhere)


async def a_limit_of_free_models_is_shared_by_them_alone(bank: Bank) -> None:
    """A limit of scope free counts the calls of an account's `:free` models, and of no others."""
    limit = "1 request/minute"
    names = ("one:free", "two:free", "paid")
    one, two, paid = (make_target(name, limit, account="a", scope=Scope.FREE) for name in names)
    await bank.call(paid)
    equal("the choice", (await bank.call(one)).target, one)
    equal("the scope", (await bank.status(one)).limits[0].scope, Scope.FREE)
    equal("the choice", (await bank.take(two, paid)).target, paid)


async def our_own_count_never_refuses(bank: Bank) -> None:
    """A full count is soft: where nothing else serves, one probe at a time goes past it."""
    target = make_target("t", "1 request/minute")
    await bank.call(target)
    probe = await bank.take(target)
    equal("probe", probe.probe, True)
    await bank.wait(target)
    bank.ledger.settle(probe, SUCCESS)
    await bank.take(target)


SCENARIOS: Final[Sequence[Scenario]] = (
    requests_age_from_the_response,
    tokens_are_corrected_by_the_real_count,
    a_refused_call_costs_its_request_and_no_tokens,
    an_account_limit_is_shared_by_its_models,
    a_limit_of_free_models_is_shared_by_them_alone,
    our_own_count_never_refuses,
)
