"""How what others say is quoted: in one line, and not without end."""

from __future__ import annotations

_LONGEST = 1000


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Cut a text off where a word ends: half a secret would not be recognised as one."""
    if len(text) <= longest:
        return text
    start = text[:longest]
    return f"{start.rpartition(' ')[0] or start} …"


def words_of(error: BaseException) -> str:
    """Quote what an error says, in one line; empty if it says nothing, or fails to."""
    try:
        text = str(error)
    except Exception:  # some have a '__str__' with a fault of its own
        return ""
    return shortened(" ".join(text.split()))
