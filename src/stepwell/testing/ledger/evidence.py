"""Who waits, who probes, and when a request may fail."""

from collections.abc import Sequence
from typing import Final

from stepwell.quota.ledger import (
    Exhausted,
    Reservation,
    Wait,
)
from stepwell.testing.ledger.bank import (
    REFUSED,
    SUCCESS,
    Bank,
    Scenario,
    equal,
    expect,
    make_target,
    near,
    refused_for,
)


async def a_refusal_after_the_arrival_answers_for_the_target(bank: Bank) -> None:
    """A request fails when its targets refused anyone after it came, and not for older news."""
    target = make_target("t")
    arrived = bank.now
    bank.clock.shift(1)
    await bank.call(target, report=REFUSED)
    block = await bank.block(target, arrived=arrived)
    equal("the block", (block.reason, block.hard), ("refused", False))
    bank.clock.shift(0.5)
    near("until", (await bank.wait(target)).until, bank.now + 0.5)


async def probes_are_a_second_apart_after_a_refusal(bank: Bank) -> None:
    """Past a soft block one request a second may ask a target whose last answer was a refusal."""
    target = make_target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(0.25)
    near("until", (await bank.wait(target)).until, bank.now + 0.75)
    bank.clock.shift(0.75)
    probe = await bank.take(target)
    equal("probe", probe.probe, True)
    await bank.wait(target)


async def a_late_success_hurries_no_probe(bank: Bank) -> None:
    """The last answer is the refusal of the younger call, though an older one succeeds after it."""
    target = make_target("t")
    older = await bank.take(target)
    await bank.call(target, report=REFUSED)
    bank.ledger.settle(older, SUCCESS)
    bank.clock.shift(0.25)
    near("until", (await bank.wait(target)).until, bank.now + 0.75)


async def one_soft_target_without_evidence_keeps_hope(bank: Bank) -> None:
    """With the rest hard-blocked, a request waits for the one that may still answer."""
    told, guessed = make_target("told"), make_target("guessed")
    await bank.call(told, report=refused_for(0.4))
    await bank.call(guessed, report=REFUSED)
    bank.clock.shift(0.1)
    near("until", (await bank.wait(told, guessed)).until, bank.now + 0.3)


async def counted_room_is_waited_for_by_who_can(bank: Bank) -> None:
    """A request that can wait until our count has room does not probe; one that cannot does."""
    target = make_target("t", "1 request/minute")
    await bank.call(target)
    answer = expect(Wait, await bank.ask_patiently(target, seconds=60))
    near("until", answer.until, bank.now + 60)
    expect(Reservation, await bank.ask_patiently(target, seconds=59))


async def calls_in_flight_are_waited_for_by_who_can(bank: Bank) -> None:
    """Counted room whose time is not known yet will be known when the calls in flight go on."""
    target = make_target("t", "10 tokens/minute")
    held = await bank.take(target, tokens=10)
    expect(Wait, await bank.ask_patiently(target, seconds=1))
    bank.ledger.release(held)
    equal("probe", (await bank.take(target)).probe, False)


async def what_never_fits_is_not_waited_for(bank: Bank) -> None:
    """No wait makes room for more tokens than the configured limit, so the request probes."""
    target = make_target("t", "10 tokens/minute")
    expect(Reservation, await bank.ask_patiently(target, seconds=3600, tokens=11))


async def told_room_is_waited_for_rather_than_probing_elsewhere(bank: Bank) -> None:
    """A told reset in time is surer than a probe past a guess at another target."""
    told, guessed = make_target("told"), make_target("guessed")
    await bank.call(told, report=refused_for(5))
    await bank.call(guessed, report=REFUSED)
    bank.clock.shift(1)
    answer = expect(Wait, await bank.ask_patiently(told, guessed, seconds=4))
    near("until", answer.until, bank.now + 4)
    held = expect(Reservation, await bank.ask_patiently(told, guessed, seconds=3.9))
    equal("the choice", held.target, guessed)


async def a_guess_is_not_waited_for(bank: Bank) -> None:
    """Nobody told or counted when it ends, so those who can wait probe it as well."""
    target = make_target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(1)
    expect(Reservation, await bank.ask_patiently(target, seconds=60))


async def exhausted_names_the_soonest_reset(bank: Bank) -> None:
    """It ends with the soonest of all known ends, and blocks stand in the chain's order."""
    targets = [make_target("a"), make_target("b"), make_target("c")]
    for target, seconds in zip(targets, (50, 20, 90), strict=True):
        bank.ledger.cool_down(target, seconds)
    answer = expect(Exhausted, await bank.ask(*targets))
    near("until", answer.until, bank.now + 20)
    keys = [block.key for block in answer.blocks]
    equal("the blocks", keys, [target.key for target in targets])


async def a_told_delay_of_nothing_is_still_a_refusal(bank: Bank) -> None:
    """Zero seconds set no cooldown."""
    target = make_target("t")
    await bank.call(target, report=refused_for(0))
    equal("the block", (await bank.status(target)).block, None)


SCENARIOS: Final[Sequence[Scenario]] = (
    a_refusal_after_the_arrival_answers_for_the_target,
    probes_are_a_second_apart_after_a_refusal,
    a_late_success_hurries_no_probe,
    one_soft_target_without_evidence_keeps_hope,
    counted_room_is_waited_for_by_who_can,
    calls_in_flight_are_waited_for_by_who_can,
    what_never_fits_is_not_waited_for,
    told_room_is_waited_for_rather_than_probing_elsewhere,
    a_guess_is_not_waited_for,
    exhausted_names_the_soonest_reset,
    a_told_delay_of_nothing_is_still_a_refusal,
)
