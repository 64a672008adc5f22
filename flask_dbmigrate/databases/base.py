"""A database of the application, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

DEFAULT_KEY = "default"


@dataclass(frozen=True)
class Database:
    """One database of the application.

    :param bind_key: Its bind key; None for the one of ``SQLALCHEMY_DATABASE_URI``.
    :param engine: Its engine.
    :param metadata: The models that live in it.
    """

    bind_key: str | None
    engine: sa.Engine
    metadata: sa.MetaData

    @property
    def key(self) -> str:
        """What messages call it."""
        return self.bind_key or DEFAULT_KEY

    @property
    def engine_name(self) -> str:
        """What a script's ``upgrade(engine_name)`` is given: the bind key, or an empty string."""
        return self.bind_key or ""


def safe_url(url: sa.URL) -> str:
    """Show a URL without its password, wherever in it the password is."""
    secret = [name for name in url.query if "pass" in name.lower() or "secret" in name.lower()]
    masked = url.update_query_dict(dict.fromkeys(secret, "***"))
    return masked.render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
