"""The sliding window against a naive list of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stepwell.quota.window import SlidingWindow

SECONDS = 6.0


class WindowMachine(RuleBasedStateMachine):
    """Adds and waits, and asks both after each."""

    def __init__(self) -> None:
        super().__init__()
        self.window = SlidingWindow(SECONDS)
        self.events: list[tuple[float, int]] = []
        self.now = 1000.0

    def naive(self, now: float) -> int:
        return sum(amount for at, amount in self.events if at + SECONDS > now)

    @rule(amount=st.integers(0, 50))
    def add(self, amount: int) -> None:
        self.window.add(amount, self.now)
        self.events.append((self.now, amount))

    @rule(amount=st.integers(1, 3), times=st.integers(1, 400))
    def burst(self, amount: int, times: int) -> None:
        for _ in range(times):
            self.add(amount)
            self.now += 0.0001

    @rule(seconds=st.floats(0, 2 * SECONDS))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(later=st.floats(0, 2 * SECONDS))
    def agrees_about_the_future(self, later: float) -> None:
        """Merged entries stay a part of the window longer, and never leave sooner."""
        when = self.now + later
        used = self.window.used(when)
        assert self.naive(when) <= used <= self.naive(when - SECONDS / 256)

    @rule(level=st.integers(0, 2000))
    def the_named_moment_is_right(self, level: int) -> None:
        """At that moment the level is reached; just before it was not."""
        moment = self.window.falls_to(level)
        if moment > self.now:
            assert self.window.used(moment) <= level < self.window.used(moment - 1e-9)
        else:
            assert self.window.used(self.now) <= level

    @invariant()
    def agrees_now(self) -> None:
        used = self.window.used(self.now)
        assert self.naive(self.now) <= used <= self.naive(self.now - SECONDS / 256)

    @invariant()
    def is_exact_while_few(self) -> None:
        if len(self.events) <= 1000:
            assert self.window.used(self.now) == self.naive(self.now)


TestWindow = WindowMachine.TestCase
TestWindow.settings = settings(deadline=None, max_examples=30, stateful_step_count=25)
