"""Digests of revision scripts: what counts as an edit."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import pytest

from flask_dbmigrate.script.checksum import Checksum

SCRIPT = '''"""add users

Create Date: 2026-01-01
"""
from alembic import op
import sqlalchemy as sa

revision = 'aaa'
down_revision = None


def upgrade():
    """Say why."""
    # one table
    name = 'user'
    op.create_table(f'{name}_ü', sa.Column('id', sa.Integer), sa.Column("ü", sa.String))
    op.execute(f"""
        UPDATE {name} SET a = '{ {"k": 1}["k"] }' -- {{no}}
    """ + f'{name!r:>{10}} ü {f"{name}"}' + 'ü')
    if name:
        op.execute(rb'\\d'.decode())  # done


def downgrade():
    op.drop_table('user_ü')
'''

DIGEST = "91db2c2fad7242d8b6ca43f1cfc702b7f3c650b0951f4ae52b92d849af796cd0"

OTHER_PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))


def checksum(folder: Path, content: str | bytes, name: str = "script.py") -> Checksum:
    """The checksum of a script with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Checksum(str(path))


SAME = {
    "comment": SCRIPT.replace("# one table", "# a table\n\n    # for users"),
    "docstring": SCRIPT.replace("add users", "add all users").replace("Say why.", "Because."),
    "no docstring": "from" + SCRIPT.partition('"""\nfrom')[2],
    "blank lines": SCRIPT.replace("\n\n\n", "\n"),
    "line ends": SCRIPT.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + SCRIPT,
    "quotes": SCRIPT.replace("'aaa'", '"aaa"').replace("('id'", '("""id"""'),
    "broken lines": SCRIPT.replace("sa.Integer), ", "sa.Integer,\n),\n        "),
    "indentation": SCRIPT.replace("        op.execute(rb", "      op.execute(rb"),
    "no newline at the end": SCRIPT.rstrip("\n"),
    "comment at the end": SCRIPT + "# the end",
}


@pytest.mark.parametrize("name", SAME)
def test_what_makes_no_difference(tmp_path: Path, name: str) -> None:
    """Comments, docstrings, layout and quotes change the bytes only."""
    one, other = checksum(tmp_path, SCRIPT), checksum(tmp_path, SAME[name], "other.py")
    assert SAME[name] != SCRIPT
    assert one.of_bytes != other.of_bytes
    assert one.of_tokens == other.of_tokens
    assert not other.differs_from(one.of_bytes, one.of_tokens)


DIFFERENT = {
    "name": SCRIPT.replace("sa.Integer", "sa.BigInteger"),
    "string": SCRIPT.replace("('id'", "('key'"),
    "text in an f-string": SCRIPT.replace("SET a", "SET b"),
    "expression in an f-string": SCRIPT.replace('{f"{name}"}', '{f"{title}"}'),
    "format in an f-string": SCRIPT.replace("{10}", "{11}"),
    "statement": SCRIPT.replace("    # one table\n", "    op.drop_table('user')\n"),
    "block": SCRIPT.replace("        op.execute(rb", "        pass\n    op.execute(rb"),
    "prefix": SCRIPT.replace("rb'", "b'"),
    "no docstring": SCRIPT.replace("'user'\n", "'user', 'docstring'\n"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_makes_a_difference(tmp_path: Path, name: str) -> None:
    """A change of what the script does changes both digests."""
    one, other = checksum(tmp_path, SCRIPT), checksum(tmp_path, DIFFERENT[name], "other.py")
    assert one.of_tokens != other.of_tokens
    assert other.differs_from(one.of_bytes, one.of_tokens)


def test_digest_stays_the_same(tmp_path: Path) -> None:
    """The digest is this one in each release: another would call all old revisions edited."""
    assert checksum(tmp_path, SCRIPT).of_tokens == DIGEST


@pytest.mark.parametrize("python", OTHER_PYTHONS, ids=lambda python: python.parts[-3])
def test_same_in_each_python(tmp_path: Path, python: Path) -> None:
    """The digest does not depend on the Python that makes it, whatever it calls an f-string."""
    checksum(tmp_path, SCRIPT)
    module = sys.modules[Checksum.__module__].__file__
    code = (
        "import runpy, sys; print(runpy.run_path(sys.argv[1])['Checksum'](sys.argv[2]).of_tokens)"
    )
    done = subprocess.run(
        [python, "-c", code, str(module), str(tmp_path / "script.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == DIGEST


def test_encoding_of_the_script_counts(tmp_path: Path) -> None:
    """A script is read in the encoding it names."""
    latin = "# coding: latin-1\n" + SCRIPT
    assert (
        checksum(tmp_path, latin.encode("latin-1")).of_tokens
        == checksum(tmp_path, SCRIPT, "other.py").of_tokens
    )


def test_script_without_source(tmp_path: Path) -> None:
    """Compiled scripts are not compared: they differ from one Python to the next."""
    compiled = checksum(tmp_path, b"\x00\xff", "script.pyc")
    assert compiled.of_tokens == ""
    assert not compiled.differs_from("of bytes", "of tokens")


def test_unchanged_script_is_not_tokenised(tmp_path: Path) -> None:
    """Where the bytes are the same, nothing else is looked at."""
    same = checksum(tmp_path, "'not Python")
    assert not same.differs_from(same.of_bytes, "something")
