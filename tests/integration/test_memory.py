"""What stays in the memory of a process that runs migrations again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import gc
from pathlib import Path
from types import FunctionType
from types import ModuleType
import typing as t

from harness import Application
from harness import LEGACY_ENV_PY
from harness import Project
import pytest

import flask_dbmigrate

CYCLES = 5
PACKAGES = ("alembic", "flask_dbmigrate", "sqlalchemy")


def cycle() -> None:
    """Do what a test suite does for each of its tests."""
    flask_dbmigrate.upgrade()
    flask_dbmigrate.current()
    flask_dbmigrate.downgrade(revision="base")


def kept() -> Counter[type[t.Any]]:
    """Count the objects that are there, by their type."""
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))
    for kind in set(kinds) - {ModuleType, FunctionType}:
        if str(kind.__module__).partition(".")[0] not in PACKAGES:
            del kinds[kind]
    return kinds


@pytest.mark.parametrize(
    ("url", "legacy"),
    [("sqlite_url", False), ("postgresql_url", False), ("mysql_url", False), ("sqlite_url", True)],
)
def test_nothing_is_kept(
    start: Callable[..., Application],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    url: str,
    legacy: bool,
) -> None:
    """No table, statement, engine, module or function of a run outlives it."""
    address: str = request.getfixturevalue(url)
    start(url=address)
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    create = ["op.create_table('one', sa.Column('id', sa.Integer))", "op.execute('SELECT 1')"]
    Project(tmp_path, address).revision("aaa", upgrade=create, downgrade=["op.drop_table('one')"])
    cycle()
    cycle()
    before = kept()
    for _ in range(CYCLES):
        cycle()
    grown = {kind.__name__: count for kind, count in (kept() - before).items() if count >= CYCLES}
    assert grown == {}
