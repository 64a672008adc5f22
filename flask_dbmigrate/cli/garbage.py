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
import threading
import typing as t
import weakref

import sqlalchemy as sa


@contextmanager
def out_of_the_way() -> t.Iterator[None]:
    """Look for garbage only among what is new, and have the process end without freeing objects.

    Those that refer to one another stay when the interpreter ends. Where one of them does something
    in the end, as an open file does with what it has not written yet, all are freed.
    """
    watched = _Watched()  # of what is loaded, before there are more objects to list
    gc.freeze()
    try:
        yield
    finally:
        watched.look_at_more()
        gc.unfreeze()
        atexit.unregister(_end_quickly)
        atexit.register(_end_quickly, watched, has_threads=threading.active_count() > 1)


def _end_quickly(watched: _Watched, *, has_threads: bool) -> None:
    with suppress(KeyboardInterrupt):  # the process is ending anyway
        if has_threads:  # which have gone on to make objects
            watched.look_at_more()
        # what is noticed may be garbage itself: the closed connection of a lock, for example
        if not watched.is_noticed() or (gc.collect() and not watched.is_noticed()):
            gc.freeze()


class _Watched:
    """The objects that may do something in the end, not kept alive if they can do without that."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[t.Any]] = []
        self._kept: list[object] = []
        self.look_at_more()
        self._is_hopeless = bool(self._kept)  # whose they are may want to be rid of them
        self._kept.clear()

    def look_at_more(self) -> None:
        """Look at what is not frozen."""
        kinds = _Kinds()
        for thing in [thing for thing in gc.get_objects() if kinds[type(thing)]]:
            try:
                self._references.append(weakref.ref(thing))
            except TypeError:
                self._kept.append(thing)

    def is_noticed(self) -> bool:
        """Tell whether something is left that does something; pools are emptied before."""
        things = [thing for reference in self._references if (thing := reference()) is not None]
        for engine in [thing for thing in things if issubclass(type(thing), sa.Engine)]:
            if not engine.dialect.is_async:  # its event loop is gone
                engine.dispose()
        return (
            self._is_hopeless
            or any(map(_does_something, things))
            # others refer to it than the list, the name and the argument
            or any(sys.getrefcount(thing) > 3 for thing in self._kept)
        )


class _Kinds(dict[type, bool]):
    """Which types have instances that do something in the end, or hold such as engines do."""

    def __missing__(self, kind: type) -> bool:
        bases = type.mro(kind)  # a metaclass may answer hasattr() with anything
        self[kind] = sa.Engine in bases or any("__del__" in vars(base) for base in bases)
        return self[kind]


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
