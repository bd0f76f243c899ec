"""`stepwell catalog`: what is known of providers, as the settings' `preset` takes it."""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from stepwell.cli.console import WRONG_SETTINGS, console, fail, print_json, table
from stepwell.providers.catalogue import FreeLimit, Preset, presets
from stepwell.settings.problems import did_you_mean


def catalog(
    name: Annotated[
        str | None, typer.Argument(help="Of one provider; without it all are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the providers that `preset` may name, or all that is known of one.

    Free limits drift. Each says of when it is and how sure; what your settings say in `limits` holds
    instead, and so does what a provider tells while it is used.

    \b
    Examples:
      stepwell catalog
      stepwell catalog groq
      stepwell catalog --json | jq -r '.providers[] | select(.keyless) | .id'

    \b
    Exit codes: 0 shown, 2 no provider has this name.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    if name is None:
        _show_all(as_json=as_json)
        return
    if name not in presets():
        fail(f"stepwell: unknown provider {name!r}{did_you_mean(name, presets())}", WRONG_SETTINGS)
    if as_json:
        print_json(_document(name, presets()[name]))
    else:
        _show_one(name, presets()[name])


def _show_all(*, as_json: bool) -> None:
    if as_json:
        print_json({"providers": [_document(name, preset) for name, preset in presets().items()]})
        return
    rows = table("preset", "provider", "key variable", "cost", "free limits", "as of", "sure")
    for name, preset in presets().items():
        limit = _first_limit(preset)
        rows.add_row(
            name,
            preset.name,
            preset.env[0] if preset.env else "none",
            cost_of(preset),
            _limit_words(limit) if limit else "not known",
            limit.as_of if limit else "",
            limit.sure if limit else "",
        )
    screen = console()
    screen.print(rows)
    screen.print("Limits differ by model: stepwell catalog NAME shows all that is known of one.")


def _document(name: str, preset: Preset) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(preset, order="deterministic")
    return {"id": name, **fields}


def cost_of(preset: Preset) -> str:
    """Return `free`, `paid`, or which of the models are free."""
    if preset.local or "*" in preset.free:
        return "free"
    if preset.free:
        return f"free: {', '.join(preset.free)}"
    return "free without a key" if any(row.anonymous for row in preset.limits) else "paid"


def _first_limit(preset: Preset) -> FreeLimit | None:
    """Return what holds for the model to begin with, or else the first that is known."""
    keyed = not preset.keyless
    limits = [limit for model in preset.models[:1] for limit in preset.rows_of(model, keyed=keyed)]
    return next(iter((*limits, *preset.limits)), None)


def _limit_words(limit: FreeLimit) -> str:
    return str(limit) or limit.note


def _show_one(name: str, preset: Preset) -> None:
    screen = console()
    screen.print(f"{preset.name}: preset: {name}")
    for title, words in _facts(preset):
        screen.print(f"  {title:<15} {words}", soft_wrap=True)
    if preset.limits:
        screen.print(_limits(preset))
    for note in preset.notes:
        screen.print(f"- {note}", soft_wrap=True)


def _facts(preset: Preset) -> Iterator[tuple[str, str]]:
    """Yield what there is to say, in the order in which one wants to know it."""
    renamed = [f"{name} as {theirs}" for name, theirs in preset.rename.items()]
    variables = [f"{name} from {variable}" for name, variable in preset.vars.items()]
    facts = {
        "address": f"{preset.base_url} ({preset.sure})",
        "others": ", ".join(preset.alternatives),
        "vars": ", ".join(variables),
        "key from": ", ".join(preset.env),
        "without a key": "yes" if preset.keyless else "no",
        "cost": cost_of(preset),
        "begin with": ", ".join(preset.models),
        "quota of": preset.scope,
        "day begins": preset.day_reset or "",
        "dialect": preset.dialect,
        "left out": ", ".join(preset.drop),
        "renamed": ", ".join(renamed),
        "usage": "" if preset.stream_usage else "not asked for in streams",
        "choosing fields": ", ".join(preset.choosing),
        "reasoning in": preset.reasoning,
        "known models": "; ".join(_model_facts(preset)),
    }
    return ((title, words) for title, words in facts.items() if words)


def _model_facts(preset: Preset) -> Iterator[str]:
    for facts in preset.known:
        said = []
        if facts.context is not None:
            said.append(f"context {facts.context}")
        if facts.capabilities is not None:
            said.append(f"can {', '.join(sorted(facts.capabilities)) or 'text only'}")
        if facts.drop:
            said.append(f"without {', '.join(facts.drop)}")
        yield f"{', '.join(facts.models)}: {', '.join(said)}"


def _limits(preset: Preset) -> Table:
    rows = table("models", "free limits", "as of", "said by", "sure", "note")
    for limit in preset.limits:
        models = ", ".join(limit.models)
        rows.add_row(
            f"{models} (without a key)" if limit.anonymous else models,
            str(limit) or "no numbers",
            limit.as_of,
            limit.evidence,
            limit.sure,
            limit.note,
        )
    return rows
