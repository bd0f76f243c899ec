"""Every secret that the settings hold, for the Redactor."""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from stepwell.secrets import Secret
from stepwell.settings.model import ProviderSettings, Shape

_CREDENTIAL_NAME: Final = re.compile(
    r"auth|key|token|secret|cookie|passw|credential|session|signature", re.IGNORECASE
)
_CREDENTIAL_VALUE: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_.+/=~-]{24,}")
"""One long word of letters and digits. Titles and addresses of applications, the usual other
values of headers, have spaces, are shorter, or have a colon."""


def secrets_in(shape: Shape) -> Iterator[Secret]:
    """Return keys, passwords, and the header and query values that look like credentials."""
    for client in shape.api_keys:
        yield client.key
    for provider in shape.providers.values():
        yield from _provider_secrets(provider)
    yield from _passwords(shape.state.url)
    yield from _passwords(shape.database.url)


def _provider_secrets(provider: ProviderSettings) -> Iterator[Secret]:
    yield from (key for key in provider.api_keys if key.reveal() != provider.known.anonymous_key)
    yield from _credentials(provider.headers)
    yield from _credentials(provider.query)
    yield from _passwords(provider.proxy)


def _credentials(values: Mapping[str, Secret]) -> Iterator[Secret]:
    for name, secret in values.items():
        text = secret.reveal()
        if _CREDENTIAL_NAME.search(name) or _CREDENTIAL_VALUE.fullmatch(text):
            yield secret
            yield Secret(text.rpartition(" ")[2])  # of `Bearer abc` also `abc` alone


def _passwords(address: Secret | None) -> Iterator[Secret]:
    """Return `user:password` and `password`, as written and unquoted."""
    written = "" if address is None else address.reveal()
    user_info = urlsplit(written).netloc.rpartition("@")[0]
    _, colon, password = user_info.partition(":")
    if colon:
        yield from (Secret(user_info), Secret(password), Secret(unquote(password)))
