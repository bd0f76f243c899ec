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
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stepwell.errors import SettingsError
from stepwell.routing.chain import Routes
from stepwell.secrets import Redactor, Secret
from stepwell.settings.checks import check
from stepwell.settings.environment import CONFIG, PREFIX, discovered, overridden, with_preset_keys
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
)
from stepwell.settings.presets import PRESETS
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
]

DEFAULT_FILE: Final = "stepwell.yaml"


class Settings(Shape, BaseSettings):
    """All settings, checked. See the module's text for where they come from.

    Raises:
        SettingsError: Something is wrong; it lists every mistake.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        problems = Problems()
        tree = values.pop("_tree", None) or _layered(tree_of(values), os.environ, problems)
        shape = _checked(tree, problems)
        super().__init__(**{name: getattr(shape, name) for name in shape.model_fields_set})

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `__init__` found.

        The environment is read there, because each value must remember where it was written, and
        because pydantic-settings logs what its own sources yield, secrets included, when debugged.
        """
        return (init_settings,)
