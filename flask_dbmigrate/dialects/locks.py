"""What a migration lock is; each DBMS that has one makes it in a module of its own."""

from __future__ import annotations

import hashlib
import typing as t

import sqlalchemy as sa


class MigrationLock(t.Protocol):
    """A lock that one run holds, freed by the DBMS when its process dies."""

    def acquire(self) -> bool:
        """Try once, without waiting longer than a second."""

    def holder(self) -> str:
        """Tell who holds it, for a sentence that ends with it."""

    def is_held(self) -> bool:
        """Tell whether it is still ours: its connection may have been lost."""

    def release(self) -> None:
        """Give it back."""


def own_connection(engine: sa.Engine, **execution_options: t.Any) -> sa.Connection:
    """Open a connection beside the application's pool, which may have one place only.

    Creator and listeners of the pool are those of the application.
    """
    own = sa.Engine(engine.pool.recreate(), engine.dialect, engine.url)
    return own.connect().execution_options(**execution_options)


def close_own(connection: sa.Connection) -> None:
    """Close a connection of :func:`own_connection`, and its pool."""
    connection.close()
    connection.engine.dispose()


def digest(*parts: str | None) -> bytes:
    """Hash what identifies a lock to eight bytes."""
    text = "\0".join(["flask_dbmigrate", *(part or "" for part in parts)])
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
