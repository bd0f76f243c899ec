"""Sender: calls an upstream, settles with the ledger, and records the attempt."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from stepwell.clock import Clock
from stepwell.dispatch.call import Call
from stepwell.errors import StepwellError
from stepwell.observe import Observer
from stepwell.providers.dialects.remembered import remembered
from stepwell.quota.ledger import Ledger
from stepwell.quota.reading import Hint, Reading
from stepwell.routing.asides import Asides
from stepwell.routing.size import Sizes
from stepwell.routing.trail import Attempt
from stepwell.routing.verdict import Outcome, Verdict
from stepwell.routing.waterfall import Send
from stepwell.upstream.client import Endpoint, Reply

# The trail's words are a sentence or two for people, not a page.
LONGEST_WORDS: Final = 200

# What a call comes to that is cancelled: the client left, or the request's time is up.
_CUT_SHORT: Final = Reply(Verdict(Outcome.ABANDONED), detail="given up")


class Sender:
    """See the module's text.

    Args:
        endpoints: The way to each account, by its name.
        clock: For all time.
        ledger: Is told what became of each reservation.
        sizes: Learns what targets refuse as too large.
        asides: Hears what providers say beside that.
        redact: Takes secrets out of a text.
        logger: Gets a line for every attempt.
        observers: Are told every attempt.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        clock: Clock,
        ledger: Ledger,
        sizes: Sizes,
        asides: Asides,
        redact: Callable[[str], str],
        logger: logging.Logger,
        observers: Sequence[Observer],
    ) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._ledger = ledger
        self._sizes = sizes
        self._asides = asides
        self._shortened = remembered(partial(_shortened, redact))
        self._logger = logger
        self._observers = observers

    async def send(self, call: Call, move: Send) -> Reply:
        """Call one upstream and settle, unless a stream is open, which settles at its end."""
        step, target = move.step, move.target
        if call.free_only and step.paid:
            raise self._shut_the_last_door(move)
        call.doing = step.name
        started = self._clock.monotonic()
        reply = _CUT_SHORT
        told: tuple[Reading, ...] = ()

        def observe(hint: Hint) -> None:
            nonlocal told
            told = hint.readings
            self._ledger.observe(move.reservation, told)
            self._asides.served(target, hint, self._clock.monotonic())

        try:
            endpoint = self._endpoints[target.account]
            reply = await endpoint.attempt(call.request, step, observe, call.deadline)
            return reply
        finally:
            attempt = self._attempt(move, reply, started, told)
            self._conclude(call, move, reply, attempt.words)
            call.trail.attempts.append(attempt)
            if self._logger.isEnabledFor(logging.DEBUG):
                self._logger.debug("%s %s %s", attempt, attempt.words, attempt.account)
            for observer in self._observers:
                observer(attempt)

    def _shut_the_last_door(self, move: Send) -> StepwellError:
        """Whatever led here, a request that must cost nothing is not sent to who takes money.

        Returns:
            What to raise: it is a mistake of ours.
        """
        self._ledger.release(move.reservation)
        return StepwellError(f"{move.step.name} costs money, and the request is free only.")

    def _conclude(self, call: Call, move: Send, reply: Reply, words: str) -> None:
        """Settle, but for a stream, which is open; learn what a call tells of sizes, and in passing."""
        verdict, target = reply.verdict, move.target
        is_answer = verdict.outcome is Outcome.ANSWER
        if reply.stream is None or not is_answer:
            report = verdict.report(reply.tokens, words, was_sent=reply.was_sent)
            self._ledger.settle(move.reservation, report)
        if is_answer:
            self._sizes.served(target.key, call.request.tokens)
        elif verdict.outcome is Outcome.TOO_LARGE:
            self._sizes.refused(target.key, call.request.tokens)
        if others := verdict.hint.others:
            self._asides.hear(target, others, self._clock.monotonic())

    def _attempt(
        self, move: Send, reply: Reply, started: float, told: tuple[Reading, ...]
    ) -> Attempt:
        seconds = self._clock.monotonic() - started
        hint = reply.verdict.hint
        return Attempt(
            target=move.step.name,
            account=move.target.account,
            outcome=reply.verdict.outcome,
            status=reply.status,
            seconds=seconds,
            delay=hint.delay,
            words=self._words(reply) if reply.error is not None or reply.detail else "",
            began=self._clock.time() - seconds,
            tokens=reply.tokens,
            readings=hint.readings or told,
        )

    def _words(self, reply: Reply) -> str:
        return self._shortened(reply.verdict.hint.message or reply.detail)


def _shortened(redact: Callable[[str], str], words: str) -> str:
    """Return a provider's words, redacted before they are cut: half a key is not found."""
    return " ".join(redact(words).split())[:LONGEST_WORDS]
