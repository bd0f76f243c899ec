from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stepwell.providers.dialects import Reply, quota_headers

MakeReply = Callable[..., Reply]


@pytest.fixture(scope="session")
def reply() -> MakeReply:
    """Make a Reply from a status, headers and a body, at noon UTC of a summer day."""

    def make(
        status: int = 429,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        now: float = 1_790_942_400.0,
    ) -> Reply:
        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        return Reply(status, quota_headers(pairs), body, now)

    return make
