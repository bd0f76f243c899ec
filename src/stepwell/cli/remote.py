"""Asking a gateway that runs: what the commands `status` and `explain` share."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import httpx
import typer

DEFAULT_URL: Final = "http://127.0.0.1:8429"

# A gateway answers such questions from memory; who takes longer is not well.
PATIENCE: Final = 10.0

UrlOption = Annotated[
    str,
    typer.Option("--url", help="Address of a gateway that runs, with the prefix of its mount."),
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", envvar="STEPWELL_API_KEY", help="One of its api_keys.", show_default=False
    ),
]


class NoAnswer(Exception):
    """The gateway does not answer, or with an error; the text is a sentence for people."""


def connect(url: str, key: str) -> httpx.AsyncClient:
    """Return a client of the gateway at an address, whether that ends with `/v1` or not.

    Raises:
        NoAnswer: No header can hold the key.
    """
    if not key.isascii() or not key.isprintable():
        raise NoAnswer(
            f"{url} cannot be asked with a key that is not of printable ASCII characters"
        )
    headers = {"authorization": f"Bearer {key}"} if key else {}
    base_url = url.rstrip("/").removesuffix("/v1")
    try:
        # Not by way of a proxy that is meant for the world outside.
        return httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=PATIENCE, trust_env=False
        )
    except httpx.InvalidURL as error:
        raise NoAnswer(f"no gateway answers at {url}: {error}") from None


async def ask(
    client: httpx.AsyncClient, method: str, path: str, *, body: bytes | None = None
) -> Mapping[str, Any]:
    """Return the JSON object that a path answers with.

    Raises:
        NoAnswer: There is none, or it is an error.
    """
    headers = {} if body is None else {"content-type": "application/json"}
    try:
        response = await client.request(method, path, content=body, headers=headers)
        document = response.json()
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        reason = str(failure) or type(failure).__name__
        raise NoAnswer(f"no gateway answers at {client.base_url}: {reason}") from None
    except ValueError:
        raise NoAnswer(f"what answers at {client.base_url} is no stepwell gateway") from None
    error = document.get("error") if isinstance(document, dict) else None
    if response.status_code != httpx.codes.OK and isinstance(error, dict):
        raise NoAnswer(f"the gateway answers {response.status_code}: {error.get('message')}")
    if not isinstance(document, dict) or not str(document.get("object")).startswith("stepwell."):
        raise NoAnswer(f"what answers at {client.base_url} is no stepwell gateway")
    return document
