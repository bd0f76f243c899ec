"""Patience: how much may be asked of laws in one search for a limit that nobody told.

A search that goes on for long keeps everybody waiting, as nothing else is done meanwhile. What it had
no time for is left to the next refusal.
"""


class Patience:
    """So many questions whether a law explains an outcome.

    Args:
        questions: In any order.
        replayed: To the law that has to hear all outcomes in theirs.
    """

    __slots__ = ("_questions", "_replayed")

    def __init__(self, questions: int, replayed: int) -> None:
        self._questions = questions
        self._replayed = replayed

    def __repr__(self) -> str:
        return f"<Patience for {self._questions} questions, {self._replayed} replayed>"

    @property
    def is_lost(self) -> bool:
        return self._questions <= 0 or self._replayed <= 0

    def ask(self, laws: int) -> bool:
        """Ask so many laws; False if that is too much."""
        self._questions -= laws
        return self._questions > 0

    def replay(self) -> bool:
        """Ask once more of those in order; False if that is too much."""
        self._replayed -= 1
        return self._replayed > 0
