"""`stepwell init`: a first settings file, from the keys that are in the environment."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from stepwell.cli.console import FAILED, fail, print_json
from stepwell.providers.catalogue import Preset, chain_models, presets
from stepwell.settings.environment import API_KEY, discoverable, key_variables

FILE: Final = Path("stepwell.yaml")


@dataclass(frozen=True, slots=True)
class Found:
    """A provider that has a key in the environment.

    Attributes:
        name: The preset's.
        preset: What is known of it.
        variables: Those that hold its keys.
        reason: Why it stands in no chain; empty if it does.
    """

    name: str
    preset: Preset
    variables: tuple[str, ...]
    reason: str


def init(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write; never over it.")
    ] = FILE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a commented stepwell.yaml for the keys in the environment.

    Free models make a chain, the largest dependable quota first; what costs money is written down as
    a comment. Keys stay in the environment: the file names variables. No provider is asked.

    \b
    Examples:
      GROQ_API_KEY=... GEMINI_API_KEY=... stepwell init
      stepwell init --output other.yaml

    \b
    Exit codes: 0 written, 1 the file exists already, or no key was found.
    """  # noqa: D301 - \b is the help formatter's mark for lines to leave as they are
    found = list(_look(os.environ))
    chain = chain_models(tuple(each.name for each in found if not each.reason))
    problem = _write(output, found, chain, has_client_key=bool(os.environ.get(API_KEY)))
    if as_json:
        print_json(_document(output, found, chain, problem))
    elif not problem:
        print("\n".join(_told(output, found, chain)))
    if problem:
        fail([] if as_json else f"stepwell: {problem}", FAILED)


def _look(environ: Mapping[str, str]) -> Iterator[Found]:
    for name, preset in presets().items():
        variables = tuple(key_variables(preset.env, environ))
        if variables:
            yield Found(name, preset, variables, _reason(preset, environ))


def _reason(preset: Preset, environ: Mapping[str, str]) -> str:
    """Return why a provider with a key stands in no chain; empty if it does."""
    missing = [variable for variable in preset.vars.values() if not environ.get(variable)]
    if preset.local:
        return "write the model that runs there"
    if not preset.free:
        return "costs money, or its credit ends"
    if missing:
        return f"needs {', '.join(missing)} too"
    return "" if preset.models else "choose one of its models"


def _write(
    output: Path, found: list[Found], chain: list[tuple[str, str]], *, has_client_key: bool
) -> str:
    """Write the file, unless there is one or nothing to write; return what is wrong."""
    if not chain:
        known = ", ".join(preset.env[0] for preset in discoverable().values())
        return f"no key of a free provider is set; set one of {known}"
    text = "\n".join(_lines(found, chain, has_client_key=has_client_key)) + "\n"
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return f"{output} exists already and was left as it is; choose another with --output"
    except OSError as error:
        return f"cannot write {output}: {(error.strerror or str(error)).lower()}"
    return ""


def _lines(
    found: list[Found], chain: list[tuple[str, str]], *, has_client_key: bool
) -> Iterator[str]:
    yield "# Settings of stepwell, written by `stepwell init`."
    yield "# Look them over, then: stepwell check --live, and: stepwell serve"
    yield "#"
    yield "# Keys stay in the environment: ${NAME} is filled in when this file is read."
    yield ""
    yield "# Keys that clients of this gateway show. Without any it serves this machine only."
    yield f'{"" if has_client_key else "# "}api_keys: ["${{{API_KEY}}}"]'
    yield ""
    yield "# `preset` takes the address, the dialect and the free limits from the catalogue: see"
    yield "# `stepwell catalog NAME`. What is written here holds instead, such as"
    yield "#   limits: [30 requests/minute, 1000 requests/day]"
    yield "providers:"
    for each in found:
        yield from _provider_lines(each)
    yield from _keyless_lines({each.name for each in found})
    yield ""
    yield "# A request goes down its chain until one of the steps has tokens left."
    yield "chains:"
    yield "  default:"
    yield from _step_lines(found, chain)


def _provider_lines(found: Found) -> Iterator[str]:
    mark = "# " if found.reason else ""
    yield f"  # {found.preset.name}{f': {found.reason}' if found.reason else ''}"
    yield f"  {mark}{found.name}:"
    yield f"  {mark}  preset: {found.name}"
    if found.preset.vars:
        values = [f'{name}: "${{{variable}}}"' for name, variable in found.preset.vars.items()]
        yield f"  {mark}  vars: {{{', '.join(values)}}}"
    keys = ", ".join(f'"${{{variable}}}"' for variable in found.variables)
    yield f"  {mark}  api_keys: [{keys}]"


def _keyless_lines(found: set[str]) -> Iterator[str]:
    """Yield those that need no key, as comments: who is asked without one, somebody has to wish.

    Whether a program of this machine runs is not looked at.
    """
    others = {n: p for n, p in presets().items() if p.keyless and n not in found}
    titles = {False: "Others that answer without a key", True: "Programs on this machine"}
    for local, title in titles.items():
        yield f"  # {title}:"
        for name, preset in others.items():
            if preset.local is local:
                yield f"  # {name}: {{preset: {name}}}  # {preset.name}, {preset.base_url}"


def _step_lines(found: list[Found], chain: list[tuple[str, str]]) -> Iterator[str]:
    for name, model in chain:
        rows = [f"{row} ({row.as_of}, {row.sure})" for row in presets()[name].rows_of(model)]
        yield f"    - {name}/{model}{'  # ' if rows else ''}{'; '.join(rows)}"
    yield "    # To use another one, take its '#' away here and above, and name a model:"
    for each in found:
        if each.reason:
            cost = "" if each.preset.free else ", cost: paid"
            yield f"    # - {{provider: {each.name}, model: ...{cost}}}"
    yield "    # - {provider: ollama-local, model: ...}"


def _document(
    output: Path, found: list[Found], chain: list[tuple[str, str]], problem: str
) -> dict[str, object]:
    return {
        "ok": not problem,
        "problem": problem or None,
        "file": None if problem else str(output),
        "found": [
            {
                "provider": each.name,
                "variables": each.variables,
                "in_chain": not each.reason,
                "reason": each.reason or None,
            }
            for each in found
        ],
        "chain": [f"{name}/{model}" for name, model in chain],
    }


def _told(output: Path, found: list[Found], chain: list[tuple[str, str]]) -> Iterator[str]:
    for each in found:
        verdict = f"left out: {each.reason}" if each.reason else "in the chain"
        yield f"found {', '.join(each.variables)}: {each.name}, {verdict}"
    yield f"wrote {output}: {' > '.join(f'{name}/{model}' for name, model in chain)}"
    path = "" if output == FILE else f" --config {output}"
    yield f"next: stepwell check{path} --live, then stepwell serve{path}"
