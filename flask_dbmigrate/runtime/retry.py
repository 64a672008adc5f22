"""Tries again, later and later, what a lock kept from running."""

from __future__ import annotations

import random
import time

from .preparation import Conflict
from .result import Listener
from .result import Retry

_FIRST = 0.5
_LONGEST = 30
"""Seconds before the first and before a late try; those between them double."""


class Retries:
    """Counts the tries of one revision after the other, and waits between them.

    :param limit: How often to try again.
    :param listener: Is told who is in the way.
    """

    def __init__(self, limit: int, listener: Listener) -> None:
        self._limit = limit
        self._listener = listener
        self._last = ("", "")
        self._number = 0

    def again(self, database: str, step: str, conflict: Conflict) -> bool:
        """Wait for the next try; False if there is none, or if it would be in vain.

        :param database: The key of the database.
        :param step: The step that waits, as the log shows it.
        """
        if self._last != (database, step):
            self._last, self._number = (database, step), 0
        self._number += 1
        if conflict.is_own or not conflict.is_repeatable or self._number > self._limit:
            return False
        seconds = min(_LONGEST, _FIRST * 2 ** (self._number - 1)) * random.uniform(0.75, 1.25)
        blockers = tuple(map(str, conflict.blockers))
        self._listener.step_blocked(
            database, Retry(step, blockers, self._number, self._limit, seconds)
        )
        time.sleep(seconds)
        return True
