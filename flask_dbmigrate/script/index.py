"""Keeps what was read of the scripts in a folder, beside what Python compiles, for later commands.

An entry counts as long as its script has the same size and times, and nothing depends on it.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import cache_from_source
import json
import os
from pathlib import Path
import sys
import threading
import time
import types
import typing as t

from .checksum import digest
from .identifiers import Identifiers
from .identifiers import read_identifiers

_FORMAT = 3
"""To be raised whenever scripts are read or checked differently."""

_WORTHWHILE = 100
"""For how many scripts an index is kept; fewer are read as fast."""

_SETTLED = 2 * 10**9
"""How long a script must have been the same, in nanoseconds, before it is entered.

A file system may give one time to several changes; FAT's have a resolution of two seconds.
"""

_FIELDS = len(Identifiers._fields) - 1
"""How many identifiers are kept: not the docstring, which few commands show."""

_Row = list[t.Any]
"""Size, time of modification, time of change of a script, what it says, and its digest."""


class Index:
    """What is known of the scripts in a folder.

    :param folder: The folder.
    :param entries: The scripts in it.
    """

    def __init__(self, folder: str, entries: list[os.DirEntry[str]]) -> None:
        self.entries = entries
        compiled = Path(cache_from_source(f"{folder}/_.py")).parent
        self._path = compiled / "flask_dbmigrate" / "scripts.json"
        self._known, self._heads = _load(self._path)
        self._found: dict[str, _Row] = {}
        self._latest = time.time_ns() - _SETTLED
        self.checksums: dict[str, str] = {}
        """The digests of the scripts that were read, by their revisions."""

    def read(self, entry: os.DirEntry[str]) -> Identifiers | None:
        """Tell what a script of the folder says of its revision; None where only Python can tell.

        :raises OSError: if it cannot be read.
        """
        key, row = _key(entry), self._known.get(entry.name)
        if row is None or row[:3] != key:
            with open(entry.path, "rb", buffering=0) as file:
                content = file.read()
            identifiers = read_identifiers(content)
            if identifiers is None:
                return None
            row = [*key, *identifiers[:_FIELDS], digest(content)]
        if max(key[1:]) < self._latest:
            self._found[entry.name] = row
        self.checksums[row[3]] = row[-1]
        return Identifiers(*row[3:-1])

    @property
    def heads(self) -> list[str] | None:
        """The heads that were found when the scripts were what they are; None if they were not."""
        if self._heads is None or len(self._known) != len(self.entries):
            return None
        known = self._known.get
        if any(known(entry.name, [])[:3] != _key(entry) for entry in self.entries):
            return None
        self.checksums = {row[3]: row[-1] for row in self._known.values()}
        return self._heads

    def keep(self, heads: list[str] | None) -> None:
        """Write what was read, if that is worthwhile and possible.

        :param heads: The heads, if the scripts of this folder are all there are.
        """
        if len(self._found) != len(self.entries):
            heads = None
        is_news = (self._found, heads) != (self._known, self._heads)
        if is_news and len(self._found) >= _WORTHWHILE and not sys.dont_write_bytecode:
            with suppress(OSError):
                _save(self._path, [_FORMAT, self._found, heads])


def known_heads(folders: list[Index]) -> tuple[str, ...] | None:
    """Tell the heads of a directory whose scripts have not changed since they were found."""
    heads = folders[0].heads if len(folders) == 1 else None
    return None if heads is None else tuple(heads)


def keep_heads(folders: list[Index], heads: list[str]) -> None:
    """Keep what was read of a directory whose scripts fit together."""
    for index in folders:
        index.keep(heads if len(folders) == 1 else None)


def _key(entry: os.DirEntry[str]) -> list[int]:
    stat = entry.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _load(path: Path) -> tuple[dict[str, _Row], list[str] | None]:
    try:
        format_, rows, heads = json.loads(path.read_bytes())
        is_whole = (
            format_ == _FORMAT
            and {len(row) for row in rows.values()} == {3 + _FIELDS + 1}
            and isinstance(heads, list | types.NoneType)
        )
    except (OSError, ValueError, TypeError, AttributeError):  # nobody has written it like this
        return {}, None
    return (rows, heads) if is_whole else ({}, None)


def _save(path: Path, content: list[t.Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / ".gitignore").write_text("*\n")
    new = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    try:
        new.write_text(json.dumps(content), encoding="ascii")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
