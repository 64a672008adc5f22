"""Splits a text into the statements that a server finds in it.

PostgreSQL 15 documentation, section 4.1 "Lexical Structure"; MySQL 8.4 Reference Manual, sections
11.1.1 "String Literals" and 11.7 "Comments". Where in doubt there is a statement more.
"""

from __future__ import annotations

import re


def _hidden(quoted: str, comments: str) -> re.Pattern[str]:
    """Make a pattern for what has no meaning for the statements: literals, names, comments."""
    return re.compile(rf"(?P<quoted>{quoted})|{comments}", flags=re.VERBOSE | re.DOTALL)


POSTGRESQL = _hidden(
    r"""
    (?<!\w)[eE]'(?:\\.|[^'\\])*'? | '[^']*'? | "[^"]*"?
    | (?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?(?:\2|\Z)
    """,
    r"--[^\n]* | (?P<nested>/\*)",
)

# what is in '/*! ... */' is executed
_MYSQL = r"--(?=\s|\Z)[^\n]* | \#[^\n]* | /\*(?!M?!)(?:.*?\*/|.*) | /\*M?! | \*/"
MYSQL = _hidden(r"""'(?:\\.|[^'\\])*'? | "(?:\\.|[^"\\])*"? | `[^`]*`?""", _MYSQL)
MYSQL_WITHOUT_ESCAPES = _hidden("""'[^']*'? | "[^"]*"? | `[^`]*`?""", _MYSQL)

_PROGRAM = re.compile(
    r"\s*(?:CREATE\b(?:(?!\b(?:TABLE|VIEW|INDEX|TYPE)\b)[^(;])*?"
    r"\b(?:PROCEDURE|FUNCTION|TRIGGER|EVENT)\b|BEGIN\s+NOT\b)",
    flags=re.IGNORECASE,
)
_BLOCK = re.compile(
    r"(?<![.@$])\b(?:(?P<end>END)(?:\s+(?P<of>IF|LOOP|WHILE|REPEAT|FOR|CASE))?|BEGIN|CASE)\b(?!\s*\.)",
    flags=re.IGNORECASE,
)


def split(text: str, hidden: re.Pattern[str]) -> list[str]:
    """List the statements in a text; a stored program is one, and comments are none.

    :param hidden: How the DBMS quotes and comments.
    :returns: The text itself, or the statements without what they quote.
    """
    if ";" not in text.rstrip("; \n"):
        return [text]
    statements: list[str] = []
    is_open = False
    for part in _without(text, hidden).split(";"):
        if is_open:
            statements[-1] += f";{part}"
        elif part.strip():
            statements.append(part)
        is_open = bool(statements) and _is_open(statements[-1])
    return [text] if len(statements) < 2 else statements


def _without(text: str, hidden: re.Pattern[str]) -> str:
    """Leave out comments, and of what is quoted what is in the quotes."""
    parts, position = [], 0
    while found := hidden.search(text, position):
        parts += [text[position : found.start()], "''" if found["quoted"] else " "]
        position = found.end()
        if found.lastgroup == "nested":
            position = _end_of_comment(text, position)
    return "".join([*parts, text[position:]])


def _end_of_comment(text: str, position: int) -> int:
    """Find the end of a comment in which there may be others."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _is_open(statement: str) -> bool:
    """Tell whether a statement goes on after a semicolon: of a rule, or of a stored program."""
    depth = statement.count("(") - statement.count(")")
    if _PROGRAM.match(statement):
        for found in _BLOCK.finditer(statement):
            if found["of"] is None or found["of"].upper() == "CASE":
                depth += -1 if found["end"] else 1
    return depth > 0
