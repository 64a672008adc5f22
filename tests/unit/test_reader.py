"""What is read of a revision script without importing it, and when it is imported."""

from __future__ import annotations

from pathlib import Path
import random
import typing as t

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import Revision
from alembic.script.revision import RevisionError as AlembicRevisionError
from alembic.script.revision import RevisionMap
from alembic.util import CommandError
import pytest

from flask_dbmigrate import _alembic
from flask_dbmigrate import RevisionError
from flask_dbmigrate import ScriptError
from flask_dbmigrate.script.directory import open_directory
from flask_dbmigrate.script.identifiers import as_tuple
from flask_dbmigrate.script.identifiers import read_identifiers

FUNCTIONS = "\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"

TEMPLATE = '''"""add books

Revision ID: bbbb
Revises: aaaa
Create Date: 2026-11-21 12:00:00.000000

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = 'bbbb'
down_revision: Union[str, Sequence[str], None] = 'aaaa'
branch_labels: Union[str, Sequence[str], None] = ('shop', 'books')
depends_on: Union[str, Sequence[str], None] = None
'''

SHORT = "revision = 'bbbb'\ndown_revision = 'aaaa'\n"

READ = {
    "template": TEMPLATE,
    "template with CRLF": TEMPLATE.replace("\n", "\r\n"),
    "template with BOM": "\ufeff" + TEMPLATE,
    "short": SHORT,
    "base": "revision = 'bbbb'\ndown_revision = None\n",
    "merge": "revision = 'bbbb'\ndown_revision = ('aaaa', \"cccc\")\n",
    "merge of several lines": "revision = 'bbbb'\ndown_revision = (\n    'aaaa',\n    'cccc',\n)\n",
    "list": "revision = 'bbbb'\ndown_revision = ['aaaa']\n",
    "dependency": SHORT + "depends_on = ('dddd',)\n",
    "order": "down_revision = 'aaaa'\nrevision = 'bbbb'\n",
    "twice": "revision = 'xxxx'\n" + SHORT,
    "again below": SHORT.replace("bbbb", "xxxx") + "def f():\n    pass\nrevision = 'bbbb'\n",
    "indented docstring": "'''words\n\nrevision = 'xxxx'\n'''\n" + SHORT,
    "docstring that looks like a script": f'"""{SHORT.replace("bbbb", "xxxx")}"""\n' + SHORT,
    "text that looks like a script": f'text = """\n{SHORT.replace("bbbb", "xxxx")}"""\n' + SHORT,
    "comment behind the docstring": '"""one"""  # words\n'
    + SHORT.replace("bbbb", "xxxx")
    + f'text = """\n{SHORT}def f():\n"""\n'.replace("bbbb", "yyyy")
    + SHORT,
    "string with a function": '"""one"""  # words\n'
    + SHORT
    + f'text = """\n{SHORT}def f():\n"""\n'.replace("bbbb", "xxxx"),
    "two docstrings": f'"""one"""\n"""\n{SHORT.replace("bbbb", "xxxx")}"""\n' + SHORT,
    "escapes": '"""caf\\xe9"""\nrevision = "bb\\x62b"\ndown_revision = "aaaa"\n',
    "coding": "# -*- coding: latin-1 -*-\n" + SHORT,
    "comments": "# words\n" + SHORT.replace("\n", "  # words\n"),
    "imports of several lines": "from sqlalchemy import (\n    Column,\n)\n" + SHORT,
    "data": "ROWS = [{'id': 1}]\n" + SHORT,
    "local variable": SHORT + "def f():\n    revision = 'xxxx'\n",
    "no functions": SHORT,
}
"""Scripts whose identifiers are read."""

COMPUTED = {
    "call": "revision = str('bbbb')\ndown_revision = 'aaaa'\n",
    "condition": "if True:\n    revision = 'bbbb'\ndown_revision = 'aaaa'\n",
    "loop": SHORT + "for revision in ['bbbb']:\n    pass\n",
    "unpacking": "revision, down_revision = 'bbbb', 'aaaa'\n",
    "import": "from os import sep as revision\n" + SHORT,
    "submodule": "import os.path as revision\n" + SHORT,
    "error": SHORT + "try:\n    pass\nexcept ValueError as revision:\n    pass\n",
    "pattern": SHORT + "match 1:\n    case revision:\n        pass\n",
    "function of asyncio": SHORT + "async def revision():\n    pass\n",
    "everything": "from os.path import *\n" + SHORT,
    "globals": SHORT + "globals()['revision'] = 'bbbb'\n",
    "walrus": SHORT + "(revision := 'bbbb')\n",
    "function": "down_revision = 'aaaa'\ndef revision():\n    pass\n",
    "nothing": "",
    "no parent": "revision = 'bbbb'\n",
    "syntax": "revision = (\n",
    "bytes": "revision = b'bbbb'\ndown_revision = 'aaaa'\n",
}
"""Scripts that only Python understands."""


def write(folder: Path, name: str, source: str) -> Path:
    """Write a script into a directory."""
    path = folder / "versions" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(source.encode())
    return path


@pytest.mark.parametrize("functions", ["", FUNCTIONS])
@pytest.mark.parametrize("name", READ)
def test_read_as_imported(tmp_path: Path, name: str, functions: str) -> None:
    """What is read is what the script says when it is imported."""
    path = write(tmp_path, "bbbb", READ[name] + functions)
    found = read_identifiers(path.read_bytes())
    module = _alembic.import_script(str(path))
    assert found is not None
    assert (found.revision, found.down_revision) == (module.revision, module.down_revision)
    assert found.branch_labels == getattr(module, "branch_labels", None)
    assert found.depends_on == getattr(module, "depends_on", None)
    assert (found.doc or "").strip() == (module.__doc__ or "").strip()


@pytest.mark.parametrize("name", COMPUTED)
def test_computed(name: str) -> None:
    """What is computed is not guessed."""
    assert read_identifiers((COMPUTED[name] + FUNCTIONS).encode()) is None


def opened(folder: Path) -> ScriptDirectory:
    """Open a directory."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    return open_directory(config)


def test_nothing_is_imported(tmp_path: Path) -> None:
    """A directory is opened without importing a script; its module is imported when it is used."""
    write(tmp_path, "aaaa", "revision = 'aaaa'\ndown_revision = None\nraise SystemExit\n")
    write(tmp_path, "bbbb", TEMPLATE + FUNCTIONS)
    directory = opened(tmp_path)
    assert directory.get_heads() == ["bbbb"]
    script = directory.get_revision("bbbb")
    assert (script.doc, script.branch_labels) == ("add books", {"shop", "books"})
    assert script.module.upgrade() is None
    with pytest.raises(ScriptError, match="SystemExit"):
        _ = directory.get_revision("aaaa").module


def test_computed_revision(tmp_path: Path) -> None:
    """A script that computes its identifiers is imported for them."""
    write(tmp_path, "aaaa", "revision = 'a' * 4\ndown_revision = None\n")
    assert opened(tmp_path).get_heads() == ["aaaa"]


def test_error_when_it_is_imported(tmp_path: Path) -> None:
    """A script that cannot be imported is named, with the line, when it is needed."""
    path = write(tmp_path, "aaaa", "revision = 'aaaa'\ndown_revision = None\nimport missing_one\n")
    with pytest.raises(ScriptError, match="No module named 'missing_one'") as caught:
        _ = opened(tmp_path).get_revision("aaaa").module
    assert (caught.value.path, caught.value.line) == (str(path), 3)


def test_no_folder(tmp_path: Path) -> None:
    """A folder of scripts that cannot be read is named."""
    (tmp_path / "versions").write_text("")
    with pytest.raises(ScriptError, match=r"versions' cannot be loaded: NotADirectoryError"):
        opened(tmp_path)


def test_same_files_as_alembic(tmp_path: Path) -> None:
    """The files are those that Alembic takes for scripts, also below folders."""
    for name in ("aaaa", ".#bbbb", "__init__", "cccc.txt", "deep/dddd", "__pycache__/eeee"):
        path = tmp_path / "versions" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"revision = {path.stem!r}\ndown_revision = None\n")
    (tmp_path / "versions/folder.py").mkdir()
    (tmp_path / "elsewhere.py").write_text("revision = 'ffff'\ndown_revision = None\n")
    (tmp_path / "versions/link.py").symlink_to(tmp_path / "elsewhere.py")
    for recursive in ("false", "true"):
        config = Config()
        config.set_main_option("script_location", str(tmp_path))
        config.set_main_option("recursive_version_locations", recursive)
        expected = [(script.revision, script.path) for script in alembics(config)]
        found = [
            (script.revision, script.path) for script in open_directory(config).walk_revisions()
        ]
        assert sorted(found) == sorted(expected)


def alembics(config: Config) -> t.Iterable[t.Any]:
    """The scripts that Alembic finds."""
    return ScriptDirectory.from_config(config).walk_revisions()


def random_graph(seed: int) -> list[Revision]:
    """Make revisions with branches, merges, labels and dependencies."""
    numbers = random.Random(seed)
    revisions: list[Revision] = []
    for number in range(numbers.randint(1, 25)):
        names = [revision.revision for revision in revisions]
        parents = numbers.sample(names, min(len(names), numbers.choice([0, 1, 1, 1, 1, 2])))
        others = sorted(set(names) - set(parents))
        depends_on = numbers.sample(others, min(len(others), numbers.choice([0, 0, 0, 1])))
        labels = (f"label{number}",) if numbers.random() < 0.1 else ()
        revisions.append(Revision(f"r{number:03}", tuple(parents), tuple(depends_on), labels))
    numbers.shuffle(revisions)
    return revisions


@pytest.mark.parametrize("seed", range(100))
def test_current_scripts(seed: int) -> None:
    """The linear search finds what Alembic's finds, on random graphs."""
    revisions = RevisionMap(lambda: random_graph(seed))
    numbers = random.Random(seed)
    names = sorted(name for name in revisions._revision_map if name and name.startswith("r"))
    for _ in range(10):
        heads = tuple(numbers.sample(names, min(len(names), numbers.randint(0, 3))))
        found = {script.revision for script in _alembic.current_scripts(revisions, heads)}
        expected = {
            script.revision
            for script in revisions._get_all_current(heads)
            if isinstance(script, Revision)
        }
        assert found == expected


@pytest.mark.parametrize("seed", range(50))
def test_order_of_heads(tmp_path: Path, seed: int) -> None:
    """Heads and bases come in Alembic's order."""
    for revision in random_graph(seed):
        source = f"revision = {revision.revision!r}\ndown_revision = {revision.down_revision!r}\n"
        write(tmp_path, revision.revision, source + f"depends_on = {revision.dependencies!r}\n")
    expected = ScriptDirectory(str(tmp_path))
    directory = opened(tmp_path)
    assert directory.get_heads() == expected.get_heads()
    assert set(directory.get_bases()) == set(expected.get_bases())


@pytest.mark.parametrize("seed", range(50))
def test_circles(tmp_path: Path, seed: int) -> None:
    """A circle is an error where it is one for Alembic."""
    graph = random_graph(seed)
    numbers = random.Random(seed)
    for revision in graph:
        down = as_tuple(revision.down_revision)
        if numbers.random() < 0.1:
            down = (*down, *(found.revision for found in numbers.sample(graph, 1)))
        source = f"revision = {revision.revision!r}\ndown_revision = {down or None!r}\n"
        write(tmp_path, revision.revision, source + f"depends_on = {revision.dependencies!r}\n")
    try:
        expected = ScriptDirectory(str(tmp_path)).get_heads()
    except (AlembicRevisionError, CommandError):
        with pytest.raises(RevisionError):
            opened(tmp_path)
    else:
        assert opened(tmp_path).get_heads() == expected
