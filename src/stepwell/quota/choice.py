"""The choice among targets of which none is open: probe one, wait, or give up.

1. A target that is only softly blocked is probed, the most hopeful one first, if no probe is out
   there already, the last refusal is a second ago, and it has not yet answered for this request.
   A request that can wait probes nobody while room is told or counted to come in time, or may come
   by a count that was confirmed: the later it probes, the likelier there is room.
2. A request gives up when every target is hard-blocked or has refused or failed a call, anyone's,
   since the request arrived, or before, if it refuses on and on (`health`). That is the rule of
   evidence.
3. Otherwise evidence is on its way, and the request waits for it. Where room surely comes within a
   moment, it waits for that instead; and where it may have come already, until that is known
   (`opening`).

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

# Delays are told in whole seconds.
_WHOLE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a blocked target stands to one request.

    Attributes:
        block: What is in the way.
        waits: It may still answer for this request: softly blocked and without evidence, or in the
            last moment of a told time, which is rounded up and aged on its way.
        probe_at: Monotonic time from which it may be probed; inf while a probe is out.
        coming: Monotonic time from which it has room, or may have some, as far as that is told or
            counted; inf if it is guessed or not known.
    """

    block: Block
    waits: bool
    probe_at: float
    coming: float = inf

    @classmethod
    def of(
        cls,
        block: Block,
        *,
        answered: bool,
        probe_at: float,
        flying: bool = False,
        now: float = -inf,
    ) -> Self:
        """Judge a block.

        Args:
            block: What is in the way.
            answered: The target has refused or failed a call since the request came in.
            probe_at: When it may be probed, as far as other requests' probes go.
            flying: Calls are in flight there, or at its account.
            now: Monotonic time.
        """
        coming = _coming(block, flying=flying)
        if coming <= now and block.until is None and not flying:
            coming = inf  # it may have come already, and neither a moment nor an event will tell
        if block.hard:
            return cls(block, waits=block.is_ending, probe_at=inf, coming=coming)
        if not answered:
            return cls(block, waits=True, probe_at=probe_at, coming=coming)
        if block.reason == "slow_start":
            return cls(block, waits=True, probe_at=inf)
        refused = replace(block, reason="refused")
        return cls(refused, waits=block.is_ending, probe_at=inf, coming=coming)

    @property
    def hope(self) -> tuple[int, float]:
        """Sort by kind, then by the soonest expected room; equals stay in the chain's order."""
        return _HOPE.get(self.block.reason, _HOPELESS), _end(self.block, unknown=inf)


def worst(blocks: Iterable[Block]) -> Block | None:
    """Return the block that decides for a target: hard before soft, then the one that ends last.

    An end that only an event can tell counts as soon, because the event may come at any moment. Of our
    own count we may know no more than between which moments it ends; then the provider's word goes
    first.
    """
    every = list(blocks)
    last = max(every, key=_weight, default=None)
    if last is None or not last.hard or last.may_end is None:
        return last
    end = last.may_end - _WHOLE
    told = [block for block in every if block.told and block.hard and _weight(block)[1] >= end]
    return max(told, key=_weight, default=last)


def _weight(block: Block) -> tuple[bool, float]:
    return block.hard, _end(block, unknown=-inf)


def choose(
    standings: Sequence[Standing], now: float, waits_until: float = -inf
) -> int | Wait | Exhausted:
    """Return the index of the target to probe, or why there is none.

    Args:
        standings: One for each target asked for, in order.
        now: Monotonic time.
        waits_until: Monotonic time until which the request can or could wait.
    """
    waiting = [index for index, standing in enumerate(standings) if standing.waits]
    ready = [index for index in waiting if standings[index].probe_at <= now]
    waits = waits_until > now and any(standing.coming <= waits_until for standing in standings)
    if ready and not waits:
        return min(ready, key=lambda index: standings[index].hope)
    if not waiting:
        return exhausted(standings)
    blocks = tuple(standing.block for standing in standings)
    moments = [block.until for block in blocks if block.until is not None]
    probes = [standings[index].probe_at for index in waiting if index not in ready]
    return Wait(min([*moments, *filter(isfinite, probes)], default=None), blocks)


def exhausted(standings: Sequence[Standing]) -> Exhausted:
    """Return the answer where no target may still answer for the request."""
    blocks = tuple([standing.block for standing in standings])
    moments = [block.until for block in blocks if block.until is not None]
    return Exhausted(min(moments, default=None), blocks)


def _coming(block: Block, *, flying: bool) -> float:
    if not block.hard and block.reason != "count":
        return inf
    # What is in flight has no end yet, but will have; without it there is more asked than fits.
    counts_on = 0.0 if flying and not block.hard else inf
    return _end(block, unknown=counts_on) if block.may_end is None else block.may_end


def _end(block: Block, *, unknown: float) -> float:
    return unknown if block.until is None else block.until
