"""Digests of a revision script, by which a later edit is noticed."""

from __future__ import annotations

from functools import cached_property
import hashlib
import io
from pathlib import Path
import re
import sys
import token as tokens
import tokenize
import typing as t


class Checksum:
    """The two digests of one script; each is made when it is first asked for.

    :param path: The script.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    @cached_property
    def _content(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def of_bytes(self) -> str:
        """The digest of the file as it is."""
        return digest(self._content)

    @cached_property
    def of_tokens(self) -> str:
        """The digest of what the script does, the same in each version of Python.

        Comments, docstrings, layout and the kind of quotes make no difference.
        Empty for a script without source (``sourceless = true``); that of its bytes for one that
        is no Python any more.
        """
        if self._path.suffix != ".py":
            return ""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self._content).readline)
            source = io.TextIOWrapper(io.BytesIO(self._content), encoding).read()
            return digest("\0".join(_significant(source)).encode())
        except (SyntaxError, tokenize.TokenError, UnicodeError, SystemError):  # null bytes: 3.12
            return self.of_bytes

    def differs_from(self, of_bytes: str, of_tokens: str) -> bool:
        """Tell whether the script does something else than the one with these digests."""
        if of_bytes == self.of_bytes or not of_tokens:
            return False
        return self.of_tokens not in ("", of_tokens)


def digest(content: bytes) -> str:
    """Make the digest of a script's bytes."""
    return hashlib.sha256(content).hexdigest()


class _Token(t.NamedTuple):
    kind: int
    text: str


_LAYOUT = {tokens.COMMENT, tokens.NL, tokens.ENCODING, tokens.ENDMARKER}
_BLOCKS = {tokens.NEWLINE, tokens.INDENT, tokens.DEDENT}  # their text is layout
_QUOTES = re.compile(r"(?P<prefix>\w*)(?P<quote>'''|\"\"\"|'|\")(?P<body>.*)(?P=quote)", re.DOTALL)


def _significant(source: str) -> t.Iterator[str]:
    """List what counts of a source."""
    statement: list[_Token] = []
    for token in _tokens(source):
        statement.append(token)
        if token.kind in _BLOCKS:
            if [part.kind for part in statement] != [tokens.STRING, tokens.NEWLINE]:
                yield from map(_text, _without_last_commas(statement))
            statement = []
    yield from map(_text, statement)


def _tokens(source: str) -> t.Iterator[_Token]:
    """Split a source into tokens; an f-string is one token, as it was before Python 3.12."""
    lines = io.StringIO(source).readlines()
    start, depth = (0, 0), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if sys.version_info >= (3, 12) and token.type == tokens.FSTRING_START:
            start, depth = (token.start if depth == 0 else start), depth + 1
        elif sys.version_info >= (3, 12) and token.type == tokens.FSTRING_END:
            depth -= 1
            if depth == 0:
                yield _Token(tokens.STRING, _between(lines, start, token.end))
        elif depth == 0 and token.type not in _LAYOUT:
            yield _Token(token.type, token.string)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Cut a text out of lines; positions are a line, from 1, and a column, from 0."""
    found = lines[start[0] - 1 : end[0]]
    found[-1] = found[-1][: end[1]]
    found[0] = found[0][start[1] :]
    return "".join(found)


def _without_last_commas(statement: list[_Token]) -> t.Iterator[_Token]:
    """Leave out the commas that a formatter adds where it breaks a line."""
    for token, following in zip(statement, [*statement[1:], None], strict=True):
        is_last = following is not None and following.text in (")", "]", "}")
        if not (is_last and token.text == ","):
            yield token


def _text(token: _Token) -> str:
    if token.kind in _BLOCKS:
        return tokens.tok_name[token.kind]
    if token.kind == tokens.STRING and (match := _QUOTES.fullmatch(token.text)):
        return f"{match['prefix'].lower()}'{match['body']}'"
    return token.text
