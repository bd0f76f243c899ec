"""Which steps can serve a request at all."""

from dataclasses import replace

import pytest

from stepwell.errors import BadRequest
from stepwell.routing.chain import Step, Target
from stepwell.routing.fit import SURELY, Needs, fit, lacking, refuse_choosing

UNKNOWN = Step("a", "unknown", (Target("a", "a", "unknown"),), 60.0)
SMALL = replace(UNKNOWN, model="small", context=1000)
LARGE = replace(UNKNOWN, model="large", context=8000)
TEXT = replace(UNKNOWN, model="text", capabilities=frozenset())
TOOLS = replace(UNKNOWN, model="tools", capabilities=frozenset({"tools"}))
EYES = replace(UNKNOWN, model="eyes", capabilities=frozenset({"vision", "json"}))
PAID = replace(UNKNOWN, model="paid", paid=True)


def asking(*capabilities: str, free: bool = False) -> Needs:
    return Needs(10, 0, frozenset(capabilities), free)


def refusal(steps: list[Step], needs: Needs) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        fit(steps, needs)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "needs",
    [Needs(10**9), asking("vision", "tools", "json"), asking(free=True)],
    ids=["size", "capabilities", "cost"],
)
def test_what_is_not_known_speaks_for_a_step(needs: Needs) -> None:
    """Neither a context nor capabilities are told, so that it may serve anything."""
    assert lacking(UNKNOWN, needs) == ""


@pytest.mark.parametrize(
    ("step", "needs", "reason"),
    [
        (SMALL, Needs(int(1000 * SURELY) + 1), "context"),
        (TEXT, asking("tools"), "tools"),
        (TOOLS, asking("tools", "vision"), "vision"),
        (EYES, asking("tools"), "tools"),
        (PAID, asking(free=True), "cost"),
    ],
)
def test_a_step_is_left_out_for_what_it_lacks(step: Step, needs: Needs, reason: str) -> None:
    """Capabilities that are told are all there are; an empty list means text only."""
    assert lacking(step, needs) == reason
    assert fit([step, UNKNOWN], needs) == [UNKNOWN]


def test_doubt_about_the_size_leaves_a_step_in() -> None:
    """An estimate may be half as much too high; a guess refuses nobody."""
    assert fit([SMALL], Needs(int(1000 * SURELY))) == [SMALL]
    assert fit([SMALL], Needs(10, 8000)) == [SMALL]


@pytest.mark.parametrize("needs", [Needs(1001), Needs(500, 501)], ids=["prompt", "answer"])
def test_doubt_about_the_size_leaves_a_step_out_while_another_is_left(needs: Needs) -> None:
    """Prompt and the longest answer asked for are to fit into the context."""
    assert fit([SMALL, LARGE], needs) == [LARGE]
    assert fit([SMALL, LARGE], Needs(500, 500)) == [SMALL, LARGE]


def test_the_order_stays() -> None:
    """What is left is asked as the chain has it."""
    assert fit([LARGE, PAID, UNKNOWN, SMALL], Needs(5000)) == [LARGE, PAID, UNKNOWN]


def test_a_request_too_large_for_all_names_the_largest() -> None:
    """In the words of OpenAI's own error, for which clients look, and with its code."""
    error = refusal([SMALL, LARGE], Needs(50_000))
    assert (error.code, error.param) == ("context_length_exceeded", "messages")
    assert "maximum context length here is 8000 tokens (a/large)" in str(error)
    assert "about 50000 tokens" in str(error)


@pytest.mark.parametrize(
    ("capability", "param"),
    [("vision", "messages"), ("tools", "tools"), ("json", "response_format")],
)
def test_a_capability_that_no_step_has_names_its_parameter(capability: str, param: str) -> None:
    """The code and the field by which OpenAI tells the same of one model."""
    error = refusal([TEXT], asking(capability))
    assert (error.code, error.param) == ("unsupported_parameter", param)
    assert f"'{param}'" in str(error)
    assert "a/text" in str(error)


def test_capabilities_that_no_step_has_together_are_all_named() -> None:
    """Each for itself would be served."""
    error = refusal([TOOLS, EYES], asking("tools", "json"))
    assert (error.code, error.param) == ("unsupported_parameter", "response_format")
    assert "together with tools" in str(error)


def test_size_is_told_of_steps_that_could_do_it_otherwise() -> None:
    """Where a capable step is too small, a larger one that is not capable is no way out."""
    error = refusal([TEXT, replace(TOOLS, context=1000)], Needs(50_000, 0, frozenset({"tools"})))
    assert error.code == "context_length_exceeded"
    assert "a/tools" in str(error)


def test_only_paid_steps_for_a_free_request_is_an_error_of_its_own() -> None:
    """Whatever else they lack: nothing but another chain would help."""
    assert refusal([PAID], asking("tools", free=True)).code == "no_free_step"


def test_a_field_that_chooses_is_refused_by_its_name() -> None:
    """Its code is that of a parameter that is not supported here."""
    with pytest.raises(BadRequest) as caught:
        refuse_choosing(["model", "plugins"], {"models", "plugins"})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "plugins")
    refuse_choosing(["model", "messages"], {"models", "plugins"})
