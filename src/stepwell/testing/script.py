"""Script: which of a provider's next calls meet which failures."""

from collections.abc import Callable
from dataclasses import dataclass, field

from stepwell.testing.failure import Failure
from stepwell.testing.performance import Call


@dataclass(slots=True, eq=False)
class Rule:
    """Failures for the next `left` calls (None: all), after `skip` calls that it lets pass."""

    failures: tuple[Failure, ...]
    left: int | None
    skip: int
    when: Callable[[Call], bool] | None

    @property
    def instead(self) -> bool:
        return any(failure.instead for failure in self.failures)


@dataclass(slots=True)
class Script:
    """The rules for a provider's next calls; those that end come before those that last."""

    rules: list[Rule] = field(default_factory=list)

    def match(self, call: Call) -> Rule | None:
        ordered = sorted(self.rules, key=lambda rule: rule.left is None)
        return next((rule for rule in ordered if rule.skip == 0 and _is_for(rule, call)), None)

    def spend(self, call: Call, spent: Rule | None) -> None:
        """Count a call, which met `spent`."""
        for rule in self.rules:
            if rule.skip and _is_for(rule, call):
                rule.skip -= 1
        if spent is not None and spent.left is not None:
            spent.left -= 1
        self.rules = [rule for rule in self.rules if rule.left != 0]


def _is_for(rule: Rule, call: Call) -> bool:
    return rule.when is None or rule.when(call)
