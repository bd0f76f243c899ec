"""The choice among targets of which none is open: probe one, wait, or give up.

1. A target that is only softly blocked is probed, the most hopeful one first, if no probe is out
   there already, the last refusal is a second ago, and it has not yet answered for this request.
2. A request gives up when every target is hard-blocked or has refused or failed a call, anyone's,
   since the request arrived. That is the rule of evidence.
3. Otherwise evidence is on its way, and the request waits for it.

Slow start is a queue and no sign of emptiness: a refusal that left only it behind does not answer
for those in the queue, but they do not probe past it either.

A wait always ends: a softly blocked target without evidence either has a probe out, whose end is an
event, or has a time at which it may be probed; and behind a slow start are calls that will end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Final, Self

from stepwell.quota.ledger import Block, Exhausted, Wait

# Which soft block gives most hope of room behind it, by what is known against the target: nothing;
# our own count, whose window may not be the provider's; a real refusal; an estimate beyond the
# told limit.
_HOPE: Final[Mapping[str, int]] = {"slow_start": 0, "count": 1, "guessed": 2, "reading": 3}
_HOPELESS: Final = 4


@dataclass(frozen=True, slots=True)
class Standing:
    """How a blocked target stands to one request.

    Attributes:
        block: What is in the way.
        waits: It may still answer for this request: softly blocked and without evidence.
        probe_at: Monotonic time from which it may be probed; inf while a probe is out.
    """

    block: Block
    waits: bool
    probe_at: float

    @classmethod
    def of(cls, block: Block, *, answered: bool, probe_at: float) -> Self:
        """Judge a block.

        Args:
            block: What is in the way.
            answered: The target has refused or failed a call since the request came in.
            probe_at: When it may be probed, as far as other requests' probes go.
        """
        if block.hard or not answered:
            return cls(block, waits=not block.hard, probe_at=probe_at)
        if block.reason == "slow_start":
            return cls(block, waits=True, probe_at=inf)
        return cls(replace(block, reason="refused"), waits=False, probe_at=inf)

    @property
    def hope(self) -> tuple[int, float]:
        """Sort by kind, then by the soonest expected room; equals stay in the chain's order."""
        return _HOPE.get(self.block.reason, _HOPELESS), _end(self.block, unknown=inf)


def worst(blocks: Iterable[Block]) -> Block | None:
    """Return the block that decides for a target: hard before soft, then the one that ends last.

    An end that only an event can tell counts as soon, because the event may come at any moment.
    """
    return max(blocks, key=lambda block: (block.hard, _end(block, unknown=-inf)), default=None)


def choose(standings: Sequence[Standing], now: float) -> int | Wait | Exhausted:
    """Return the index of the target to probe, or why there is none."""
    waiting = [index for index, standing in enumerate(standings) if standing.waits]
    ready = [index for index in waiting if standings[index].probe_at <= now]
    if ready:
        return min(ready, key=lambda index: standings[index].hope)
    blocks = tuple(standing.block for standing in standings)
    moments = [block.until for block in blocks if block.until is not None]
    if not waiting:
        return Exhausted(min(moments, default=None), blocks)
    probes = [standings[index].probe_at for index in waiting]
    return Wait(min([*moments, *filter(isfinite, probes)], default=None), blocks)


def _end(block: Block, *, unknown: float) -> float:
    return unknown if block.until is None else block.until
