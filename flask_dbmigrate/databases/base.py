"""A database of the application, as plain data, and what all providers need to make it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
import re
import typing as t
from urllib.parse import quote
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import NoDatabaseError
from flask_dbmigrate.wording import MASK

_DEFAULT_KEY = "default"

Models = sa.MetaData | Sequence[sa.MetaData]
"""The models of one database."""


def key_of(engine_name: str | None) -> str:
    """Tell what messages and ``--database`` call a database.

    :param engine_name: Its bind key; None or an empty string for the default database.
    """
    return f"bind:{_DEFAULT_KEY}" if engine_name == _DEFAULT_KEY else engine_name or _DEFAULT_KEY


@dataclass(frozen=True)
class Database:
    """One database of the application.

    :param bind_key: Its bind key; None for the default database.
    :param engine: Its engine; for one of asyncio its synchronous face, which only works
        in :func:`flask_dbmigrate.runtime.connection.run_with_event_loop`.
    :param metadata: The models that live in it; a sequence where there are several.
    :param setting: What to correct if its URL is wrong.
    """

    bind_key: str | None
    engine: sa.Engine
    metadata: Models
    setting: str = "the URL of its engine"

    @property
    def key(self) -> str:
        """What messages call it."""
        return key_of(self.bind_key)

    @property
    def has_models(self) -> bool:
        """Whether there are models that live in it."""
        return any(metadata.tables for metadata in sa.util.to_list(self.metadata))

    @property
    def engine_name(self) -> str:
        """What a script's ``upgrade(engine_name)`` is given: the bind key, or an empty string."""
        return self.bind_key or ""


def by_key(value: t.Any) -> dict[str | None, t.Any]:
    """Take one value for the default database, a mapping for several, or None for nothing."""
    if not isinstance(value, Mapping):
        return {} if value is None else {None: value}
    return {None if key == _DEFAULT_KEY else key: item for key, item in value.items()}


def default_first(engines: Mapping[str | None, t.Any]) -> list[str | None]:
    """Order bind keys: the default database, then the others as they are configured."""
    return sorted(engines, key=lambda key: key is not None)


def given_models(value: t.Any) -> Models:
    """Check the models that ``Migrate`` was given for one database.

    :raises ConfigurationError: if they are none.
    """
    several = value if isinstance(value, (list, tuple)) and value else [value]
    for metadata in several:
        if not isinstance(metadata, sa.MetaData):
            raise wrong_argument(metadata, "a MetaData, or a list of them")
    return t.cast(Models, value)


def no_default_database() -> NoDatabaseError:
    """Build the error for an application that needs a default database and has bind keys alone."""
    return NoDatabaseError(
        "The application has bind keys, but no default database.",
        hint="Set 'SQLALCHEMY_DATABASE_URI'; or give each model a bind key, and take 'env.py' and "
        "'script.py.mako' of a fresh 'flask db init -d fresh'.",
    )


def wrong_argument(value: t.Any, expected: str) -> ConfigurationError:
    """Build the error for an argument of ``Migrate`` that does not fit."""
    return ConfigurationError(
        f"'Migrate' was given a '{type(value).__name__}' where it needs {expected}.",
        hint="Call 'Migrate(app, metadata=Base.metadata, url=\"postgresql://...\")'.",
    )


_with_own_pool: WeakKeyDictionary[sa.Engine, sa.Engine] = WeakKeyDictionary()


def as_engine(value: t.Any) -> sa.Engine | None:
    """Take an engine as Alembic needs it; None if it is no engine.

    Connections of asyncio belong to the event loop they were opened in, and a run has one of
    its own. So an asyncio engine is replaced by its twin with an empty pool, until
    :func:`forget_event_loop`; an engine of one connection for all (``:memory:``) is not.
    """
    engine = value.sync_engine if _is_async_engine(value) else value
    if not isinstance(engine, sa.Engine):
        return None
    if not engine.dialect.is_async or isinstance(engine.pool, sa.StaticPool):
        return engine
    twin = _with_own_pool.get(engine)
    if twin is None:
        engine.dispatch  # noqa: B018 - made on first use, and shared from then on
        twin = _with_own_pool[engine] = copy(engine)
        twin.pool = engine.pool.recreate()
    return twin


def _is_async_engine(value: t.Any) -> bool:
    if not hasattr(value, "sync_engine"):  # the module is loaded only where it is used
        return False
    from sqlalchemy.ext.asyncio import AsyncEngine

    return isinstance(value, AsyncEngine)


def forget_event_loop() -> None:
    """Close what the twins of asyncio engines keep open, before their event loop ends."""
    for engine, twin in list(_with_own_pool.items()):
        del _with_own_pool[engine]
        twin.pool.dispose()


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


def require_quoted(url: sa.URL, setting: str) -> None:
    """Check that no part of a password is taken for the host.

    :param setting: Where the URL is from.
    :raises ConfigurationError: if one is.
    """
    is_cut_off = re.search("@.*/", url.database or "")  # a '/' of the password ends the host, too
    if url.host and ("@" in url.host or is_cut_off or any("@" in name for name in url.query)):
        raise ConfigurationError(
            f"The password in {setting} has a '@' that is not quoted: what follows it would be "
            "the host.",
            hint="Write it as '%40'.",
        )


@contextmanager
def explained(whose: str) -> Iterator[None]:
    """Explain why no engine can be made, without what SQLAlchemy quotes: it may be secret.

    :param whose: The end of "the URL ...".
    :raises ConfigurationError: if none can.
    """
    try:
        yield
    except (sa.exc.NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(
            f"No engine can be made of the URL {whose}: {error}.",
            hint="Install its driver, or correct it.",
        ) from error
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"The URL {whose} is not that of a database.",
            hint="Correct it: 'postgresql://user:password@host/name'.",
        ) from None


def without_secrets(text: str, url: sa.URL) -> str:
    """Take the password of a URL, and what else is secret in it, out of a text.

    Quoted as in a URL, it is secret as well.
    """
    values = [url.password, *(value for name, value in url.query.items() if _SECRET.search(name))]
    values.append((url.host or "").rpartition("@")[0])  # of a password that is not quoted
    for secret in values:
        if secret and len(str(secret)) > 3:  # a shorter one would be betrayed by the gaps it leaves
            for form in (quote(str(secret), safe=" +"), quote(str(secret), safe=""), str(secret)):
                text = text.replace(form, MASK)
    return text
