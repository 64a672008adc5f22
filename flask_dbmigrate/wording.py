"""How what others say is quoted: in one line, and not without end."""

from __future__ import annotations

import re

MASK = "***"
"""Stands for a secret."""

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
    return quoted(text)


def quoted(text: str) -> str:
    """Show what somebody else says in one line of bearable length, and no password in it."""
    for pattern in (_IN_URL, _IN_OPTION):
        text = pattern.sub(rf"\1{MASK}\2", text)
    return shortened(" ".join(text.split()))


_IN_URL = re.compile(r"(://[^\s:/@]*:)\S+(@)")
_IN_OPTION = re.compile(
    r"""(\b(?:password|passwd|pwd|secret|token)=)(?:'[^']*'|"[^"]*"|[^\s,;&)]+)()""", re.IGNORECASE
)
"""How what opens a connection may show its password, which no URL of ours has: ``creator``."""
