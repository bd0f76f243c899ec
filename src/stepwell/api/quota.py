"""GET /v1/quota: what is left of every target's quota, and whether each chain could serve now."""

from collections.abc import Iterable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from stepwell.api.auth import PRINCIPAL
from stepwell.api.envelope import block_fields, encode, instant, moment
from stepwell.gateway import Gateway
from stepwell.quota.ledger import LimitStatus, TargetStatus
from stepwell.routing.chain import Chain, Step, Target

# A request of any size, as far as that can be said without one.
_SMALLEST = 1


class Quota:
    """Shows callers the chains that they may use, and the targets in them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def get(self, request: Request) -> Response:
        gateway = self._gateway
        allowed = request.scope[PRINCIPAL].chains
        chains = gateway.routes.usable(allowed)
        targets = {target.key: target for target in _targets(chains)}
        snapshot = await gateway.ledger.snapshot(tuple(targets.values()))
        statuses = {status.key: status for status in snapshot}
        # Who may use all chains may see what `pins: any` has led to as well.
        shown = dict.fromkeys([*targets, *(statuses if allowed is None else ())])
        body = {
            "object": "stepwell.quota",
            "time": instant(gateway.clock.time()),
            "chains": [await self._chain(chain) for chain in chains],
            "targets": [self._target(statuses[key]) for key in shown],
        }
        return Response(gateway.redactor(encode(body)), media_type="application/json")

    async def _chain(self, chain: Chain) -> dict[str, Any]:
        """Say whether a small request would be sent somewhere now, else when."""
        gateway = self._gateway
        targets = list(_targets([chain]))
        now = gateway.clock.monotonic()
        seen = await gateway.ledger.preview(targets, _SMALLEST, arrived=now)
        retry_after, until = moment(seen.until, gateway.clock)
        return {
            "name": chain.name,
            "default": chain.name == gateway.routes.default,
            "free_only": chain.free_only,
            "ready": seen.taken is not None,
            "target": None if seen.taken is None else targets[seen.taken].key,
            "retry_after": retry_after,
            "until": until,
            "steps": [_step(step) for step in chain.steps],
        }

    def _target(self, status: TargetStatus) -> dict[str, Any]:
        block, gateway = status.block, self._gateway
        others = gateway.dispatcher.asides.counters(
            status.key, status.account, gateway.clock.monotonic()
        )
        return {
            "target": status.key,
            "account": status.account,
            "model": status.key.removeprefix(f"{status.account}/"),
            "ready": block is None,
            "in_flight": status.in_flight,
            "cooldown": None if block is None else block_fields(block, gateway.clock),
            "limits": [self._limit(limit) for limit in (*status.limits, *others)],
        }

    def _limit(self, limit: LimitStatus) -> dict[str, Any]:
        reset, reset_at = moment(limit.reset, self._gateway.clock)
        return {
            "metric": limit.metric,
            "window": limit.window,
            "limit": limit.limit,
            "used": limit.used,
            "remaining": limit.remaining,
            "reset": reset,
            "reset_at": reset_at,
            "scope": limit.scope,
            "source": limit.source,
            "calendar": limit.calendar,
        }


def _targets(chains: Iterable[Chain]) -> Iterator[Target]:
    return (target for chain in chains for step in chain.steps for target in step.targets)


def _step(step: Step) -> dict[str, Any]:
    return {
        "step": step.name,
        "paid": step.paid,
        "targets": [target.key for target in step.targets],
    }
