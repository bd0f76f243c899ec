"""Where there is plenty of room calls are booked later, and nobody can tell."""

import pytest

from stepwell.quota.desk import Desk
from stepwell.quota.ledger import Bench, Ended, Report
from stepwell.quota.limit import Limit, Metric, Scope
from stepwell.quota.pool import Pool
from stepwell.quota.reading import Reading
from stepwell.quota.tab import CALLS, LIFE, OFTEN, PLENTY
from stepwell.routing.chain import Target

PLENTIFUL = PLENTY * CALLS


def _desk(*limits: str, concurrency: int | None = None) -> Desk:
    desk = Desk("a/m", "a", Pool(Scope.ACCOUNT))
    desk.adopt(Target("a", "a", "m", tuple(map(Limit.parse, limits)), concurrency=concurrency))
    return desk


def _open(desk: Desk, need: int = 10) -> None:
    """Ask twice, as nobody opens a tab for who comes once in a while."""
    desk.open_tab(0.0, need)
    desk.open_tab(0.0, need)


def _opens(desk: Desk) -> bool:
    _open(desk)
    return desk.tab.is_open


def test_a_tab_is_opened_for_who_comes_often() -> None:
    """A call now and then is booked at once."""
    desk = _desk("9999 requests/minute")
    for moment, is_open in ((0.0, False), (OFTEN, False), (1.5 * OFTEN, True)):
        desk.open_tab(moment, 10)
        assert desk.tab.is_open is is_open


def test_a_tab_is_opened_only_where_every_limit_leaves_plenty() -> None:
    """One call less than plenty, of requests, tokens or concurrency, and all is booked at once."""
    tokens = 10 * PLENTIFUL
    assert _opens(_desk(f"{PLENTIFUL} requests/minute"))
    assert not _opens(_desk(f"{PLENTIFUL - 1} requests/minute"))
    assert _opens(_desk(f"{tokens} tokens/minute"))
    assert not _opens(_desk(f"{tokens - 1} tokens/minute"))
    assert _opens(_desk("9999 requests/day from 00:00 UTC", concurrency=PLENTIFUL))
    assert not _opens(_desk(f"{PLENTIFUL - 1} requests/day from 00:00 UTC"))
    assert not _opens(_desk("9999 requests/day from 00:00 UTC", concurrency=PLENTIFUL - 1))


def test_a_stranger_has_no_tab() -> None:
    """Of whom nothing is known may have room for one call."""
    assert not _opens(_desk())


def test_readings_and_cooldowns_are_heeded() -> None:
    """A counter that says there is little left goes before our count; a bench before both."""
    desk = _desk("9999 requests/minute")
    desk.take(1, 1, 0.0, probe=False)
    little = Reading(Metric.REQUESTS, 60.0, 9999, PLENTIFUL, 30.0, Scope.MODEL)
    desk.read(1, [little], 0.0, 0.0)
    desk.spend(1, 1, 0.0, 0.0)
    desk.take(2, 1, 0.0, probe=False)
    assert not _opens(desk), "one less, since one is under way"
    desk.give_back(2, request=True)
    assert _opens(desk)
    desk.post()
    desk.judge(1, 1, Report(Ended.REFUSED, bench=Bench.RATE), 0.0, 0.0)
    assert not _opens(desk)


def test_a_tab_admits_so_many_calls_and_tokens_and_for_so_long() -> None:
    """Each of the three ends it by itself."""
    desk = _desk("9999 requests/minute")
    _open(desk)
    tab = desk.tab
    assert not tab.admits(LIFE, 10)
    assert not tab.admits(0.0, 10 * CALLS + 1)
    tab.take(1, 10 * CALLS - 10, 0.0)
    assert tab.admits(0.0, 10)
    tab.answer(1, (), 0.0, 0.0)
    tab.end(1, 10 * CALLS - 10, 10 * CALLS - 9, 0.0, 0.0)
    assert not tab.admits(0.0, 10), "it came to more than was taken"
    desk.post()
    _open(desk)
    for call in range(CALLS):
        assert tab.admits(0.0, 10)
        tab.take(2 + call, 1, 0.0)
    assert not tab.admits(0.0, 1)
    assert repr(tab) == f"<Tab for 0 calls, {CALLS} noted>"


@pytest.mark.parametrize("left", [0, 50])
def test_the_last_reading_on_a_tab_is_believed_when_it_is_booked(left: int) -> None:
    """What it says is left holds from then on, less what started after it."""
    desk = _desk("9999 requests/minute")
    _open(desk)
    for call, remaining in ((1, 400), (2, left)):
        reading = Reading(Metric.REQUESTS, 60.0, 9999, remaining, 30.0, Scope.MODEL)
        desk.tab.take(call, 10, 0.0)
        desk.tab.answer(call, (reading,), 0.0, 0.0)
    desk.tab.take(3, 10, 0.0)
    assert desk.own.in_flight == 0, "nothing is booked"
    desk.post()
    assert desk.own.in_flight == 3
    assert not desk.tab.is_open
    assert desk.status(0.0).limits[0].remaining == max(0, left - 1)


def test_who_shares_an_account_finds_all_booked() -> None:
    """A question about one target books what was noted of its sibling."""
    shared = Pool(Scope.ACCOUNT)
    limits = (Limit(Metric.REQUESTS, PLENTIFUL, 60.0, Scope.ACCOUNT),)
    desk, sibling = Desk("a/m", "a", shared), Desk("a/n", "a", shared)
    for each in (desk, sibling):
        each.adopt(Target("a", "a", each.key, limits))
    _open(desk, 1)
    desk.tab.take(1, 1, 0.0)
    sibling.post()
    assert shared.in_flight == 1
    assert not desk.tab.is_open
