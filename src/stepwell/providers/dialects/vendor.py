"""Family own-headers: counters under a vendor's own names, without a reset.

    modelscope-ratelimit-requests-remaining: 1412          of a day and the whole account
    modelscope-ratelimit-model-requests-remaining: 0       of a day and this model
    x-trial-endpoint-call-remaining: 19                    Cohere: of a minute and the trial key
    x-endpoint-monthly-call-limit: 1000                    Cohere: of a month and the trial key
    x-ratelimit-limit-tokens-prompt: 60000                 Fireworks: a part of a request's tokens

Seen in public fixtures, read 2026-11-22.
"""

import re

from stepwell.providers.dialects.durations import DAY, MINUTE, MONTH
from stepwell.providers.dialects.slots import FIELDS, Slot
from stepwell.quota.limit import Scope

_MODELSCOPE = re.compile(r"modelscope-ratelimit-(model-)?requests-(limit|remaining|reset)")
_COHERE = re.compile(r"x-(trial-endpoint|endpoint-monthly)-call-(limit|remaining|reset)")
_FIREWORKS = re.compile(
    r"x-ratelimit-(limit|remaining)-tokens-(prompt|cache-adjusted-prompt|generated)"
)
_PARTS = {
    "prompt": "input_tokens",
    "cache-adjusted-prompt": "uncached_input_tokens",
    "generated": "output_tokens",
}


def spell(name: str) -> Slot | None:
    """The names of ModelScope, Cohere and Fireworks."""
    if match := _MODELSCOPE.fullmatch(name):
        scope = Scope.MODEL if match[1] else Scope.ACCOUNT
        return Slot(FIELDS[match[2]], "requests", DAY, scope)
    if match := _COHERE.fullmatch(name):
        window = MINUTE if match[1] == "trial-endpoint" else MONTH
        return Slot(FIELDS[match[2]], "requests", window, Scope.ACCOUNT)
    if match := _FIREWORKS.fullmatch(name):
        return Slot(FIELDS[match[1]], _PARTS[match[2]])
    return None
