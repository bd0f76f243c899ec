"""The scale: an application that answers by itself what the gateways have to fetch."""

import sys
from pathlib import Path

from starlette.types import Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).parents[1]))

from upstream import ANSWER

BODY = ANSWER.encode()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))],
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({"type": "http.response.body", "body": BODY})
