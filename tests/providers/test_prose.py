from datetime import UTC, tzinfo

import pytest

from stepwell.providers.dialects.calendars import BEIJING
from stepwell.providers.dialects.prose import largest_request, stated_moment, stated_wait, tripped
from stepwell.quota.limit import Metric, Scope


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 7m12.5s. Visit", 432.5),
        ("Please try again in 644ms.", 0.644),
        ("Please retry in 38.495166512s.", 38.495166512),
        ("Please retry after 2 seconds.", 2),
        ("Retry after 1 seconds.", 1),
        ("Please wait 52220 seconds before retrying.", 52_220),
        ("Try again in 1 hour, 5 minutes and 3 seconds", 3_903),
        ("try again in about 20 min", 1_200),
        ("Your limit resets in 2 days", 172_800),
        ("try again in 0s", 0),
    ],
)
def test_a_stated_delay_is_read_from_the_sentence(text: str, seconds: float) -> None:
    """`in`, `after` and `wait`, with short or long units, or several of them."""
    assert stated_wait(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Please try again later.",
        "retry after 3 attempts",
        "in 5 months",
        "wait 5 msgs",
        "took 5s",
    ],
)
def test_a_sentence_without_a_delay_states_none(text: str) -> None:
    """A number without a unit of time, or a time that is no advice, is not a delay."""
    assert stated_wait(text) is None


@pytest.mark.parametrize(
    ("words", "metric", "window"),
    [
        ("on requests per minute (RPM)", Metric.REQUESTS, 60),
        ("on requests per day (RPD)", Metric.REQUESTS, 86_400),
        ("on tokens per min (TPM)", Metric.TOKENS, 60),
        ("on tokens per day (TPD)", Metric.TOKENS, 86_400),
        ("reached organization TPD rate", Metric.TOKENS, 86_400),
        ("on RPH", Metric.REQUESTS, 3_600),
        ("on output tokens per minute (OTPM)", None, 60),
        ("on input tokens per minute (ITPM)", None, 60),
    ],
)
def test_the_axis_of_a_counter_is_read(words: str, metric: Metric | None, window: float) -> None:
    """Metric and window, in words or in short; a part of a request's tokens has no metric."""
    counter = tripped(f"Rate limit {words}: Limit 100000, Used 97050, Requested 3619.", "")

    assert counter is not None
    assert (counter.metric, counter.window) == (metric, window)
    assert (counter.limit, counter.used, counter.requested) == (100_000, 97_050, 3_619)
    assert counter.remaining == 2_950


@pytest.mark.parametrize(
    ("text", "kind", "counter"),
    [
        (
            "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 5 seconds",
            "",
            ("requests", 86_400.0, 50, 0, Scope.MODEL),
        ),
        (
            "Rate limit of 10 per 60s exceeded for UserByMinute.",
            "",
            ("requests", 60.0, 10, 0, Scope.ACCOUNT),
        ),
        (
            "Rate limit of 5 per 0s exceeded for UserConcurrentRequests.",
            "",
            ("concurrency", 0.0, 5, 0, Scope.ACCOUNT),
        ),
        ("", "UserByModelByHour", ("requests", 3_600.0, None, 0, Scope.MODEL)),
        ("", "UserByModelByMinuteTokens", ("tokens", 60.0, None, 0, Scope.MODEL)),
        ("limited to 20 API calls / minute.", "", ("requests", 60.0, 20, 0, None)),
        ("limited to 1,000 API calls / month.", "", ("requests", 2_592_000.0, 1_000, 0, None)),
        ("at most 5 requests per hour", "", ("requests", 3_600.0, 5, 0, None)),
        ("a maximum of 900 tokens every day", "", ("tokens", 86_400.0, 900, 0, None)),
        ("Usage limit reached for 5 hour.", "", ("requests", 18_000.0, None, 0, None)),
        (
            "Queue full for IP: 203.0.113.7: 1 requests already queued (max: 1)",
            "",
            ("concurrency", 0.0, 1, 0, Scope.ACCOUNT),
        ),
        ("Tokens per minute limit exceeded - too many.", "", ("tokens", 60.0, None, 0, None)),
        ("Details: RPD limit reached.", "", ("requests", 86_400.0, None, 0, None)),
    ],
)
def test_a_counter_is_read_in_each_providers_words(
    text: str, kind: str, counter: tuple[object, ...]
) -> None:
    """Window, limit and whose it is; nothing is left of it, though not in so many words."""
    found = tripped(text, kind)

    assert found is not None
    assert (found.counts, found.window, found.limit, found.remaining, found.scope) == counter


@pytest.mark.parametrize("kind", ["User", "UserError", "rate_limit_error", "x" * 99])
def test_a_type_that_names_no_limit_is_none(kind: str) -> None:
    """GitHub's names begin alike; what else begins so names nothing."""
    assert tripped("Slow down.", kind) is None


@pytest.mark.parametrize(
    ("text", "zone", "seconds"),
    [
        ("Your limit will reset at 2026-10-02 23:30:00", BEIJING, 12_600),
        ("Your limit will reset at 2026-10-02 23:30:00", UTC, 41_400),
        ("it resets on 2026-10-02T14:00:00Z.", BEIJING, 7_200),
        ("reset at 2026-10-02 16:00 +02:00", UTC, 7_200),
        # A moment that is past in Beijing was not meant so; one that is past in UTC too is over.
        ("Your limit will reset at 2026-10-02 13:00:00", BEIJING, 3_600),
        ("Your limit will reset at 2026-10-02 01:00:00", BEIJING, 0),
        ("Your limit will reset at 2027-10-02 01:00:00", UTC, 172_800),
    ],
)
def test_a_stated_moment_is_read_on_its_own_clock(text: str, zone: tzinfo, seconds: float) -> None:
    """With an offset in that, else on the provider's clock."""
    assert stated_moment(text, zone, 1_790_942_400.0) == seconds


@pytest.mark.parametrize("text", ["", "will reset at midnight", "reset at 2026-99-99 25:00:00"])
def test_a_text_without_a_moment_states_none(text: str) -> None:
    """Words are not read as dates."""
    assert stated_moment(text, UTC, 0.0) is None


def test_an_old_message_without_an_axis_is_read_by_the_errors_type() -> None:
    """Groq once left the axis empty and put a tilde before numbers."""
    counter = tripped("Rate limit reached on : Limit 500000, Used ~500400, Requested 9", "tokens")

    assert counter is not None
    assert (counter.metric, counter.window, counter.remaining) == (Metric.TOKENS, None, 0)


def test_thousands_may_be_separated() -> None:
    """A comma within a number is not its end; a comma after it is."""
    counter = tripped("TPM rate limit, current: 1,508,351, limit: 1,500,000", "")

    assert counter is not None
    assert (counter.limit, counter.used, counter.remaining) == (1_500_000, 1_508_351, 0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Limit 5, Used 5", ""),
        ("Limit 5, Used 5", "tier"),
        ("on tokens per day", "tokens"),
        ("", ""),
    ],
)
def test_without_a_limit_and_its_metric_no_counter_is_read(text: str, kind: str) -> None:
    """Half a counter would be a guess."""
    assert tripped(text, kind) is None


@pytest.mark.parametrize(
    ("numbers", "never"),
    [
        ("Limit 6000, Requested 6791", True),
        ("Limit 6000, Used 5000, Requested 1500", False),
        ("Limit 6000, Used 7000", False),
    ],
)
def test_a_request_larger_than_the_limit_never_fits(numbers: str, never: bool) -> None:
    """What was used does not matter to it."""
    counter = tripped(f"on tokens per minute (TPM): {numbers}", "tokens")

    assert counter is not None
    assert counter.never_fits is never


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000", 8_192),
        ("Request body too large for gpt-4o model. Max size: 8000 tokens.", 8_000),
        ("too large for model with 32768 maximum context length", 32_768),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200_000),
        ("count (9) exceeds the maximum number of tokens allowed (1,048,576).", 1_048_576),
        ("exceeds the context window of 4096", 4_096),
        ("Please reduce the length of the messages", None),
    ],
)
def test_the_largest_request_is_read_where_it_is_told(text: str, size: int | None) -> None:
    """The ceiling, never the size of the request that was refused."""
    assert largest_request(text) == size
