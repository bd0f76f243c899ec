"""What stepwell raises.

    StepwellError
      SettingsError            every mistake in the file at once
      AuthenticationError      the caller's key
      BadRequest               the caller's request, before any provider was asked
        UnknownModel           no chain, step or served model has this name
      RequestRejected          providers refuse the request itself; keeps the first refusal
      AllProvidersExhausted    .trail, .retry_after
        QueueFull              and it could not wait either
      StreamBroken             after content began
      Overloaded               more requests at once than the settings allow
      ShuttingDown             the server is about to stop

Each carries the HTTP status and the machine-readable code that suit it; only `api/` renders bodies.
A failed attempt is a value (a `Verdict`), because the waterfall expects it; exceptions are for callers.
"""

from typing import Any, ClassVar


class StepwellError(Exception):
    """The base of everything raised on purpose."""

    status_code: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"


class SettingsError(StepwellError):
    """The settings cannot be used; `problems` lists every mistake, one line each."""

    code = "invalid_settings"

    def __init__(self, problems: "list[str] | str") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class AuthenticationError(StepwellError):
    """The caller did not show a valid key."""

    status_code = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class BadRequest(StepwellError):
    """The request is wrong in itself; no provider was asked.

    Attributes:
        param: The body's field that is at fault, if one is.
        status: The HTTP status, 400 unless another one is more exact (413, 415, 422).
    """

    status_code = 400
    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_request",
        param: str | None = None,
        status: int = 400,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.status = status


class UnknownModel(BadRequest):
    """`model` names nothing that this caller may use."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="model_not_found", param="model", status=404)


class RequestRejected(StepwellError):
    """Providers refuse the request itself; holds the first refusal, redacted.

    Attributes:
        status: The provider's HTTP status.
        error: OpenAI's error object (`message`, `type`, `param`, `code`).
        trail: The attempts made.
    """

    status_code = 400
    type = "invalid_request_error"
    code = "request_rejected"

    def __init__(self, status: int, error: dict[str, Any], trail: Any) -> None:
        super().__init__(str(error.get("message") or "The request was refused."))
        self.status = status
        self.error = error
        self.trail = trail


class AllProvidersExhausted(StepwellError):
    """No target of the chain could serve.

    Attributes:
        trail: The attempts made and the targets that were skipped, with reasons.
        retry_after: Seconds until the soonest reset, at least 1.
    """

    status_code = 503
    type = "server_error"
    code = "all_providers_exhausted"

    def __init__(self, message: str, *, trail: Any, retry_after: float) -> None:
        super().__init__(message)
        self.trail = trail
        self.retry_after = retry_after


class QueueFull(AllProvidersExhausted):
    """No target of the chain could serve, and no more requests may wait for it."""

    code = "queue_full"


class StreamBroken(StepwellError):
    """A stream ended before its finish, after content had been sent."""

    status_code = 502
    type = "server_error"
    code = "upstream_stream_truncated"


class Overloaded(StepwellError):
    """As many requests are under way as may be (`limits.max_in_flight`)."""

    status_code = 503
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The gateway has as many requests under way as it may; try again.")


class ShuttingDown(StepwellError):
    """The gateway takes no more requests, or ended this one to stop."""

    status_code = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("The gateway is shutting down; try again.")
