"""What kind of statement it is, told from its words."""

from __future__ import annotations

import enum
import re


class Kind(enum.Enum):
    """How a statement takes part in a transaction."""

    TRANSACTIONAL = "is undone with its transaction"
    SESSION = "is about the session: a new one has to be told again"
    COMMITTING = "ends the transaction before it, and does nothing else"
    ALONE = "cannot be undone: it ends the transaction before it, and is one by itself"
    BOUND = "makes what ends with the session, and may end the transaction before it"


COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
"""A regular expression for what may come before a statement."""


def beginning_with(words: str) -> re.Pattern[str]:
    """Make a pattern for statements that begin with certain words, after comments.

    :param words: A regular expression in which case does not matter.
    """
    return re.compile(rf"{COMMENTS}(?:{words})\b", flags=re.IGNORECASE | re.DOTALL)


def in_one_line(statement: str) -> str:
    """Write a statement so that two copies of it, from different places, are the same."""
    bare = re.sub(f"^{COMMENTS}", "", statement, flags=re.DOTALL)
    return " ".join(bare.replace("%%", "%").split()).rstrip("; ")
