"""Explanation: what would become of a request now, step by step."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stepwell.errors import BadRequest
from stepwell.quota.ledger import Block, Preview
from stepwell.routing.chain import Step, Target
from stepwell.routing.fit import Needs, lacking


class Decision(StrEnum):
    """What would become of the request as a whole."""

    CALL = "call"  # some target has room
    PROBE = "probe"  # one would be tried past a soft block
    WAIT = "wait"  # others wait for the same targets, or it waits for quota itself
    FAIL = "fail"  # nobody can serve it now
    REJECT = "reject"  # nobody can ever serve it


class Part(StrEnum):
    """What would become of a step or target."""

    TAKEN = "taken"
    READY = "ready"  # it has room, for those that come after
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TargetPart:
    """One target of a step; `block` is what stands in its way, None if nothing does."""

    target: Target
    part: Part
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class StepPart:
    """One step.

    Attributes:
        step: Which.
        part: What would become of it.
        reason: Why it is skipped, in a word: what it lacks (`cost`, `context`, `vision`, `tools`,
            `json`), `size` where the request is probably too large for it and another step is left,
            or what stands in the way of its first target. Empty for one that is not skipped.
        targets: Its targets; none where no ledger was asked.
    """

    step: Step
    part: Part
    reason: str
    targets: tuple[TargetPart, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of a request now.

    Attributes:
        decision: In a word.
        steps: Of its chain, in order.
        until: Monotonic time of the soonest reset among the targets that are blocked, if it is known.
        refusal: Why nobody can ever serve it; None if somebody can.
    """

    decision: Decision
    steps: tuple[StepPart, ...]
    until: float | None = None
    refusal: BadRequest | None = None

    @property
    def taken(self) -> TargetPart | None:
        """The target that would be called."""
        targets = (target for step in self.steps for target in step.targets)
        return next((target for target in targets if target.part is Part.TAKEN), None)


def rejected(steps: Iterable[Step], needs: Needs, refusal: BadRequest) -> Explanation:
    """Explain a request that nobody can ever serve."""
    parts = (StepPart(step, Part.SKIPPED, lacking(step, needs)) for step in steps)
    return Explanation(Decision.REJECT, tuple(parts), refusal=refusal)


def explained(
    steps: Iterable[Step],
    needs: Needs,
    asked: Collection[Step],
    targets: Sequence[Target],
    seen: Preview,
    *,
    waits: bool,
) -> Explanation:
    """Explain a request from what the ledger says.

    Args:
        steps: All of its chain.
        needs: What it asks of them.
        asked: Those that would be tried.
        targets: Theirs, as the ledger was asked for them.
        seen: The ledger's answer.
        waits: It would line up if there is nothing for it, or must, as others do.
    """
    taken = None if seen.taken is None else targets[seen.taken]
    blocks = dict(zip((target.key for target in targets), seen.blocks, strict=True))
    parts = tuple(
        _step_part(step, taken, blocks) if step in asked else _left_out(step, needs)
        for step in steps
    )
    moments = [block.until for block in seen.blocks if block is not None]
    soonest = min((moment for moment in moments if moment is not None), default=seen.until)
    return Explanation(_decision(seen, waits=waits), parts, soonest)


def _decision(seen: Preview, *, waits: bool) -> Decision:
    if waits:
        return Decision.WAIT
    if seen.taken is None:
        return Decision.FAIL
    return Decision.CALL if seen.blocks[seen.taken] is None else Decision.PROBE


def _left_out(step: Step, needs: Needs) -> StepPart:
    return StepPart(step, Part.SKIPPED, lacking(step, needs) or "size")


def _step_part(step: Step, taken: Target | None, blocks: dict[str, Block | None]) -> StepPart:
    targets = tuple(_target_part(target, taken, blocks[target.key]) for target in step.targets)
    part = min((target.part for target in targets), key=list(Part).index)
    first = targets[0].block
    reason = first.reason if part is Part.SKIPPED and first is not None else ""
    return StepPart(step, part, reason, targets)


def _target_part(target: Target, taken: Target | None, block: Block | None) -> TargetPart:
    if taken is not None and target.key == taken.key:
        return TargetPart(target, Part.TAKEN, block)
    return TargetPart(target, Part.READY if block is None else Part.SKIPPED, block)
