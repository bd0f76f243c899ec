"""The dialect of a provider of which nothing is known: it goes by what arrives."""

from stepwell.providers.dialects.gemini import with_quota_details
from stepwell.providers.dialects.generic import draft_counters
from stepwell.providers.dialects.refusal import read
from stepwell.providers.dialects.reply import Reply
from stepwell.providers.dialects.split import split_counters
from stepwell.quota.reading import Hint


def auto(reply: Reply) -> Hint:
    """Read every family's headers that are there, and Google's details.

    Families are told apart by the names they use, so their readings add up, and none is worse off
    than with `generic`. The windows of OpenAI's headers stay unknown unless a refusal names them.
    """
    counters = split_counters(reply, None, None) + draft_counters(reply)
    return with_quota_details(reply, read(reply, counters))
