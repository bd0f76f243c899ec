from collections.abc import Callable, Mapping

import pytest

from stepwell.providers.dialects import Reply, dialect
from stepwell.quota.limit import Metric
from stepwell.quota.reading import Reading

MakeReply = Callable[..., Reply]
REQUESTS, TOKENS = Metric.REQUESTS, Metric.TOKENS


@pytest.mark.parametrize("name", ["generic", "auto"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            {"RateLimit-Limit": "100", "RateLimit-Remaining": "4", "RateLimit-Reset": "5"},
            [Reading(REQUESTS, None, 100, 4, 5.0)],
            id="three-fields",
        ),
        pytest.param(
            {"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "0"},
            [Reading(REQUESTS, 1.0, 10, 0)],
            id="the-policy-with-this-limit",
        ),
        pytest.param(
            {"RateLimit-Limit": "10, 10;w=1, 10;w=60", "RateLimit-Remaining": "0"},
            [Reading(REQUESTS, None, 10, 0)],
            id="two-policies-with-this-limit",
        ),
        pytest.param(
            {
                "RateLimit-Limit": "10",
                "RateLimit-Policy": "10;w=60",
                "RateLimit-Remaining": "3",
                "RateLimit-Reset": "50",
            },
            [Reading(REQUESTS, 60.0, 10, 3, 50.0)],
            id="policy-beside",
        ),
        pytest.param(
            {"RateLimit": "limit=100, remaining=50, reset=5"},
            [Reading(REQUESTS, None, 100, 50, 5.0)],
            id="one-dictionary",
        ),
        pytest.param(
            {"RateLimit": '"default";r=0;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
            [Reading(REQUESTS, 60.0, 100, 0, 30.0)],
            id="structured",
        ),
        pytest.param(
            {
                "RateLimit": '"burst";r=3;t=2, "day" ; r=900 ; t=3600',
                "RateLimit-Policy": '"burst";q=5;w=10,"day";q=1000;qu="tokens";w=86400;pk=:cHE=:',
            },
            [Reading(REQUESTS, 10.0, 5, 3, 2.0), Reading(TOKENS, 86_400.0, 1_000, 900, 3_600.0)],
            id="several",
        ),
        pytest.param(
            {"RateLimit": '"a";r=7', "RateLimit-Policy": '"b";q=5;w=10'},
            [Reading(REQUESTS, None, None, 7)],
            id="without-its-policy",
        ),
        pytest.param(
            {"RateLimit": '"a";r=7', "RateLimit-Policy": '"a";q=5;qu="content-bytes";w=10'},
            [],
            id="bytes",
        ),
        pytest.param({"RateLimit": '"a";t=7'}, [], id="nothing-remaining-is-told"),
        pytest.param({"RateLimit": "soon"}, [], id="garbage"),
        pytest.param({"RateLimit-Limit": "5"}, [], id="a-limit-alone"),
    ],
)
def test_each_version_of_the_draft_is_read(
    reply: MakeReply, name: str, headers: Mapping[str, str], expected: list[Reading]
) -> None:
    """Three fields, one dictionary, or a list of named policies; resets are seconds from now."""
    assert list(dialect(name)(reply(200, headers)).readings) == expected


def test_the_empty_policy_is_the_delay(reply: MakeReply) -> None:
    """Where nothing states a delay, the counter that is empty does."""
    headers = {"RateLimit": '"minute";r=0;t=30, "day";r=5;t=900'}

    assert dialect("auto")(reply(429, headers)).delay == 30


def test_the_draft_stands_beside_a_providers_own_headers(reply: MakeReply) -> None:
    """A gateway in front of a provider adds its counters; both are told."""
    headers = {
        "RateLimit": '"gw";r=3;t=2',
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "9",
    }

    readings = dialect("groq")(reply(200, headers)).readings

    assert {(r.metric, r.remaining) for r in readings} == {("tokens", 9), ("requests", 3)}
