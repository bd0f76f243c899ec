"""The keepers of quota: each holds the state that the rules of `stepwell.quota` work on."""

from stepwell.ledgers.memory import MemoryLedger

__all__ = ["MemoryLedger"]
