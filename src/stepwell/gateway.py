"""Gateway: owns the parts and their life, and introduces them to each other."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import httpx

from stepwell import __version__
from stepwell.chat import ChatRequest
from stepwell.clock import Clock, Deadline, SystemClock
from stepwell.dispatch import Dispatcher
from stepwell.errors import Overloaded, SettingsError, ShuttingDown, StepwellError
from stepwell.ledgers.memory import MemoryLedger
from stepwell.observe import Observer
from stepwell.providers.dialects import dialect
from stepwell.quota.ledger import Ledger
from stepwell.quota.reading import Hint
from stepwell.routing.chain import Routes, Step, Target
from stepwell.secrets import Redactor, Secret
from stepwell.settings import Account, ProviderSettings, Settings
from stepwell.trace import Recorder
from stepwell.upstream.client import Endpoint, Patience, Reply
from stepwell.upstream.seam import HttpxLine, Line
from stepwell.upstream.transport import HttpTransport

if TYPE_CHECKING:
    from stepwell.ledgers.journal import Journal

USER_AGENT: Final = f"stepwell/{__version__}"

# Seconds in which those whom a drain has ended are told so; who does not read by then will not.
FAREWELL: Final = 1.0


class Interruptible(Protocol):
    """What can be ended from outside."""

    def interrupt(self, error: StepwellError) -> None:
        """End it with an error."""
        ...


class Gateway:
    """The waterfall with all it needs; several may live in one process.

    Nothing is opened before the first request. `aclose` lets go of everything; it may be called twice,
    and a request after it opens anew what it needs.

    Args:
        settings: What to serve.
        transport: Sends to every provider in place of our own engine; the host closes it.
        ledger: Keeps the quota in place of the memory keeper.
        clock: For all time.
        observers: Told of every attempt and of every request's end; see `observe`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.routes = settings.routes()
        self._targets = _targets(self.routes)
        self.redactor = Redactor(settings.secrets())
        self.logger = _logger(self.redactor)
        self.ledger: Ledger = ledger or MemoryLedger(self.clock)
        self.is_draining = False
        self._tell_what_is_not_there()
        self._journal = self._make_journal()
        self._recorder = self._make_recorder()
        self._engines = _Engines(transport)
        self._active: dict[Interruptible, None] = {}
        self._most_active = settings.limits.max_in_flight or inf
        self._last_left = asyncio.Event()
        self._endpoints = self._make_endpoints()
        self.dispatcher = Dispatcher(
            clock=self.clock,
            ledger=self.ledger,
            endpoints=self._endpoints,
            total=settings.timeouts.total,
            first_token=settings.streams.first_token_timeout,
            queue_size=settings.queue.max_size,
            resume=settings.streams.on_break == "resume",
            redact=self.redactor,
            logger=self.logger,
            observers=(*observers, *((self._recorder,) if self._recorder else ())),
        )

    def __repr__(self) -> str:
        return f"<Gateway {len(self.routes.chains)} chains, {len(self._active)} active>"

    async def __aenter__(self) -> Self:
        if self._journal is not None:
            await self._journal.recall()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the providers, and write down what is known; idempotent."""
        await self._engines.aclose()
        if self._journal is not None:
            await self._journal.aclose()
        if self._recorder is not None:
            await self._recorder.aclose()

    def enter(self, request: Interruptible) -> None:
        """Count a request as active until it is told to `leave`; it is interrupted by a drain.

        Raises:
            ShuttingDown: No request is taken any more.
            Overloaded: As many are active as may be.
        """
        if self.is_draining:
            raise ShuttingDown
        if len(self._active) >= self._most_active:
            raise Overloaded
        self._active[request] = None

    def leave(self, request: Interruptible) -> None:
        """Count a request no longer."""
        del self._active[request]
        if self.is_draining and not self._active:
            self._last_left.set()

    async def call(
        self,
        request: ChatRequest,
        step: Step,
        target: Target,
        observe: Callable[[Hint], object],
    ) -> Reply:
        """Call one target once, past the ledger, as `stepwell check --live` does.

        Whoever asks for a stream closes it.
        """
        return await self._endpoints[target.account].attempt(request, step, observe)

    async def drain(self, grace: float) -> None:
        """Take no more requests, let those under way end within `grace` seconds, then end them.

        A stream that is ended so gets an error event. Idempotent: a second call waits as well.
        """
        self.is_draining = True
        if not await self._all_left(grace):
            for request in list(self._active):
                request.interrupt(ShuttingDown())
            await self._all_left(FAREWELL)

    async def _all_left(self, seconds: float) -> bool:
        """Wait for the last request to end; False if it has not in so many seconds."""
        try:
            with Deadline(self.clock, seconds):
                while self._active:
                    self._last_left.clear()
                    await self._last_left.wait()
        except TimeoutError:
            return False
        return True

    async def health(self) -> Mapping[str, str]:
        """Return each component's state, `ok` or one word; nothing about keys or reasons."""
        statuses = await self.ledger.snapshot(self._targets)
        blocked = {status.key for status in statuses if status.block and status.block.hard}
        dry = any(
            all(target.key in blocked for step in chain.steps for target in step.targets)
            for chain in self.routes.chains.values()
        )
        components = {
            "gateway": "draining" if self.is_draining else "ok",
            "chains": "dry" if dry else "ok",
        }
        if self._journal is not None:
            components["database"] = "ok" if self._journal.is_ok else "degraded"
        return components

    def _tell_what_is_not_there(self) -> None:
        """Refuse or warn of settings that this version knows but does not carry out.

        Raises:
            SettingsError: Quota is to be shared, which would silently not be.
        """
        if self.settings.state.url.reveal() != "memory://":
            raise SettingsError("state.url: this version keeps quota in memory only (memory://)")

    def _make_journal(self) -> "Journal | None":
        """Return the memory of our own ledger, if there is a database; a host's keeps its own."""
        url = self.settings.database.url
        if url is None or not isinstance(self.ledger, MemoryLedger):
            return None
        return _journal_at(url)(
            self.ledger,
            targets=self._targets,
            identify=self._identify,
            clock=self.clock,
            logger=self.logger,
        )

    def _make_recorder(self) -> Recorder | None:
        """Return what writes the trace, if one is wanted."""
        trace = self.settings.trace
        if trace.path is None:
            return None
        return Recorder(
            Path(trace.path),
            max_size=trace.max_size,
            usual_wait=self.settings.queue.max_wait,
            redact=self.redactor,
            logger=self.logger,
        )

    def _identify(self, salt: bytes) -> dict[str, str]:
        """Return each account's digest: of provider, address and keys, none of which it tells.

        Keys are random and long, so nobody finds one by trying; the salt, which each database has
        of its own, keeps the digests of two databases from being compared.
        """
        return {
            name: hmac.digest(salt, self._identity(account).encode(), "sha256")[:16].hex()
            for name, account in self.settings.accounts().items()
        }

    def _identity(self, account: Account) -> str:
        provider = self.settings.providers[account.provider]
        key = "" if account.key is None else account.key.reveal()
        # Some providers take their key in a header or a parameter of its own.
        more = (*provider.headers.items(), *provider.query.items())
        words = (f"{name}={value.reveal()}" for name, value in more)
        return "\n".join((account.provider, provider.base_url, key, *words))

    def _make_endpoints(self) -> dict[str, Endpoint]:
        """Return every account's endpoint, by the account's name."""
        providers = self.settings.providers
        patience = Patience(
            connect=self.settings.timeouts.connect,
            first_token=self.settings.streams.first_token_timeout,
            idle=self.settings.streams.idle_timeout,
        )
        return {
            name: self._endpoint(providers[account.provider], account.key, patience)
            for name, account in self.settings.accounts().items()
        }

    def _endpoint(
        self, provider: ProviderSettings, key: Secret | None, patience: Patience
    ) -> Endpoint:
        query = {name: value.reveal() for name, value in provider.query.items()}
        url = httpx.URL(f"{provider.base_url}/chat/completions")
        line = _line(
            self._engines.get(provider),
            url.copy_merge_params(query) if query else url,
            _headers(provider, key),
        )
        return Endpoint(
            line, dialect=dialect(provider.dialect), clock=self.clock, patience=patience
        )


def _targets(routes: Routes) -> tuple[Target, ...]:
    """Return what stands in chains, each once."""
    steps = (step for chain in routes.chains.values() for step in chain.steps)
    return tuple({target.key: target for step in steps for target in step.targets}.values())


def _journal_at(url: Secret) -> "partial[Journal]":
    """Return a journal's class with the database that it will write to.

    Raises:
        SettingsError: The address cannot be used, or what it needs is not installed.
    """
    address = url.reveal()
    try:
        from stepwell.ledgers import journal  # noqa: PLC0415 # the extra may be missing

        return partial(journal.Journal, journal.open_engine(address))
    except ImportError as error:
        missing = (error.name or "the driver").partition(".")[0]
        extra = "standalone" if address.startswith("sqlite") else "postgres"
        remedy = f"pip install 'stepwell[{extra}]'"
        raise SettingsError(f"database.url: {missing} is not installed: {remedy}") from error
    except ValueError as error:
        raise SettingsError(f"database.url: {error}") from error


class _Engines:
    """Our transports, one for each way out; or the one that the host handed in."""

    def __init__(self, given: httpx.AsyncBaseTransport | None) -> None:
        self._given = given
        self._own: dict[tuple[str, str], HttpTransport] = {}

    def get(self, provider: ProviderSettings) -> httpx.AsyncBaseTransport:
        if self._given is not None:
            return self._given
        proxy = provider.proxy.reveal() if provider.proxy is not None else ""
        way = (proxy, provider.ca_file or "")
        if way not in self._own:
            self._own[way] = HttpTransport(proxy=proxy or None, ca_file=provider.ca_file)
        return self._own[way]

    async def aclose(self) -> None:
        for transport in self._own.values():
            await transport.aclose()


def _line(
    transport: httpx.AsyncBaseTransport, url: httpx.URL, headers: Sequence[tuple[str, str]]
) -> Line:
    """Return the shortest way to a URL: our own engine needs none of httpx's objects."""
    if isinstance(transport, HttpTransport):
        return transport.prepare(url, headers)
    return HttpxLine(url, headers, transport)


def _headers(provider: ProviderSettings, key: Secret | None) -> list[tuple[str, str]]:
    headers = {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
    }
    headers |= {name: value.reveal() for name, value in provider.headers.items()}
    if key is not None and provider.auth == "bearer":
        headers["authorization"] = f"Bearer {key.reveal()}"
    elif key is not None:
        headers[provider.auth] = key.reveal()
    return list(headers.items())


def _logger(redactor: Redactor) -> logging.Logger:
    """Return a logger below `stepwell` whose records hold no secret of this gateway.

    It is no entry of the logging tree, where the filters of all gateways of a process would pile up.
    """
    logger = logging.Logger("stepwell.gateway")  # noqa: LOG001 - see above
    logger.parent = logging.getLogger("stepwell")
    logger.addFilter(redactor.filter())
    return logger
