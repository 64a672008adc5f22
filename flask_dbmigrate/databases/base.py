"""A database of the application, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import re

import sqlalchemy as sa

DEFAULT_KEY = "default"


@dataclass(frozen=True)
class Database:
    """One database of the application.

    :param bind_key: Its bind key; None for the one of ``SQLALCHEMY_DATABASE_URI``.
    :param engine: Its engine.
    :param metadata: The models that live in it; a sequence where there are several.
    :param setting: What to correct if its URL is wrong.
    """

    bind_key: str | None
    engine: sa.Engine
    metadata: sa.MetaData | Sequence[sa.MetaData]
    setting: str = "the URL of its engine"

    @property
    def key(self) -> str:
        """What messages call it."""
        return self.bind_key or DEFAULT_KEY

    @property
    def engine_name(self) -> str:
        """What a script's ``upgrade(engine_name)`` is given: the bind key, or an empty string."""
        return self.bind_key or ""


def is_same_database(one: sa.URL, other: sa.URL) -> bool:
    """Tell whether two URLs name the same database, whoever connects with whatever driver."""
    return _place(one) == _place(other)


def _place(url: sa.URL) -> tuple[object, ...]:
    return url.get_backend_name(), url.host, url.port, url.database


_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|odbc_connect", re.IGNORECASE)


def safe_url(url: sa.URL) -> str:
    """Show a URL without its password, wherever in it the password is."""
    hidden = {name: "***" for name in url.query if _SECRET.search(name)}
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", "***")


def without_secrets(text: str, url: sa.URL) -> str:
    """Take the password of a URL, and what else is secret in it, out of a text."""
    values = [url.password, *(value for name, value in url.query.items() if _SECRET.search(name))]
    for secret in values:
        if secret and len(str(secret)) > 3:  # a shorter one would be betrayed by the gaps it leaves
            text = text.replace(str(secret), "***")
    return text
