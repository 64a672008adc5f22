"""What one DBMS is like. A module is named as SQLAlchemy names the dialect, and has ``FACTS``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from .base import ConnectionProblem as ConnectionProblem
from .base import DialectFacts as DialectFacts
from .base import ExtensionObjects as ExtensionObjects
from .locks import MigrationLock as MigrationLock


def facts_of(name: str) -> DialectFacts:
    """Look up a dialect; one without a module here gets the facts that hold everywhere.

    :param name: ``engine.dialect.name``; an empty string where it is not known.
    """
    if not name or find_spec(f".{name}", __name__) is None:
        return DialectFacts()
    facts: DialectFacts = import_module(f".{name}", __name__).FACTS
    return facts
