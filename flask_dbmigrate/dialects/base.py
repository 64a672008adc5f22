"""The facts that are asked of every dialect, and the answers that hold everywhere."""

from __future__ import annotations

import enum


class ConnectionProblem(enum.Enum):
    """Why a connection could not be made."""

    UNREACHABLE = "unreachable"
    CREDENTIALS = "credentials"
    NO_DATABASE = "no database"


class DialectFacts:
    """What one DBMS is like.

    Errors are the driver's own (``DBAPIError.orig``).
    """

    remedy = "Start it"
    """What helps when a database cannot be reached."""

    leftovers = "may have stayed"
    """What becomes of a revision that fails half-way, where DDL is not transactional."""

    creates_schemas = True
    """Whether ``CREATE SCHEMA`` is known."""

    def connection_problem(self, error: BaseException) -> ConnectionProblem:
        """Tell why a connection could not be made."""
        return ConnectionProblem.UNREACHABLE

    def message(self, error: BaseException) -> str:
        """Extract what the DBMS itself said, in one line."""
        return " ".join(str(error).split())
