"""Settings in; chains, targets and keys out.

    Settings.load("stepwell.yaml")      a file
    Settings(providers=..., chains=...) code
    Settings.from_dict({...})           code, as a mapping
    Settings.from_environment()         key variables such as GROQ_API_KEY alone
    Settings.discover()                 STEPWELL_CONFIG, ./stepwell.yaml, else the environment

Code beats STEPWELL_ variables, these beat the file, the file beats the defaults; mappings merge,
everything else replaces. Whatever is wrong is told at once, a line each, by one SettingsError:

    stepwell.yaml:12: chains.default[1]: unknown provider 'grok'; did you mean 'groq'?
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stepwell.errors import SettingsError
from stepwell.routing.chain import Routes
from stepwell.secrets import Secret
from stepwell.settings.checks import check
from stepwell.settings.credentials import secrets_in
from stepwell.settings.environment import (
    CONFIG,
    PREFIX,
    discoverable,
    discovered,
    overridden,
    with_customary_values,
)
from stepwell.settings.explain import blamed, explain
from stepwell.settings.file import read_file
from stepwell.settings.model import (
    BodyLimits,
    ChainSettings,
    ClientKey,
    DatabaseSettings,
    ProviderSettings,
    QueueSettings,
    Shape,
    StateSettings,
    StepSettings,
    StreamSettings,
    TimeoutSettings,
    TraceSettings,
)
from stepwell.settings.problems import Problems
from stepwell.settings.routes import Account, accounts_of, build_routes
from stepwell.settings.tree import Value, tree_of

__all__ = [
    "Account",
    "BodyLimits",
    "ChainSettings",
    "ClientKey",
    "DatabaseSettings",
    "ProviderSettings",
    "QueueSettings",
    "Settings",
    "StateSettings",
    "StepSettings",
    "StreamSettings",
    "TimeoutSettings",
    "TraceSettings",
]

DEFAULT_FILE: Final = "stepwell.yaml"


class Settings(Shape, BaseSettings):
    """All settings, checked. See the module's text for where they come from.

    Raises:
        SettingsError: Something is wrong; it lists every mistake.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        tree, problems = values.pop("_read", (None, Problems()))
        shape = _checked(tree or _layered(tree_of(values), problems), problems)
        super().__init__(**{name: getattr(shape, name) for name in shape.model_fields_set})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 # pydantic-settings gives all of them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `__init__` found.

        The environment is read there, because each value must remember where it was written, and
        because pydantic-settings logs what its own sources yield, secrets included, when debugged.
        """
        return (init_settings,)

    @classmethod
    def load(cls, path: str | Path, **code: Any) -> Self:
        """Read a YAML file; `code` holds top-level settings that beat it and the environment."""
        problems = Problems()
        file = read_file(path, os.environ, problems)
        return cls(_read=(_layered(tree_of(code), problems, file), problems))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Take what a file would hold from a mapping; `${NAME}` is not filled in."""
        problems = Problems()
        return cls(_read=(_layered(tree_of(data), problems), problems))

    @classmethod
    def from_environment(cls, **code: Any) -> Self:
        """Make a chain of the free models whose customary key variables are set.

        STEPWELL_API_KEY, if set, is the key that clients show.
        """
        problems = Problems()
        tree = _layered(tree_of(code), problems, discovered(os.environ))
        if tree.get("providers") is None:
            known = ", ".join(preset.env[0] for preset in discoverable().values())
            remedy = f"write {DEFAULT_FILE}, or set one of {known}"
            raise SettingsError(f"no provider is configured; {remedy}")
        return cls(_read=(tree, problems))

    @classmethod
    def discover(cls, **code: Any) -> Self:
        """Load the file that STEPWELL_CONFIG names, else ./stepwell.yaml, else the environment."""
        path = os.environ.get(CONFIG) or (DEFAULT_FILE if Path(DEFAULT_FILE).exists() else None)
        return cls.from_environment(**code) if path is None else cls.load(path, **code)

    def routes(self) -> Routes:
        """Build the chains. Each call builds them anew; a gateway asks once."""
        return build_routes(self)

    def accounts(self) -> dict[str, Account]:
        """Return every provider's accounts, by the name that targets have for them."""
        found = (accounts_of(name, provider) for name, provider in self.providers.items())
        return {account.name: account for accounts in found for account in accounts}

    def pins_any(self, key: ClientKey) -> bool:
        """Whether a client may name models that stand in none of its chains.

        A key that is restricted to chains gets that right only by its own `pins: any`.
        """
        general = self.pins if key.chains is None else "chain"
        return (key.pins or general) == "any"

    def secrets(self) -> list[Secret]:
        """Return everything that must appear in no output, each once."""
        return list(dict.fromkeys(secret for secret in secrets_in(self) if secret))


def _layered(code: Value, problems: Problems, file: Value | None = None) -> Value:
    """Lay code over the environment over the file, and fill in what customary variables hold."""
    below = Value({}) if file is None else file
    overrides = overridden(code.over(below), os.environ, list(Shape.model_fields), problems)
    # Overrides are looked up in both layers, to find names by their spelling, and then code wins.
    return with_customary_values(code.over(overrides), os.environ)


def _checked(written: Value, problems: Problems) -> Shape:
    """Return the settings, or raise everything that is wrong with them.

    What is wrong by itself is taken out until the rest has the right shape, so that the rules
    between settings can be checked in the same run.
    """
    broken = [value for value in written.walk() if value.broken]
    for value in broken:
        for text in value.broken:
            problems.add(value, text)
    left = written.without(broken)
    shape: Shape | None = None
    first = True
    while shape is None:
        try:
            shape = Shape.model_validate(left.plain())
        except ValidationError as error:
            if first:  # what follows in later rounds are consequences
                explain(error, left, written, problems)
            first = False
            wrong = blamed(error, left)
            if left in wrong:  # nothing would be left to look at
                raise SettingsError(problems.lines(written)) from None
            left = left.without(wrong)
    check(shape, left, written, problems)
    if problems:
        raise SettingsError(problems.lines(written))
    return shape
