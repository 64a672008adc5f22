"""What a migration lock is; each DBMS that has one makes it in a module of its own."""

from __future__ import annotations

import hashlib
import typing as t


class UnusableLockError(Exception):
    """A lock that nobody can hold; the text is a clause without a full stop."""


class MigrationLock(t.Protocol):
    """A lock that one run holds, freed by the DBMS when its process dies."""

    def acquire(self) -> bool:
        """Try once, without waiting longer than a second."""

    def holder(self) -> str:
        """Tell who holds it, for a sentence that ends with it."""

    def is_held(self) -> bool:
        """Tell whether it is still ours: its connection may have been lost."""


def digest(*parts: str | None) -> bytes:
    """Hash what identifies a lock to eight bytes."""
    text = "\0".join(["flask_dbmigrate", *(part or "" for part in parts)])
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
