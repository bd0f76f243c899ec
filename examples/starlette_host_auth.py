"""A gateway behind the host's own login: whoever the AuthenticationMiddleware admits may use it.

export GROQ_API_KEY=... GEMINI_API_KEY=...
uvicorn starlette_host_auth:app
"""

import base64
import hmac
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount

import stepwell

PASSWORD = os.environ.get("HOST_PASSWORD", "open sesame").encode()


class BasicAuth(AuthenticationBackend):
    """Stands for the login that the host already has."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        scheme, _, credentials = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(credentials).partition(b":")
        except ValueError:
            return None
        if not hmac.compare_digest(password, PASSWORD):
            return None
        return AuthCredentials(["chat"]), SimpleUser(name.decode("utf-8", "replace"))


llm = stepwell.create_app(
    Path(__file__).with_name("stepwell.yaml"),
    authenticate=stepwell.HostAuth(scopes=["chat"]),
)

app = Starlette(
    routes=[Mount("/llm", llm)],
    middleware=[Middleware(AuthenticationMiddleware, backend=BasicAuth())],
    lifespan=stepwell.lifespan(llm),
)
