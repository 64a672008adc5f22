"""The statements of MySQL and MariaDB: which of them commit, and whether one was executed.

MySQL 8.4 Reference Manual, "Statements That Cause an Implicit Commit"; MariaDB Server
documentation, "SQL statements That Cause an Implicit Commit".
"""

from __future__ import annotations

from collections import Counter
import hashlib
import re

import sqlalchemy as sa

from .connections import OWN_TEXT
from .splitting import MYSQL
from .splitting import MYSQL_WITHOUT_ESCAPES
from .splitting import split
from .statements import beginning_with
from .statements import Kind
from .statements import kind_of_all

_TRANSACTIONAL = beginning_with(
    r"INSERT|UPDATE|DELETE|REPLACE|SELECT|WITH|VALUES|LOAD\s+DATA|EXPLAIN|SHOW|DESC|DESCRIBE"
    r"|ROLLBACK|SAVEPOINT|RELEASE"
)
_COMMITTING = beginning_with(r"COMMIT|START\s+TRANSACTION|BEGIN(?!\s+NOT)")
_SESSION = beginning_with(r"SET(?!\s+(?:PASSWORD|DEFAULT\s+ROLE)\b)")
_BOUND = beginning_with(
    r"(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?TEMPORARY|(?:UN)?LOCK\s+TABLES?|PREPARE|EXECUTE"
    r"|DEALLOCATE|XA|HANDLER|SET\b.*\bAUTOCOMMIT|USE|SET\s+ROLE"
    # what SHOW CREATE shows depends on these
    r"|SET\b.*\bSQL_MODE\b.*\b(?:ANSI|ANSI_QUOTES|ORACLE|MSSQL|DB2|MAXDB|POSTGRESQL|MYSQL\d+"
    r"|NO_\w+_OPTIONS)|SET\b.*\bSQL_QUOTE_SHOW_CREATE"
    r"|SET\s+(?:NAMES|CHARACTER\s+SET|CHARSET)\s+(?!['\"]?utf8mb4)['\"]?\w+"
)
_SETS_VARIABLE = re.compile(
    r"^\s*SET\b.*(?<![@\w])@\w|@\w+\s*:=|\bINTO\s+@\w", flags=re.IGNORECASE | re.DOTALL
)
_PREFIX = re.compile(r"^\s*SET\s+STATEMENT\b.*?\bFOR\b", flags=re.IGNORECASE | re.DOTALL)

_HARMLESS = beginning_with("ANALYZE|OPTIMIZE|CHECK|REPAIR|FLUSH|GRANT|CACHE")
"""To execute one of these twice is the same as once."""

_INVISIBLE = re.compile(
    r"\b(?:(?:EXCHANGE|TRUNCATE)\s+PARTITION|(?:IMPORT|DISCARD)\s+TABLESPACE|RESTART)\b"
    r"|^\s*CREATE\s+OR\s+REPLACE\s+TABLE\b",
    flags=re.IGNORECASE,
)
"""These may do something that does not show in the definition of what they name."""

_PROGRAM = beginning_with(r"CALL|BEGIN|IF|CASE|FOR|LOOP|REPEAT|WHILE")
"""One of these may commit some of what it does, and fail then."""

_CALL = beginning_with(r"CALL|BEGIN|IF|CASE|FOR|LOOP|REPEAT|WHILE|EXECUTE")
"""One of these may do several things, each with a result."""

_TRUNCATE = beginning_with("TRUNCATE")
_DROP = beginning_with("DROP")

_IDENTIFIER = r'(?:`(?:[^`]|``)+`|"[^"]+"|[\w$]+)'
_NAME = rf"{_IDENTIFIER}(?:\s*\.\s*{_IDENTIFIER})?"
_MODIFIERS = (
    r"(?:(?:OR\s+REPLACE|ONLINE|IGNORE|UNDO|AGGREGATE|ALGORITHM\s*=\s*\w+|SQL\s+SECURITY\s+\w+"
    r"|DEFINER\s*=\s*\S+(?:\s*@\s*\S+)?)\s+)*"
)
_OBJECT = re.compile(
    rf"^\s*(?:CREATE|ALTER|DROP|RENAME|TRUNCATE)\s+{_MODIFIERS}"
    r"(?P<type>TABLES?|VIEW|TRIGGER|PROCEDURE|FUNCTION|EVENT|SEQUENCE|DATABASE|SCHEMA)\s+"
    rf"(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?P<names>{_NAME}(?:\s*(?:,|\bTO\b)\s*{_NAME})*)",
    flags=re.IGNORECASE | re.DOTALL,
)
_INDEX = re.compile(
    r"^\s*(?:CREATE|DROP)\s+(?:(?:OR\s+REPLACE|ONLINE|OFFLINE|UNIQUE|FULLTEXT|SPATIAL)\s+)*INDEX\s+"
    rf"(?:IF\s+(?:NOT\s+)?EXISTS\s+)?{_IDENTIFIER}\s*(?:\bUSING\s+\w+\s+)?\bON\b\s*(?P<names>{_NAME})",
    flags=re.IGNORECASE | re.DOTALL,
)
_TRUNCATED = re.compile(rf"^\s*TRUNCATE\s+(?P<names>{_NAME})", flags=re.IGNORECASE)
_SCHEMA = re.compile(rf"^{_IDENTIFIER}\s*\.\s*")
_RENAME = beginning_with("RENAME")
_ALTER = beginning_with("ALTER")
_TAKEN = re.compile(
    r"\b(?:CHANGE|RENAME\s+COLUMN|DROP)\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?"
    r"(?!(?:INDEX|KEY|PRIMARY|FOREIGN|CONSTRAINT|CHECK|PARTITION)\b)"
    rf"({_IDENTIFIER})",
    flags=re.IGNORECASE,
)
_KEPT = re.compile(
    rf"\bCHANGE\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?({_IDENTIFIER})\s+\1(?!\w)", flags=re.IGNORECASE
)
_SEPARATOR = re.compile(r"\s*(?:,|\bTO\b)\s*", flags=re.IGNORECASE)
_COMMENTS = re.compile(r"--[^\n]*\n|/\*(?![!M]).*?\*/|#[^\n]*\n", flags=re.DOTALL)

# MariaDB Server documentation, "MariaDB Error Code Reference": what was asked for is not there.
_ABSENT = {1049, 1051, 1146, 1305, 1347, 1360, 1539, 4091, 4092}

_NONE = "-"
"""Stands for what does not exist."""


def _bare(statement: str) -> str:
    """Leave out comments, and what MariaDB's ``SET STATEMENT ... FOR`` sets for one statement."""
    return _PREFIX.sub("", _COMMENTS.sub(" ", statement))


def statements(text: str) -> list[str]:
    """List the statements in a text: the most that it may be in some mode of a server."""
    return max((split(text, hidden) for hidden in (MYSQL, MYSQL_WITHOUT_ESCAPES)), key=len)


def kind(statement: str) -> Kind:
    """Tell how a statement takes part in a transaction; of an unknown one, that it commits."""
    return kind_of_all(map(_kind, statements(statement)))


def _kind(statement: str) -> Kind:
    bare = _bare(statement)
    if _BOUND.match(bare) or _SETS_VARIABLE.search(bare):
        return Kind.BOUND
    for pattern, found in (
        (_TRANSACTIONAL, Kind.TRANSACTIONAL),
        (_COMMITTING, Kind.COMMITTING),
        (_SESSION, Kind.SESSION),
    ):
        if pattern.match(bare):
            return found
    return Kind.ALONE


def has_several_results(text: str) -> bool:
    """Tell whether a server may answer with more than one result."""
    return len(statements(text)) > 1 or _CALL.match(_bare(text)) is not None


def fingerprint(connection: sa.Connection, statement: str) -> str:
    """Hash the definitions of what a statement names; empty where nothing can be told."""
    hashes = [_definition(connection, *named) for named in _objects(_bare(statement))]
    return "" if None in hashes else " ".join(filter(None, hashes))


def _objects(statement: str) -> list[tuple[str, str]]:
    """List type and name of what a statement creates, changes or drops."""
    if (found := _INDEX.match(statement)) is None:
        found = _OBJECT.match(statement) or _TRUNCATED.match(statement)
    if found is None:
        return []
    type_ = str(found.groupdict().get("type") or "TABLE").upper()
    type_ = {"TABLES": "TABLE", "SCHEMA": "DATABASE"}.get(type_, type_)
    return [(type_, name) for name in _SEPARATOR.split(found["names"])]


def _definition(connection: sa.Connection, type_: str, name: str) -> str | None:
    query = f"SHOW CREATE {type_} {name}"
    try:
        row = connection.exec_driver_sql(query, execution_options=OWN_TEXT).one()
    except sa.exc.DBAPIError as error:
        code = error.orig.args[0] if error.orig is not None and error.orig.args else 0
        return _NONE if code in _ABSENT else None
    text = repr(tuple(row))
    if type_ == "TABLE":
        text = re.sub(r" AUTO_INCREMENT=\d+", "", text)  # an application that inserts changes it
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def has_happened(connection: sa.Connection, statement: str, before: str) -> bool | None:
    """Tell whether a statement was executed; None if nobody knows.

    :param before: The fingerprint from before it.
    """
    bare = _bare(statement)
    if _HARMLESS.match(bare):
        return False
    if _TRUNCATE.match(bare):
        return _is_empty(connection, bare) or None
    now = fingerprint(connection, statement)
    if not before or not now:
        return None
    if now == before:
        is_there = now.replace(_NONE, "").strip()
        is_invisible = _INVISIBLE.search(bare) or _exchanges_names(bare)
        return None if is_there and is_invisible else False
    if _RENAME.match(bare) and not _are_renamed(bare, now):
        return None  # some of them may be
    if _DROP.match(bare) and not _INDEX.match(bare):
        return None if now.replace(_NONE, "").strip() else True  # it may have dropped some of them
    return True


def _exchanges_names(statement: str) -> bool:
    """Tell whether a name is taken from one thing and given to another, which may look the same."""
    if _RENAME.match(statement):
        renamed = _renamed(statement)
        return not renamed or not {old for old, _ in renamed}.isdisjoint(new for _, new in renamed)
    found = _OBJECT.match(statement)
    if found is None or not _ALTER.match(statement):
        return False
    words = _KEPT.sub("", statement[found.end() :])
    named = Counter(map(_plain, re.findall(_IDENTIFIER, words)))
    taken = Counter(map(_plain, _TAKEN.findall(words)))
    return any(named[name] > count for name, count in taken.items())


def _renamed(statement: str) -> list[tuple[str, str]]:
    """List the old names of a RENAME with the new ones; empty if it says more than that."""
    found = _OBJECT.match(statement)
    if found is None or statement[found.end() :].strip("; \n"):
        return []
    names = [_plain(name) for _, name in _objects(statement)]
    return list(zip(names[::2], names[1::2], strict=True))


def _plain(name: str) -> str:
    """Write a name in the one way that all its spellings have, without the database's."""
    return _SCHEMA.sub("", name).strip('`"').casefold()


def _are_renamed(statement: str, now: str) -> bool:
    """Tell whether each table has its new name, as far as what there is shows it."""
    expected: dict[str, bool] = {}
    for old, new in _renamed(statement):
        expected |= {old: False, new: True}
    names = [_plain(name) for _, name in _objects(statement)]
    found = {name: part != _NONE for name, part in zip(names, now.split(), strict=True)}
    return found == expected


def fails_as_a_whole(statement: str) -> bool:
    """Tell whether a statement that fails has surely done nothing that does not show."""
    return _PROGRAM.match(_bare(statement)) is None


def _is_empty(connection: sa.Connection, statement: str) -> bool:
    ((_, name),) = _objects(statement)
    query = f"SELECT 1 FROM {name} LIMIT 1"
    return connection.exec_driver_sql(query, execution_options=OWN_TEXT).first() is None
