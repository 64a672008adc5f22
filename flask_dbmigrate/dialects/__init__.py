"""What one DBMS is like. A module is named as SQLAlchemy names the dialect, and has ``FACTS``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from .base import Blocker as Blocker
from .base import Cancellation as Cancellation
from .base import ConnectionProblem as ConnectionProblem
from .base import DialectFacts as DialectFacts
from .base import ExtensionObjects as ExtensionObjects
from .base import Refusal as Refusal
from .connections import closed_when_returned as closed_when_returned
from .connections import closing_even_if_lost as closing_even_if_lost
from .connections import has_own_connections as has_own_connections
from .connections import is_autocommit as is_autocommit
from .connections import OWN as OWN
from .connections import OWN_TEXT as OWN_TEXT
from .connections import separate_connection as separate_connection
from .connections import was_lost as was_lost
from .locks import MigrationLock as MigrationLock
from .locks import UnusableLockError as UnusableLockError
from .statements import beginning_with as beginning_with
from .statements import in_one_line as in_one_line
from .statements import is_definition as is_definition
from .statements import is_look as is_look
from .statements import Kind as Kind


def facts_of(name: str) -> DialectFacts:
    """Look up a dialect; one without a module here gets the facts that hold everywhere.

    :param name: ``engine.dialect.name``; an empty string where it is not known.
    """
    if not name or find_spec(f".{name}", __name__) is None:
        return DialectFacts()
    facts: DialectFacts = import_module(f".{name}", __name__).FACTS
    return facts
