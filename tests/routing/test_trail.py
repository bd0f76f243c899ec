"""The record of a request's way, and its header."""

from stepwell.routing.trail import MAX_HEADER, Attempt, Trail


def attempt(target: str = "a/m", outcome: str = "answer", status: int | None = 200) -> Attempt:
    return Attempt(target, target.partition("/")[0], outcome, status, 0.5)


def test_the_header_names_each_attempt_in_order() -> None:
    """Target, outcome, and the status unless it is an answer's or there was none."""
    trail = Trail(
        [
            attempt("groq/llama", "rate_limited", 429),
            attempt("b/m", "unreachable", None),
            attempt("c/m"),
        ]
    )
    assert trail.header() == "groq/llama:rate_limited(429), b/m:unreachable, c/m:answer"


def test_no_attempts_make_an_empty_header() -> None:
    """A 503 that asked nobody says so."""
    assert Trail().header() == ""


def test_the_header_is_ascii_without_control_characters() -> None:
    """A model's name cannot break a header or smuggle in another one."""
    header = Trail([attempt("a/mödel\r\nx-evil: 1\x7f\t")]).header()
    assert header == "a/m?del??x-evil: 1??:answer"


def test_the_header_is_bounded() -> None:
    """However many keys were tried, servers and proxies take the header."""
    header = Trail([attempt("provider/some-model", "key_refused", 401)] * 500).header()
    assert len(header) == MAX_HEADER
    assert header.endswith(" ...")
    assert header.startswith("provider/some-model:key_refused(401), ")


def test_a_header_of_exactly_the_bound_is_whole() -> None:
    """Nothing is cut that fits."""
    name = "a/" + "m" * (MAX_HEADER - len("a/:answer"))
    assert Trail([attempt(name)]).header() == f"{name}:answer"
