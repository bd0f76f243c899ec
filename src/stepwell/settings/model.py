"""The shape of the settings: every name, type and default; `checks` has what holds between."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from stepwell.providers.catalogue import Preset, preset_of, presets
from stepwell.providers.dialects import NAMES as DIALECTS
from stepwell.routing.history import HistoryRules
from stepwell.secrets import Secret
from stepwell.settings.fields import (
    BaseUrl,
    Count,
    DatabaseUrl,
    Duration,
    FilePath,
    HeaderName,
    HeaderValue,
    HistoryFields,
    Key,
    LimitField,
    ModelName,
    Name,
    ParamName,
    ProxyUrl,
    Size,
    StateUrl,
    Timeout,
    ToolIdsField,
    UrlWord,
    is_token,
    mistake,
    with_vars,
)
from stepwell.settings.problems import did_you_mean

DIALECT_ALIASES = {"retry-after": "generic"}

Capability = Literal["vision", "tools", "json"]
Pins = Literal["chain", "any"]


class Part(BaseModel):
    """What all parts have in common: unknown names are refused, nothing changes, null means absent.

    `hide_input_in_errors` and our own sentences keep values out of error texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    shape: ClassVar[str] = "a mapping"

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {name: value for name, value in data.items() if value is not None}
        return data


class ClientKey(Part):
    """A key that clients of this gateway show.

    Attributes:
        name: For records; `key-1`, `key-2` ... by position if it is not given.
        key: The key. In the file a text alone means `{key: ...}`.
        chains: The chains that it may use; None means all.
        pins: `any` lets it name any `provider/model` of a configured provider; None leaves that to
            the setting `pins` for a key that may use all chains, and means `chain` for others.
    """

    shape = "a key, or a mapping with 'key'"

    name: Name | None = None
    key: Key
    chains: tuple[str, ...] | None = None
    pins: Pins | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_is_a_key(cls, data: Any) -> Any:
        return {"key": data} if isinstance(data, str | Secret) else data


def _not_empty(keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
    return tuple(key for key in keys if key)


class HistorySettings(Part):
    """What a provider takes of a conversation with others; None is what is known of it.

    Attributes:
        tool_ids: Ids of tool calls: the most characters, or `any`, `mistral`, `anthropic`.
        cache_control: It takes such marks.
        fields: Fields of answers, and types of their parts, beyond OpenAI's that it takes back;
            `any` is all.
    """

    tool_ids: ToolIdsField | None = None
    cache_control: bool | None = None
    fields: HistoryFields | None = None

    def over(self, known: HistoryRules) -> HistoryRules:
        """Return the rules that are known with what is said here."""
        said = {name: getattr(self, name) for name in type(self).model_fields}
        return replace(known, **{name: value for name, value in said.items() if value is not None})


class ProviderSettings(Part):
    """A provider.

    Attributes:
        preset: Takes from the catalogue what is known of this provider and not said here.
        base_url: The address of its API, without a slash at the end.
        vars: What fills the {names} in the preset's address.
        api_keys: One account for each. None of them: one account without an Authorization header.
        dialect: How it speaks of quota; `auto` finds out by what it sends.
        limits: Limits of each account: of a model, or, by their scope, of several together.
            None leaves them to the preset, which knows some for single models.
        concurrency: Calls in flight at most, per account.
        timeout: Seconds for one attempt; None leaves it to `timeouts.attempt`.
        headers: Sent along; names in lower case. They may hold credentials, so values are secrets.
        query: Parameters of the address, likewise.
        auth: `bearer`, or the name of the header that takes the key.
        proxy: Address of an HTTP proxy, with its password.
        ca_file: PEM file with the certificates to trust.
        prefill: It continues a message that ends with the assistant's words.
        stream_usage: It may be asked for usage in streams; None leaves that to the preset.
        drop_params: Body fields that it refuses, and that are left out; None likewise.
        rename_params: Its names for body fields, by the names that clients use; None likewise.
        history: What it takes of a conversation with others.
        context: The largest context in tokens, of all its models.
        capabilities: What all its models offer; None if that is not known.
    """

    preset: str | None = None
    base_url: BaseUrl = ""
    vars: dict[str, UrlWord] = Field(default_factory=dict)
    api_keys: Annotated[tuple[Key, ...], AfterValidator(_not_empty)] = ()
    dialect: str = "auto"
    limits: tuple[LimitField, ...] | None = None
    concurrency: Count | None = None
    timeout: Timeout | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    query: dict[str, Secret] = Field(default_factory=dict)
    auth: str = "bearer"
    proxy: ProxyUrl | None = None
    ca_file: FilePath | None = None
    prefill: bool = False
    stream_usage: bool | None = None
    drop_params: tuple[ParamName, ...] | None = None
    rename_params: dict[ParamName, ParamName] | None = None
    history: HistorySettings = HistorySettings()
    context: Count | None = None
    capabilities: frozenset[Capability] | None = None

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, data: Any) -> Any:
        name = data.get("preset") if isinstance(data, Mapping) else None
        preset = presets().get(name) if isinstance(name, str) else None
        if preset is None:
            return data
        known = {"dialect": preset.dialect, "auth": preset.auth}
        address = with_vars(preset.base_url, data.get("vars"))
        if address is not None:
            known["base_url"] = address
        return known | {key: value for key, value in data.items() if value is not None}

    @field_validator("preset")
    @classmethod
    def _preset_is_known(cls, name: str) -> str:
        if name not in presets():
            hint = did_you_mean(name, presets())
            raise mistake("unknown preset", f"unknown preset {name!r}{hint}")
        return name

    @field_validator("dialect")
    @classmethod
    def _dialect_is_known(cls, name: str) -> str:
        name = DIALECT_ALIASES.get(name, name)
        if name not in DIALECTS:
            hint = did_you_mean(name, DIALECTS)
            raise mistake("unknown dialect", f"unknown dialect {name!r}{hint}")
        return name

    @field_validator("auth")
    @classmethod
    def _auth_is_a_header(cls, name: str) -> str:
        if not is_token(name):
            raise mistake("auth is 'bearer' or the name of a header, such as x-api-key")
        return name.lower()

    @property
    def known(self) -> Preset:
        """What the catalogue has under the preset's name; nothing without one."""
        return preset_of(self.preset)


class StepSettings(Part):
    """One line of a chain: provider and model, or the name of another chain to put in its place.

    Attributes:
        provider: A configured provider's name.
        model: The model's name there. In the file `provider/model` is short for both; it is split
        at
            the first slash, as a model's name may hold more.
        chain: Another chain, whose steps come in here.
        timeout: Seconds for one attempt; None leaves it to the provider.
        cost: None takes the preset's word; a provider without a preset is free.
        params: Body fields that this step sets.
        limits: Instead of the provider's limits per model; its limits of other scopes stay.
        concurrency, context, capabilities, prefill, stream_usage, drop_params, rename_params:
            Instead of the provider's.
    """

    shape = "'provider/model' or a mapping"

    provider: str | None = None
    model: ModelName | None = None
    chain: str | None = None
    timeout: Timeout | None = None
    cost: Literal["free", "paid"] | None = None
    params: dict[ParamName, Any] | None = None
    limits: tuple[LimitField, ...] | None = None
    concurrency: Count | None = None
    context: Count | None = None
    capabilities: frozenset[Capability] | None = None
    prefill: bool | None = None
    stream_usage: bool | None = None
    drop_params: tuple[ParamName, ...] | None = None
    rename_params: dict[ParamName, ParamName] | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_is_provider_and_model(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        provider, slash, model = data.partition("/")
        if not (provider and slash and model):
            general = "a step is written provider/model, or {chain: name} for another chain's steps"
            raise mistake(general, f"{data!r} is no step; {general}")
        return {"provider": provider, "model": model}


class ChainSettings(Part):
    """An ordered list of steps; in the file a list alone means `{steps: [...]}`.

    Attributes:
        steps: In the order in which they are asked.
        free_only: No step may cost money; checked when the settings are read.
    """

    shape = "a list of steps, or a mapping with 'steps'"

    steps: tuple[StepSettings, ...] = ()
    free_only: bool = False

    @model_validator(mode="before")
    @classmethod
    def _list_is_steps(cls, data: Any) -> Any:
        return {"steps": data} if isinstance(data, list | tuple) else data


class QueueSettings(Part):
    """Waiting for quota instead of failing; seconds.

    Attributes:
        max_wait: How long a request waits that says nothing; 0 is not at all.
        allow_wait: How long `x-stepwell-max-wait` may ask for.
        max_size: Requests waiting at most.
    """

    max_wait: Duration = 0.0
    allow_wait: Duration = 60.0
    max_size: Annotated[int, Ge(0)] = 1000


class StreamSettings(Part):
    """Streams; seconds.

    Attributes:
        on_break: What follows when a stream breaks after content: `resume` or `error`.
        first_token_timeout: Until the first meaningful delta.
        idle_timeout: Between two events after that.
        ping: Silence after which comments keep the client's connection alive; 0 is never.
    """

    on_break: Literal["resume", "error"] = "resume"
    first_token_timeout: Timeout = 20.0
    idle_timeout: Timeout = 30.0
    ping: Duration = 15.0


class TimeoutSettings(Part):
    """Seconds.

    Attributes:
        connect: Until a connection stands.
        attempt: One attempt, until its answer is whole or its first meaningful delta has come.
        total: Queueing and all attempts, until the answer begins.
    """

    connect: Timeout = 5.0
    attempt: Timeout = 60.0
    total: Timeout = 120.0


class BodyLimits(Part):
    """What a client may send.

    Attributes:
        max_body: Bytes. A message with several large images has about 20 MB.
        max_depth: Nested lists and objects.
        max_in_flight: Requests at once, those that wait included; None is any number.
    """

    max_body: Size = 32 << 20
    max_depth: Count = 64
    max_in_flight: Count | None = None


class StateSettings(Part):
    """Where quota is kept: in this process (`memory://`), which is all that the gateway accepts."""

    url: StateUrl = Secret("memory://")


class DatabaseSettings(Part):
    """Where limits and cooldowns are kept across restarts; None is nowhere."""

    url: DatabaseUrl | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """Keep a null that is written: `stepwell serve` takes it for none at all."""
        return data


class TraceSettings(Part):
    """A record of decisions and outcomes, for `stepwell replay`.

    Attributes:
        path: The file that it is appended to; None is none.
        max_size: Bytes after which the file is moved to `PATH.1`.
    """

    path: Name | None = None
    max_size: Size = 64 << 20


def _named_keys(keys: tuple[ClientKey, ...]) -> tuple[ClientKey, ...]:
    """Drop empty keys, and name those without a name by their position."""
    return tuple(
        key if key.name else key.model_copy(update={"name": f"key-{number}"})
        for number, key in enumerate(keys, start=1)
        if key.key
    )


class Shape(Part):
    """All settings.

    Attributes:
        api_keys: Keys that clients show.
        providers: By name.
        chains: By name, in the order they are written.
        default_chain: For models that name nothing; None is `default`, else the first chain.
        unknown_model: `default` sends such a request to the default chain, `reject` answers 404.
        pins: `any` lets clients name `provider/model` that stands in no chain.
    """

    api_keys: Annotated[tuple[ClientKey, ...], AfterValidator(_named_keys)] = ()
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    chains: dict[str, ChainSettings] = Field(default_factory=dict)
    default_chain: str | None = None
    unknown_model: Literal["default", "reject"] = "default"
    pins: Pins = "chain"
    queue: QueueSettings = QueueSettings()
    streams: StreamSettings = StreamSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: BodyLimits = BodyLimits()
    state: StateSettings = StateSettings()
    database: DatabaseSettings = DatabaseSettings()
    trace: TraceSettings = TraceSettings()
