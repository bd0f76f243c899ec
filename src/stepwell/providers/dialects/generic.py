"""What any provider may say: Retry-After, a delay in the body, and the IETF draft's headers."""

from stepwell.providers.dialects.bodies import node_of
from stepwell.providers.dialects.draft import draft_counters
from stepwell.providers.dialects.headers import OVER_LIMIT, Counters
from stepwell.providers.dialects.refusal import read
from stepwell.providers.dialects.reply import Reply
from stepwell.quota.reading import Hint


def generic(reply: Reply) -> Hint:
    """The reading that needs to know nothing of any provider's headers."""
    over_limit = reply.headers.get(OVER_LIMIT) == "yes"
    counted = Counters(draft_counters(reply), over_limit=over_limit)
    return read(reply, node_of(reply.body), counted)
