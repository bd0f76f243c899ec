"""stepwell: one OpenAI-compatible endpoint over many free tiers.

Public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stepwell.api.auth import Anonymous, HostAuth, Principal
    from stepwell.app import create_app, lifespan
    from stepwell.errors import (
        AllProvidersExhausted,
        AuthenticationError,
        BadRequest,
        Overloaded,
        QueueFull,
        RequestRejected,
        SettingsError,
        ShuttingDown,
        StepwellError,
        StreamBroken,
        UnknownModel,
    )
    from stepwell.gateway import Gateway
    from stepwell.settings import Settings

_HOMES = {
    "Anonymous": "stepwell.api.auth",
    "HostAuth": "stepwell.api.auth",
    "Principal": "stepwell.api.auth",
    "create_app": "stepwell.app",
    "lifespan": "stepwell.app",
    "AllProvidersExhausted": "stepwell.errors",
    "AuthenticationError": "stepwell.errors",
    "BadRequest": "stepwell.errors",
    "Overloaded": "stepwell.errors",
    "QueueFull": "stepwell.errors",
    "RequestRejected": "stepwell.errors",
    "SettingsError": "stepwell.errors",
    "ShuttingDown": "stepwell.errors",
    "StepwellError": "stepwell.errors",
    "StreamBroken": "stepwell.errors",
    "UnknownModel": "stepwell.errors",
    "Gateway": "stepwell.gateway",
    "Settings": "stepwell.settings",
}

__all__ = [
    "AllProvidersExhausted",
    "Anonymous",
    "AuthenticationError",
    "BadRequest",
    "Gateway",
    "HostAuth",
    "Overloaded",
    "Principal",
    "QueueFull",
    "RequestRejected",
    "Settings",
    "SettingsError",
    "ShuttingDown",
    "StepwellError",
    "StreamBroken",
    "UnknownModel",
    "create_app",
    "lifespan",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
