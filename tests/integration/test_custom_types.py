"""Column types of the application: ``migrate`` writes what can be run, or says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
import importlib
from pathlib import Path
import sys
import types
import typing as t

from harness import Application
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError

TYPES = """
import enum
import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator
from sqlalchemy.types import UserDefinedType

class Role(enum.IntEnum):
    user = 0

class IntEnum(TypeDecorator):
    impl = sa.Integer
    cache_ok = True
    def __init__(self, kind):
        super().__init__()
        self._kind = kind

class Named(IntEnum):
    def __repr__(self):
        return f"Named({self._kind.__name__})"

class Good(IntEnum):
    def __repr__(self):
        return f"Good({__name__}.{self._kind.__name__})"

class Odd(IntEnum):
    __repr__ = object.__repr__

class Outer:
    class Inner(TypeDecorator):
        impl = sa.String(20)
        cache_ok = True
    class Vector(UserDefinedType):
        cache_ok = True
        def __init__(self, dim=None):
            self.dim = dim
        def get_col_spec(self, **options):
            return "TEXT"

class Plain(TypeDecorator):
    impl = sa.Text
    cache_ok = True

def local():
    class Local(TypeDecorator):
        impl = sa.Text
        cache_ok = True
    return Local()
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[types.ModuleType]:
    """A module with column types, as an application may have it."""
    (tmp_path / "shop_types.py").write_text(TYPES)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop_types")
    del sys.modules["shop_types"]


RIGHT: dict[str, Callable[[t.Any], t.Any]] = {
    "nested": lambda shop: shop.Outer.Inner(),
    "arguments": lambda shop: shop.Outer.Vector(3),
    "repr": lambda shop: shop.Good(shop.Role),
    "enum": lambda shop: sa.Enum(shop.Role),
    "variant": lambda shop: sa.JSON().with_variant(shop.Outer.Inner(), "mysql"),
    "custom variant": lambda shop: shop.Plain().with_variant(sa.Text(), "mysql"),
    "without arguments": lambda shop: shop.Plain(),
}

WRONG: dict[str, tuple[Callable[[t.Any], t.Any], str, str]] = {
    "arguments": (
        lambda shop: shop.IntEnum(shop.Role),
        "shop_types.IntEnum()",
        "TypeError: IntEnum.__init__() missing 1 required positional argument: 'kind'",
    ),
    "variant": (
        lambda shop: sa.Integer().with_variant(shop.IntEnum(shop.Role), "mysql"),
        "shop_types.IntEnum()",
        "TypeError: IntEnum.__init__() missing 1 required positional argument: 'kind'",
    ),
    "name that is not imported": (
        lambda shop: shop.Named(shop.Role),
        "Role",
        "NameError: name 'Role' is not defined",
    ),
    "local class": (
        lambda shop: shop.local(),
        "shop_types.Local()",
        "AttributeError: module 'shop_types' has no attribute 'Local'",
    ),
    "variant of a nested class": (
        lambda shop: shop.Outer.Inner().with_variant(sa.Text(), "mysql"),
        "shop_types.Inner(length=20)",
        "AttributeError: module 'shop_types' has no attribute 'Inner'",
    ),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_type_that_can_be_written(
    start: Callable[..., Application], shop: types.ModuleType, kind: str
) -> None:
    """A type whose ``repr()`` can make it is written so that the revision runs."""
    application = start()
    application.db.Table("thing", sa.Column("it", RIGHT[kind](shop)))
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    flask_dbmigrate.downgrade()


@pytest.mark.parametrize("kind", WRONG)
def test_type_that_cannot_be_written(
    start: Callable[..., Application], shop: types.ModuleType, kind: str
) -> None:
    """Another one is named with its column, the reason and the remedy, and no script is there."""
    application = start()
    make, expression, reason = WRONG[kind]
    application.db.Table("thing", sa.Column("it", make(shop)))
    with pytest.raises(ConfigurationError) as caught:
        flask_dbmigrate.migrate()
    assert caught.value.message == (
        f"Column 'thing.it' would be written as '{expression}', which fails: {reason}."
    )
    assert "'__repr__'" in caught.value.hint
    assert "'render_item'" in caught.value.hint
    assert list(Path("migrations").glob("versions/*.*")) == []


def test_type_without_a_repr(start: Callable[..., Application], shop: t.Any) -> None:
    """What Python shows of an object is no Python: the line is named, not the template."""
    application = start()
    application.db.Table("thing", sa.Column("it", shop.Odd(shop.Role)))
    with pytest.raises(
        ConfigurationError, match=r"'it', .*<shop_types.Odd .* SyntaxError"
    ) as caught:
        flask_dbmigrate.migrate()
    assert "'__repr__'" in caught.value.hint


def test_array_of_a_type(
    start: Callable[..., Application], shop: t.Any, postgresql_url: str
) -> None:
    """The type of an array's items counts, too."""
    application = start(url=postgresql_url)
    application.db.Table("thing", sa.Column("a", postgresql.ARRAY(shop.Outer.Inner())))
    written = flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    flask_dbmigrate.check()
    source = Path(written.revisions[0].path).read_text()
    assert "postgresql.ARRAY(shop_types.Outer.Inner(" in source
    application.db.Table("other", sa.Column("b", sa.ARRAY(shop.IntEnum(shop.Role))))
    with pytest.raises(ConfigurationError, match=r"Column 'other\.b' .*'shop_types\.IntEnum\(\)'"):
        flask_dbmigrate.migrate()


def test_change_of_a_type(start: Callable[..., Application], shop: t.Any) -> None:
    """A column that changes, in a batch or not, is named like a new one."""
    application = start(render_as_batch=True)
    flask_dbmigrate.migrate()
    flask_dbmigrate.upgrade()
    table = application.db.metadata.tables["user"]
    table.append_column(sa.Column("name", shop.IntEnum(shop.Role)), replace_existing=True)
    with pytest.raises(
        ConfigurationError, match=r"Column 'user\.name' .*'shop_types\.IntEnum\(\)'"
    ):
        flask_dbmigrate.migrate()
    table.append_column(sa.Column("name", sa.String(128)), replace_existing=True)
    table.append_column(sa.Column("more", shop.IntEnum(shop.Role)))
    with pytest.raises(
        ConfigurationError, match=r"Column 'user\.more' .*'shop_types\.IntEnum\(\)'"
    ):
        flask_dbmigrate.migrate()


def test_type_of_the_program_itself(start: Callable[..., Application], shop: t.Any) -> None:
    """A type in the program that is run cannot be imported by a script."""
    application = start()
    shop.Plain.__module__ = "__main__"
    application.db.Table("thing", sa.Column("it", shop.Plain()))
    with pytest.raises(ConfigurationError, match=r"Column 'thing\.it' .*no script can import"):
        flask_dbmigrate.migrate()


def test_module_that_takes_the_name_of_another(
    start: Callable[..., Application], shop: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of types that is called as the script calls SQLAlchemy is found out."""
    application = start()
    monkeypatch.setitem(sys.modules, "sa", shop)
    shop.Plain.__module__ = "sa"
    application.db.Table("thing", sa.Column("it", shop.Plain()))
    with pytest.raises(ConfigurationError, match=r"would be written as 'sa\.Column\("):
        flask_dbmigrate.migrate()
