"""The benchmark's judgement: what it takes for held and for missed, and what its page says."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"

# A figure with a bar that moves with the machine, and one with a bar that does not.
SCALED, FIXED = "request_cpu", "idle_mb"


@pytest.fixture
def results(performance: ModuleType) -> Any:
    """A machine as fast as the one that the bars are stated for."""
    results = performance.Results()
    results.note("canned_cpu", "canned", 0, 0.050)
    return results


def verdicts(performance: ModuleType, results: Any, *figures: str) -> dict[str, bool]:
    return {each.figure: each.holds for each in performance.judge(results, figures)}


@pytest.mark.parametrize(("value", "holds"), [(0.25, True), (0.26, False)])
def test_the_median_of_the_rounds_is_held_against_the_bar(
    performance: ModuleType, results: Any, value: float, holds: bool
) -> None:
    """One slow round is noise."""
    for turn, found in enumerate((0.1, value, 9.0)):
        results.note(SCALED, "stepwell", turn, found)
    assert verdicts(performance, results, SCALED) == {SCALED: holds}


def test_a_slower_machine_may_take_longer_but_no_more_memory(
    performance: ModuleType, results: Any
) -> None:
    """Times move with what the canned answer costs; sizes do not."""
    results.note("canned_cpu", "canned", 0, 0.100)
    results.note(SCALED, "stepwell", 0, 0.49)
    results.note(FIXED, "stepwell", 0, 71.0)
    assert verdicts(performance, results, SCALED, FIXED) == {SCALED: True, FIXED: False}


def test_a_ratio_is_taken_round_by_round(performance: ModuleType, results: Any) -> None:
    """A machine that was busy in one round was so for both; a round without a pair counts not."""
    for turn, (ours, theirs) in enumerate([(600.0, 100.0), (60.0, 10.0), (4.0, None)]):
        results.note("request_rate", "stepwell", turn, ours)
        if theirs is not None:
            results.note("request_rate", "portkey", turn, theirs)
    assert results.rounds("rate_to_portkey") == {0: 6.0, 1: 6.0}
    assert verdicts(performance, results, "rate_to_portkey") == {"rate_to_portkey": True}


def test_what_could_not_be_measured_is_missed(performance: ModuleType, results: Any) -> None:
    """If it was to be measured; a bar that nobody asked for says nothing."""
    assert verdicts(performance, results, SCALED) == {SCALED: False}
    assert verdicts(performance, results) == {}


def test_every_bar_and_every_figure_is_measured_by_some_group(performance: ModuleType) -> None:
    """And no group promises what is not described."""
    measured = [name for group in performance.GROUPS.values() for name in group.figures]
    assert len(measured) == len(set(measured))
    assert set(measured) == {*performance.FIGURES, *performance.RATIOS}
    assert {bar.figure for bar in performance.BARS} <= set(measured)


def test_the_page_describes_every_figure(performance: ModuleType) -> None:
    """In the words of the table in the code."""
    text = PAGE.read_text().partition("## Figures")[2].partition("## Results")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", text, re.MULTILINE)
    described = {
        **{name: (each.unit, each.says) for name, each in performance.FIGURES.items()},
        **{name: ("times", each.says) for name, each in performance.RATIOS.items()},
    }
    assert {name: (unit, says) for name, unit, says in rows} == described


def test_the_page_shows_results_of_figures_that_exist(performance: ModuleType) -> None:
    """A figure that was renamed must not live on there."""
    results = PAGE.read_text().partition("<!-- results")[2].partition("<!-- end of results")[0]
    shown = set(re.findall(r"^\| `(\w+)` \|", results, re.MULTILINE))
    assert {bar.figure for bar in performance.BARS} <= shown
    assert shown <= {*performance.FIGURES, *performance.RATIOS}


def test_a_table_shows_each_figure_with_its_verdict(performance: ModuleType, results: Any) -> None:
    """For readers, and for the page."""
    results.note(SCALED, "stepwell", 0, 0.2)
    results.note(SCALED, "litellm", 0, 16.0)
    figures = ["canned_cpu", SCALED, FIXED]
    judged = list(performance.judge(results, figures))
    run = performance.Run(results, figures, judged, {"date": "2026-11-28"})
    lines = performance.as_markdown(run).splitlines()
    assert "| `request_cpu` | stepwell | ms CPU | 0.200 | 0.200 | 0.200 |  | ok <= 0.25 |" in lines
    assert "|  | LiteLLM | ms CPU | 16.00 | 16.00 | 16.00 | 80 (80 to 80) |  |" in lines
    assert "MISSED idle_mb: not measured" in lines


def test_a_sample_counts_for_whoever_called_the_c_function(performance: ModuleType) -> None:
    """But system calls are the kernel's time, and a thread that waits takes none."""
    stacks = """\
run (asyncio/runners.py:1);attempt (stepwell/upstream/client.py:9);dict_update (python3.11) 2
run (asyncio/runners.py:1);attempt (stepwell/upstream/client.py:9);__libc_send (libc.so.6) 1
run (asyncio/runners.py:1);build (httpx/_models.py:7) 1
run (threading.py:1);_run (aiosqlite/core.py:9);_queue_SimpleQueue_get (_queuemodule.c.h:1) 7
"""
    assert performance.shares(stacks) == {
        "stepwell/upstream": 0.5,
        "system calls": 0.25,
        "httpx": 0.25,
    }
