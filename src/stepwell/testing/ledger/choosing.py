"""What is taken, given back and announced."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from stepwell.quota.ledger import (
    Bench,
    Ended,
    Report,
    Reservation,
)
from stepwell.testing.ledger.bank import (
    SUCCESS,
    Bank,
    Scenario,
    check,
    equal,
    make_target,
    near,
    reasons,
    refused_for,
    requests_left,
)


async def the_first_target_with_room_is_taken(bank: Bank) -> None:
    """Targets are asked in order; a blocked one is passed over, the next one with room serves."""
    first, second = make_target("first", "1 request/minute"), make_target("second")
    equal("the first choice", (await bank.take(first, second)).target, first)
    equal("the second choice", (await bank.take(first, second)).target, second)


async def concurrent_questions_never_take_the_same_room(bank: Bank) -> None:
    """Looking and taking are one: concurrent questions take exactly what the limits hold."""
    targets = [make_target(f"t{number}", "10 requests/minute") for number in range(8)]
    answers = await asyncio.gather(*(bank.ask(*targets) for _ in range(64)))
    taken = [answer for answer in answers if isinstance(answer, Reservation) and not answer.probe]
    equal("reservations with room", len(taken), 64)
    busiest = max(sum(each.target is target for each in taken) for target in targets)
    check(busiest <= 10, f"{busiest} calls at a target of 10")


async def concurrency_is_hard_and_only_an_event_opens_it(bank: Bank) -> None:
    """Slots belong to the account; when all are taken the end of a call is all that helps."""
    one = make_target("one", account="a", concurrency=1)
    other = make_target("other", account="a", concurrency=1)
    running = await bank.take(one)
    block = await bank.block(other)
    equal("the block", (block.reason, block.until, block.hard), ("concurrency", None, True))
    bank.ledger.settle(running, SUCCESS)
    await bank.take(other)


async def release_gives_all_of_it_back(bank: Bank) -> None:
    """Nothing was sent: request, slot and tokens are free again, for counts and readings alike."""
    target = make_target("t", "1 request/minute", "100 tokens/minute", concurrency=1)
    held = await bank.take(target, tokens=100)
    bank.ledger.release(held)
    status = await bank.status(target)
    equal("remaining", [limit.remaining for limit in status.limits], [1, 100])
    equal("in flight", status.in_flight, 0)
    await bank.take(target, tokens=100)


async def a_failure_before_sending_costs_nothing(bank: Bank) -> None:
    """A call that never left gives everything back, however it is reported."""
    target = make_target("t", "2 requests/minute")
    await bank.call(target, report=Report(Ended.FAILED, bench=Bench.FAULT, was_sent=False))
    equal("remaining", await bank.remaining(target), 2)


async def the_end_of_a_call_is_told_once(bank: Bank) -> None:
    """Settling twice, settling what was released, or observing what ended changes nothing."""
    target = make_target("t", "10 requests/minute")
    held = await bank.take(target)
    bank.ledger.settle(held, SUCCESS)
    bank.ledger.settle(held, refused_for(60))
    bank.ledger.release(held)
    bank.ledger.observe(held, [requests_left(0)])
    released = await bank.take(target)
    bank.ledger.release(released)
    bank.ledger.settle(released, refused_for(60))
    status = await bank.status(target)
    equal("block", status.block, None)
    equal("remaining", status.limits[0].remaining, 9)


async def questions_change_nothing(bank: Bank) -> None:
    """Snapshots and refused questions leave everything as it was."""
    target = make_target("t", "2 requests/minute")
    await bank.call(target, report=refused_for(5))
    before = await bank.ledger.snapshot()
    for _ in range(3):
        await bank.block(target)
    equal("the snapshot", await bank.ledger.snapshot(), before)
    equal("remaining", await bank.remaining(target), 1)


async def a_preview_says_what_would_be_taken(bank: Bank) -> None:
    """The first with room, else the one that would be probed, else nobody and until when."""
    a, b = make_target("a", "1 requests/minute"), make_target("b")
    seen = await bank.preview(a, b)
    equal("what is open", (seen.taken, seen.blocks), (0, (None, None)))
    await bank.call(a)
    seen = await bank.preview(a, b)
    equal("the next", (seen.taken, reasons(seen)), (1, ["count", None]))
    bank.ledger.cool_down(b, 60.0)
    seen = await bank.preview(a, b)
    equal("the probe", (seen.taken, reasons(seen)), (0, ["count", "cooldown"]))
    bank.ledger.cool_down(a, 20.0)
    seen = await bank.preview(a, b)
    equal("nobody", (seen.taken, reasons(seen)), (None, ["cooldown", "cooldown"]))
    near("the soonest reset", seen.until, bank.now + 20.0)


async def a_preview_changes_nothing(bank: Bank) -> None:
    """Nobody is known who was not, nothing is reserved, no probe begins."""
    known, new = make_target("t", "1 requests/minute"), make_target("new", account="t")
    await bank.call(known)
    before = await bank.ledger.snapshot()
    for _ in range(3):
        equal("what would be taken", (await bank.preview(known)).taken, 0)
        equal("what would be taken", (await bank.preview(new)).taken, 0)
    equal("the snapshot", await bank.ledger.snapshot(), before)
    check((await bank.take(known)).probe, "the probe was still to be had")


async def changes_are_announced(bank: Bank) -> None:
    """Subscribers hear of every settle, release, reading and cooldown, until they have left."""
    target, heard = make_target("t"), list[str]()
    leave = bank.ledger.subscribe(lambda: heard.append("change"))
    held, unused = await bank.take(target), await bank.take(target)
    acts: dict[str, Callable[[], None]] = {
        "beginning": lambda: bank.ledger.observe(held, ()),
        "reading": lambda: bank.ledger.observe(held, [requests_left(5)]),
        "settle": lambda: bank.ledger.settle(held, SUCCESS),
        "release": lambda: bank.ledger.release(unused),
        "cooldown": lambda: bank.ledger.cool_down(target, 1.0),
    }
    for name, act in acts.items():
        heard.clear()
        act()
        check(bool(heard), f"a {name} was not announced")
    leave()
    leave()
    heard.clear()
    bank.ledger.cool_down(target, 2.0)
    equal("what was heard after leaving", heard, [])


SCENARIOS: Final[Sequence[Scenario]] = (
    the_first_target_with_room_is_taken,
    concurrent_questions_never_take_the_same_room,
    concurrency_is_hard_and_only_an_event_opens_it,
    release_gives_all_of_it_back,
    a_failure_before_sending_costs_nothing,
    the_end_of_a_call_is_told_once,
    questions_change_nothing,
    a_preview_says_what_would_be_taken,
    a_preview_changes_nothing,
    changes_are_announced,
)
