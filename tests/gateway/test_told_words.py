"""What a provider told is shown as told, also where our own count knew it as well."""

from collections.abc import Callable
from typing import Any

from stepwell.testing import FakeClock, Fleet


async def test_a_told_refusal_that_our_count_foresaw_is_shown_as_told(
    serve: Callable[..., Any], fleet: Fleet, clock: FakeClock
) -> None:
    """With the provider's own words, in the 503 and in /v1/quota."""
    fleet.add("a", limits=["3 requests/30s"], window="fixed", dialect="groq")
    site = serve()
    clock.shift(
        10
    )  # so that the delay shows where the window's edges lie, and the count is believed
    answers = [await site.ask() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503]
    (blocked,) = answers[3].json()["error"]["stepwell"]["blocked"]
    assert (blocked["reason"], blocked["told"]) == ("cooldown", True)
    assert "Rate limit reached" in blocked["words"]
    assert (blocked["retry_after"], answers[3].headers["retry-after"]) == (20.0, "20")
    (target,) = (await site.client.get("/v1/quota")).json()["targets"]
    assert (target["cooldown"]["told"], target["ready"]) == (True, False)
