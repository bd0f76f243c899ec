"""Dispatch: carries requests down their chains. `routing` decides each move; here it is done.

    answer         Deliver: a reply on its way to the client
    call           one request on its way
    reservations   Reserve: room at once, after evidence, or after a wait in the queue
    sender         Send: an upstream is called, the call settled and recorded
    end            what a request ends with: the client's error, the observers' record
    continuation   other models go on where a stream broke
    dispatcher     the one loop that awaits: asks for a move, carries it out, reports back

Each imports only from those above it.
"""

from stepwell.dispatch.answer import Answer
from stepwell.dispatch.call import Call
from stepwell.dispatch.dispatcher import Dispatcher

__all__ = ["Answer", "Call", "Dispatcher"]
