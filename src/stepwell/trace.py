"""The trace: one line of JSON for each request, with what it asked for and what became of it.

It holds names, numbers and times, and no word that a client or a provider has said, so that it may be
given away. `stepwell replay` plays it again. Fields at their defaults are left out of a line.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Final

import msgspec

from stepwell.observe import End, Event, Finished
from stepwell.quota.limit import Metric, Scope
from stepwell.quota.reading import Reading
from stepwell.routing.trail import Attempt
from stepwell.routing.verdict import Outcome

# Requests that wait to be written: some seconds of heavy traffic, and a few megabytes.
MOST_WAITING: Final = 10_000
# Lines written at once; a line has about 500 bytes.
BATCH: Final = 500
# Seconds for the last lines when the gateway closes; a disk that takes longer takes them never.
PATIENCE: Final = 5.0


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One counter as a provider told it; see `Reading`."""

    metric: Metric
    window: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None
    scope: Scope = Scope.MODEL
    refills: bool = False


class Try(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a provider; `began` is in seconds after the request's arrival. See `Attempt`."""

    target: str
    account: str
    outcome: Outcome
    began: float
    seconds: float
    status: int | None = None
    delay: float | None = None
    tokens: int | None = None
    told: tuple[Told, ...] = ()


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request; `at` is the Unix time of its arrival. See `Finished` for the rest.

    Attributes:
        max_wait: Seconds that it asked to wait for quota; None if it left that to the settings.
    """

    at: float
    end: End
    seconds: float
    route: str
    prompt_tokens: int
    tokens: int
    client: str = ""
    stream: bool = False
    max_tokens: int | None = None
    needs: tuple[str, ...] = ()
    free_only: bool = False
    max_wait: float | None = None
    waited: float = 0.0
    target: str = ""
    account: str = ""
    used: int | None = None
    retry_after: float | None = None
    attempts: tuple[Try, ...] = ()


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def line_of(finished: Finished, *, usual_wait: float = 0.0) -> Line:
    """Return the line of a request; `usual_wait` is the settings' `queue.max_wait`."""
    asked = finished.max_wait != usual_wait
    return Line(
        at=round(finished.arrived, 6),
        end=finished.end,
        seconds=round(finished.seconds, 6),
        route=finished.route,
        prompt_tokens=finished.prompt_tokens,
        tokens=finished.tokens,
        client=finished.client,
        stream=finished.stream,
        max_tokens=finished.max_tokens,
        needs=tuple(sorted(finished.needs)),
        free_only=finished.free_only,
        max_wait=finished.max_wait if asked else None,
        waited=round(finished.waited, 6),
        target=finished.target,
        account=finished.account,
        used=finished.used,
        retry_after=finished.retry_after,
        attempts=tuple(_try(attempt, finished.arrived) for attempt in finished.attempts),
    )


def _try(attempt: Attempt, arrived: float) -> Try:
    """Leave out the provider's words: even redacted ones may repeat what it was asked."""
    return Try(
        target=attempt.target,
        account=attempt.account,
        outcome=Outcome(attempt.outcome),
        began=round(attempt.began - arrived, 6),
        seconds=round(attempt.seconds, 6),
        status=attempt.status,
        delay=attempt.delay,
        tokens=attempt.tokens,
        told=tuple(_told(reading) for reading in attempt.readings),
    )


def _told(reading: Reading) -> Told:
    return Told(
        metric=reading.metric,
        window=reading.window,
        limit=reading.limit,
        remaining=reading.remaining,
        reset=reading.reset,
        scope=reading.scope,
        refills=reading.refills,
    )


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that cannot be read.

    Attributes:
        number: Counted from 1.
        why: In a few words, without what stands there.
    """

    number: int
    why: str


def read_lines(lines: Iterable[bytes]) -> Iterator[Line | Broken]:
    """Yield what a trace holds, and what is wrong with it.

    A last line without its end is passed over: somebody was about to write it.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if line.endswith(b"\n"):
                yield Broken(number, str(error))


class Recorder:
    """An observer that appends requests to a file, by a thread of its own.

    A request only puts its record into a queue. The thread starts with the first one, and ends with
    `aclose`. The file is opened for each batch, so that it may be moved away at any time. If it cannot
    be written, that is said once, and the requests go on.

    Args:
        path: Of the file; readable for its owner only.
        max_size: Bytes after which it is moved to `PATH.1`, where one older file is kept.
        usual_wait: The settings' `queue.max_wait`.
        redact: Takes secrets out of a line: a client may have sent its key as the model's name.
        logger: Is told of a file that cannot be written, and that it can again.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_size: int,
        usual_wait: float,
        redact: Callable[[bytes], bytes],
        logger: logging.Logger,
    ) -> None:
        self._path = path
        self._max_size = max_size
        self._usual_wait = usual_wait
        self._redact = redact
        self._logger = logger
        self._queue: SimpleQueue[Finished | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self._lost = 0

    def __repr__(self) -> str:
        return f"<Recorder of {self._path}, {self._trouble or 'ok'}>"

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Finished):
            return
        if self._queue.qsize() >= MOST_WAITING:
            self._lose(1, "it cannot be written as fast as requests come")
            return
        self._queue.put(event)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="stepwell-trace", daemon=True)
            self._thread.start()

    async def aclose(self) -> None:
        """Write what is left; idempotent, and a request after it begins anew."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join, PATIENCE)

    # --- in the thread

    def _work(self) -> None:
        is_over = False
        while not is_over:
            batch = self._take()
            is_over = None in batch
            records = [record for record in batch if record is not None]
            if records:
                self._write(records)

    def _take(self) -> list[Finished | None]:
        """Wait for a record, and take those that have gathered behind it."""
        batch = [self._queue.get()]
        try:
            while len(batch) < BATCH and batch[-1] is not None:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch

    def _write(self, records: list[Finished]) -> None:
        lines = b"".join(self._line(record) for record in records)
        try:
            self._make_room(len(lines))
            with open(self._path, "a+b", opener=_for_its_owner) as file:
                file.write(lines if _ends_with_a_line(file) else b"\n" + lines)
        except OSError as error:
            self._lose(len(records), error.strerror or type(error).__name__)
        else:
            self._recover()

    def _line(self, record: Finished) -> bytes:
        return self._redact(_encode(line_of(record, usual_wait=self._usual_wait))) + b"\n"

    def _make_room(self, size: int) -> None:
        try:
            held = self._path.stat().st_size
        except FileNotFoundError:
            return
        if held and held + size > self._max_size:
            self._path.replace(f"{self._path}.1")

    def _lose(self, count: int, trouble: str) -> None:
        if not self._trouble:
            self._logger.warning("trace: %s. Requests go on without being recorded.", trouble)
        self._trouble = trouble
        self._lost += count

    def _recover(self) -> None:
        if self._trouble:
            self._logger.warning("trace: it is written again; %d requests are missing", self._lost)
        self._trouble, self._lost = "", 0


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ends_with_a_line(file: IO[bytes]) -> bool:
    """Whether nothing or a whole line stands there: a full disk or a crash may have cut the last."""
    if file.seek(0, SEEK_END) == 0:
        return True
    file.seek(-1, SEEK_END)
    return file.read(1) == b"\n"
