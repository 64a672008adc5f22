"""What kind of statement it is, told from its words."""

from __future__ import annotations

import enum
import re
import typing as t


class Kind(enum.Enum):
    """How a statement takes part in a transaction."""

    TRANSACTIONAL = "is undone with its transaction"
    SESSION = "is about the session: a new one has to be told again"
    COMMITTING = "ends the transaction before it, and does nothing else"
    ALONE = "cannot be undone: it ends the transaction before it, and is one by itself"
    BOUND = "makes what ends with the session, and may end the transaction before it"
    MIXED = "are several: some are undone with their transaction, some are about the session"
    SEVERAL = "are several, of which one may be committed and another not"


COMMENTS = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
"""A regular expression for what may come before a statement."""


def beginning_with(words: str) -> re.Pattern[str]:
    """Make a pattern for statements that begin with certain words, after comments.

    :param words: A regular expression in which case does not matter.
    """
    return re.compile(rf"{COMMENTS}(?:{words})\b", flags=re.IGNORECASE | re.DOTALL)


def kind_of_all(kinds: t.Iterable[Kind]) -> Kind:
    """Tell how statements take part in a transaction that are executed as one text."""
    found = list(kinds)
    if len(found) == 1 or set(found) == {Kind.TRANSACTIONAL}:
        return found[0]
    return Kind.MIXED if set(found) <= {Kind.TRANSACTIONAL, Kind.SESSION} else Kind.SEVERAL


def in_one_line(statement: str) -> str:
    """Write a statement so that two copies of it, from different places, are the same."""
    bare = re.sub(f"^{COMMENTS}", "", statement, flags=re.DOTALL)
    return " ".join(bare.replace("%%", "%").split()).rstrip("; ")


_LOOKS = beginning_with("SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|TABLE|VALUES")
_CHANGES = re.compile(
    r"\b(?:INTO|INSERT|DELETE|MERGE|REPLACE|CALL|ANALY[SZ]E|NEXT\s+VALUE)\b"
    r"|(?<!\bFOR\s)(?<!\bKEY\s)\bUPDATE\b|:=",
    flags=re.IGNORECASE,
)
_CALL = re.compile(r"([\w$.\"`]+)\s*\(")
_PURE = re.compile(
    # what has parentheses and is no function
    r"select|from|where|and|or|not|in|any|some|all|exists|as|on|when|then|else|union|except|intersect"
    r"|values|having|join|lateral|over|filter|using|array|by|limit|distinct|between|like|only|offset"
    r"|materialized|(?:var)?char|decimal|numeric|time|timestamp|group|within"
    # functions that only look
    r"|cast|convert|count|sum|min|max|avg|coalesce|ifnull|isnull|nullif|if|lower|upper|length"
    r"|char_length|trim|concat|concat_ws|substr|substring|left|right|greatest|least|round|abs|mod"
    r"|date|now|version|database|schema|user|current_\w+|group_concat|string_agg|array_agg|unnest"
    r"|generate_subscripts|row_number|to_reg\w+|format_type|obj_description|col_description"
    r"|json_build_object|bool_and|pg_get_\w+|\w+_is_visible|has_\w+_privilege"
    r"|pg_catalog\.(?!pg_\w*(?:lock|notify|signal|reload|rotate|terminate|cancel|start|stop)"
    r"|set|nextval|lo_)\w+",
    flags=re.IGNORECASE,
)


def is_look(statement: str) -> bool:
    """Tell whether a statement surely changes nothing: functions may, unless they are known."""
    text = _without_strings(statement)
    calls = (found[1] for found in _CALL.finditer(text))
    return (
        _LOOKS.match(text) is not None
        and _CHANGES.search(text) is None
        and all(_PURE.fullmatch(name) for name in calls)
    )


_DEFINES = beginning_with("CREATE|ALTER|DROP|RENAME|COMMENT")
_MOVES_ROWS = re.compile(
    r"\bTABLE\b.*\b(?:SELECT|VALUES|EXECUTE)\b|\b(?:PARTITION|TABLESPACE)\b",
    flags=re.IGNORECASE | re.DOTALL,
)


def is_definition(statement: str) -> bool:
    """Tell whether a statement surely changes the schema and no rows."""
    text = _without_strings(statement)
    return (
        _DEFINES.match(text) is not None
        and _MOVES_ROWS.search(text) is None
        and ";" not in text.strip().rstrip(";")
    )


def _without_strings(statement: str) -> str:
    return re.sub(r"'(?:[^'\\]|''|\\.)*'", "''", statement, flags=re.DOTALL)
