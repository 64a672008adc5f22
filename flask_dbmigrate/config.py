"""Every ``DBMIGRATE_*`` key of an application's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from difflib import get_close_matches
import typing as t

from .errors import ConfigurationError

_PREFIX = "DBMIGRATE_"


class Kind(t.NamedTuple):
    """What the value of a key may be.

    :param expected: In words, as the end of a sentence that begins with "it must be".
    :param fits: Tells whether a value is one.
    :param is_secret: Whether a value must not be shown.
    """

    expected: str
    fits: t.Callable[[object], bool]
    is_secret: bool = False

    def require(self, name: str, value: object, *, hint: str) -> None:
        """Check a value.

        :param name: What it is the value of.
        :raises ConfigurationError: if it does not fit.
        """
        if not self.fits(value):
            raise ConfigurationError(
                f"'{name}' is {'wrong' if self.is_secret else repr(value)}, "
                f"but it must be {self.expected}.",
                hint=hint,
            )


_BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
_SECONDS = Kind(
    "a number of seconds, 0 or more",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
)
_NUMBER = Kind(
    "a whole number, 0 or more",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
)
_URL = Kind("the URL of a database", lambda value: isinstance(value, str), is_secret=True)
_REACTION = Kind("'warn', 'error' or 'ignore'", lambda value: value in ("warn", "error", "ignore"))


def _key(default: t.Any, kind: Kind) -> t.Any:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class Settings:
    """The settings of an application: each is the key of this name in capitals, with the prefix.

    :param ddl_lock_timeout: How long DDL waits for a lock; 0 for as long as it takes.
    :param ddl_retries: How often it is tried again then.
    :param drop_unknown_tables: Whether ``migrate`` drops the tables that have no model.
    :param edited: What to do about a revision that was edited after it was applied.
    :param journal: Whether it is noted in a table what of a revision cannot be rolled back.
    :param lock: Whether a run waits until no other one is at work on a database.
    :param lock_timeout: How long it waits.
    :param log: Whether what is run on a database is written to a table in it.
    :param protected: Whether ``downgrade`` drops what holds data only if told to with ``--yes``,
        where there is no terminal to ask on.
    :param resume: Whether a run goes on with a half-applied revision by itself.
    :param single_transaction: Whether all revisions of a database run in one transaction.
    :param statement_timeout: How long a statement of a run may take; None for as long as it does.
    :param two_phase: Whether several databases are committed in two phases.
    :param url: The default database's URL for migrations, where the application's leads to a
        pooler.
    :param wait: How long an upgrade waits for a database that is starting.
    """

    ddl_lock_timeout: float = _key(2, _SECONDS)
    ddl_retries: int = _key(20, _NUMBER)
    drop_unknown_tables: bool = _key(True, _BOOLEAN)
    edited: str = _key("warn", _REACTION)
    journal: bool = _key(True, _BOOLEAN)
    lock: bool = _key(True, _BOOLEAN)
    lock_timeout: float = _key(600, _SECONDS)
    log: bool = _key(True, _BOOLEAN)
    protected: bool = _key(False, _BOOLEAN)
    resume: bool = _key(True, _BOOLEAN)
    single_transaction: bool = _key(False, _BOOLEAN)
    statement_timeout: float | None = _key(None, _SECONDS)
    two_phase: bool = _key(False, _BOOLEAN)
    url: str | None = _key(None, _URL)
    wait: float | None = _key(None, _SECONDS)


KINDS: t.Mapping[str, Kind] = {field.name: field.metadata["kind"] for field in fields(Settings)}
"""What the value of each setting may be, and that of an option of the same name."""


def read_settings(config: t.Mapping[str, t.Any]) -> Settings:
    """Read and check the settings of an application.

    :param config: ``app.config``.
    :raises ConfigurationError: if a key is unknown, or a value does not fit.
    """
    known = {_PREFIX + known.name.upper(): known for known in fields(Settings)}
    values = {}
    for key in filter(_is_ours, config):
        if key not in known:
            raise _unknown(key, list(known))
        kind: Kind = known[key].metadata["kind"]
        kind.require(key, config[key], hint="Correct it in the configuration of the application.")
        values[known[key].name] = config[key]
    return Settings(**values)


def _is_ours(key: object) -> bool:
    return isinstance(key, str) and key.startswith(_PREFIX)


def _unknown(key: str, known: list[str]) -> ConfigurationError:
    names = [name.removeprefix(_PREFIX) for name in known]
    close = get_close_matches(key.removeprefix(_PREFIX), names, n=1)
    listed = ", ".join(f"'{name}'" for name in known)
    return ConfigurationError(
        f"There is no setting '{key}'.",
        hint=f"Did you mean '{_PREFIX}{close[0]}'?" if close else f"The settings are: {listed}.",
    )
