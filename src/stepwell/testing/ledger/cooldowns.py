"""How long what was refused or failed is left alone."""

from collections.abc import Sequence
from typing import Final

from stepwell.quota.ledger import (
    Bench,
    Block,
    Ended,
    Exhausted,
    Report,
)
from stepwell.quota.limit import Scope
from stepwell.testing.ledger.bank import (
    FAILED,
    GUESSED_FREE,
    NEUTRAL,
    REFUSED,
    SUCCESS,
    Bank,
    Scenario,
    equal,
    expect,
    make_siblings,
    make_target,
    near,
    refused_for,
)


async def a_told_cooldown_is_kept_to_the_moment(bank: Bank) -> None:
    """Nobody asks before a told time, and in the very look-up after it the target is there."""
    target = make_target("t")
    await bank.call(target, report=refused_for(10.5))
    bank.clock.shift(10)
    block = await bank.block(target)
    equal("the block", (block.reason, block.told, block.hard), ("cooldown", True, True))
    equal("the words", block.words, "slow down")
    near("until", block.until, bank.now + 0.5)
    bank.clock.shift(0.5)
    equal("probe", (await bank.take(target)).probe, False)


async def what_was_told_is_shown_as_told(bank: Bank) -> None:
    """Also where our own count foresaw it and ends a moment later: with the provider's words."""
    target = make_target("t", "1 request/30s")
    await bank.call(target)
    bank.clock.shift(1)
    probe = await bank.take(target)
    bank.clock.shift(0.05)
    bank.ledger.settle(probe, refused_for(20.0))
    block = await bank.block(target)
    equal("the block", (block.told, block.hard, block.words), (True, True, "slow down"))


async def a_told_time_is_never_shortened(bank: Bank) -> None:
    """Of two told times the later one holds."""
    target = make_target("t")
    first, second = await bank.take(target), await bank.take(target)
    bank.ledger.settle(first, refused_for(3600))
    bank.ledger.settle(second, refused_for(1))
    bank.ledger.cool_down(target, 2)
    near("until", (await bank.block(target)).until, bank.now + 3600)


async def a_late_success_erases_no_cooldown(bank: Bank) -> None:
    """A call that started before the refusal says nothing of the time after it."""
    for report, seconds in ((refused_for(60), 60.0), (REFUSED, 30.0)):
        target = make_target(f"t{seconds:g}")
        older, refused = await bank.take(target), await bank.take(target)
        bank.ledger.settle(refused, report)
        bank.ledger.settle(older, SUCCESS)
        near("until", (await bank.standing(target)).until, bank.now + seconds)


async def cool_down_is_as_if_told(bank: Bank) -> None:
    """A cooldown from outside is hard, and of the scope that was asked for."""
    one, other = make_target("one", account="a"), make_target("other", account="a")
    bank.ledger.cool_down(one, 5, words="maintenance")
    equal("the other model", (await bank.take(one, other)).target, other)
    bank.ledger.cool_down(one, 9, scope=Scope.ACCOUNT)
    expect(Exhausted, await bank.ask(one, other))
    near("until", (await bank.block(other)).until, bank.now + 9)


async def a_told_account_refusal_covers_its_models(bank: Bank) -> None:
    """Scope account keeps off all models of the account; scope model only the one."""
    one, other = make_target("one", account="a"), make_target("other", account="a")
    await bank.call(one, report=refused_for(10))
    await bank.call(other, report=refused_for(20, scope=Scope.ACCOUNT))
    near("until", (await bank.block(one)).until, bank.now + 20)


async def a_refusal_of_free_models_covers_them_alone(bank: Bank) -> None:
    """Scope free keeps off an account's `:free` models, told or guessed, and no others."""
    for report, seconds in ((refused_for(10, scope=Scope.FREE), 10.0), (GUESSED_FREE, 30.0)):
        one, two, paid = make_siblings(f"account-{seconds:g}")
        await bank.call(one, report=report)
        block = expect(Block, (await bank.preview(two)).blocks[0])
        near("until", block.until, bank.now + seconds)
        equal("told", block.told, report.delay is not None)
        equal("the choice", (await bank.take(two, paid)).target, paid)


async def a_refusal_of_free_models_elsewhere_covers_the_target(bank: Bank) -> None:
    """Where a target is none of them by its name, the refusal is its own all the same."""
    target, sibling = make_target("t", account="a"), make_target("u:free", account="a")
    await bank.call(target, report=refused_for(10, scope=Scope.FREE))
    equal("the choice", (await bank.take(target, sibling)).target, sibling)


async def out_of_service_is_hard_and_doubles(bank: Bank) -> None:
    """Credit 5 min and keys 1 h cover the account, models 1 h the target; each repeat doubles."""
    benches = ((Bench.CREDIT, 300.0), (Bench.KEY, 3600.0), (Bench.MODEL, 3600.0))
    for bench, seconds in benches:
        target = make_target(bench)
        sibling = make_target(f"{bench}-sibling", account=bench)
        for repeat in range(3):
            await bank.call(target, report=Report(Ended.REFUSED, bench=bench))
            block = await bank.block(target)
            equal("the block", (block.reason, block.bench), ("out_of_service", bench))
            near("until", block.until, bank.now + seconds * 2**repeat)
            whole = isinstance(await bank.ask(sibling), Exhausted)
            equal("covers the account", whole, bench is not Bench.MODEL)
            bank.clock.shift(seconds * 2**repeat)


async def a_half_open_target_lets_one_request_try(bank: Bank) -> None:
    """After a guess or a bench ends one request probes and the others wait; success opens."""
    for bench in (Bench.RATE, Bench.CREDIT):
        target = make_target(bench)
        await bank.call(target, report=Report(Ended.REFUSED, bench=bench))
        bank.clock.shift(300)
        probe = await bank.take(target)
        equal("probe", probe.probe, True)
        equal("until", (await bank.wait(target)).until, None)
        bank.ledger.settle(probe, SUCCESS)
        equal("probe", (await bank.take(target)).probe, False)


async def a_half_open_probe_without_a_word_leaves_it_to_the_next(bank: Bank) -> None:
    """A probe that ended neutrally or was released proves nothing, and another may probe."""
    target = make_target("t")
    await bank.call(target, report=REFUSED)
    bank.clock.shift(30)
    bank.ledger.settle(await bank.take(target), NEUTRAL)
    bank.ledger.release(await bank.take(target))
    equal("probe", (await bank.take(target)).probe, True)


async def a_guess_doubles_when_it_proved_too_short(bank: Bank) -> None:
    """Refused at its half-open end it doubles, up to 10 minutes; a burst of refusals is one."""
    target = make_target("t")
    burst = [await bank.take(target) for _ in range(5)]
    for held in burst:
        bank.ledger.settle(held, REFUSED)
    for seconds in (30, 60, 120, 240, 480, 600, 600):
        near("until", (await bank.standing(target)).until, bank.now + seconds)
        bank.clock.shift(seconds)
        await bank.call(target, report=REFUSED)


async def faults_cool_down_after_three_in_a_row(bank: Bank) -> None:
    """One accident is none; the third in a row takes 5 s, softly; a success starts anew."""
    target = make_target("t")
    for report in (FAILED, FAILED, SUCCESS, FAILED, FAILED):
        await bank.call(target, report=report)
        equal("the block", (await bank.status(target)).block, None)
    await bank.call(target, report=FAILED)
    block = await bank.standing(target)
    equal("hard", block.hard, False)
    near("until", block.until, bank.now + 5)


SCENARIOS: Final[Sequence[Scenario]] = (
    a_told_cooldown_is_kept_to_the_moment,
    what_was_told_is_shown_as_told,
    a_told_time_is_never_shortened,
    a_late_success_erases_no_cooldown,
    cool_down_is_as_if_told,
    a_told_account_refusal_covers_its_models,
    a_refusal_of_free_models_covers_them_alone,
    a_refusal_of_free_models_elsewhere_covers_the_target,
    out_of_service_is_hard_and_doubles,
    a_half_open_target_lets_one_request_try,
    a_half_open_probe_without_a_word_leaves_it_to_the_next,
    a_guess_doubles_when_it_proved_too_short,
    faults_cool_down_after_three_in_a_row,
)
