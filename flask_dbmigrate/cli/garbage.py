"""Keeps garbage collection out of a command's way: it takes a quarter of the time of a short one.

Most of that is the end of the process, which frees each object.
"""

from __future__ import annotations

import atexit
from contextlib import contextmanager
from contextlib import suppress
import gc
import io
import sys
import typing as t

import sqlalchemy as sa


@contextmanager
def leaving_alone_what_is_loaded() -> t.Iterator[None]:
    """Look for garbage only among what is new: the application and its libraries stay."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def leave_memory_to_the_system() -> None:
    """Have the process end without freeing each object, where nobody can tell the difference.

    Objects that refer to one another stay when the interpreter ends. Where one of them does
    something in the end, as an open file does with what it has not written yet, all are freed.
    """
    atexit.unregister(_freeze)
    atexit.register(_freeze)


class _Kinds(dict[type, bool]):
    """Which types have instances that do something in the end, or hold such as engines do."""

    def __missing__(self, kind: type) -> bool:
        bases = type.mro(kind)  # a metaclass may answer hasattr() with anything
        self[kind] = sa.Engine in bases or any("__del__" in vars(base) for base in bases)
        return self[kind]


def _freeze() -> None:
    with suppress(KeyboardInterrupt):  # the process is ending anyway
        # what is noticed may be garbage itself: the closed connection of a lock, for example
        if not _is_noticed() or (gc.collect() and not _is_noticed()):
            gc.freeze()


def _is_noticed() -> bool:
    """Tell whether something is left that does something in the end; pools are emptied before."""
    kinds = _Kinds()
    things = [thing for thing in gc.get_objects() if kinds[type(thing)]]
    for engine in [thing for thing in things if issubclass(type(thing), sa.Engine)]:
        if not engine.dialect.is_async:  # its event loop is gone
            engine.dispose()
    while things:
        thing = things.pop()
        is_alive = sys.getrefcount(thing) > 2  # the name and the argument
        if is_alive and _does_something(thing):
            return True
    return False


def _does_something(thing: t.Any) -> bool:
    kind = type(thing)
    if issubclass(kind, (sa.Engine, io.BytesIO, io.StringIO)):
        return False
    if not issubclass(kind, io.IOBase):
        return True
    try:
        # the interpreter itself flushes the standard streams
        return not thing.closed and thing.fileno() > 2
    except (OSError, ValueError):  # there is none, or it was detached
        return True
