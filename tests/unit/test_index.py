"""What is kept of many scripts beside their compiled files, and when it counts."""

from __future__ import annotations

from importlib.util import cache_from_source
import json
import os
from pathlib import Path
import py_compile
import subprocess
import sys
import time
import typing as t

from alembic.config import Config
from alembic.script import Script
from alembic.script import ScriptDirectory
import pytest

from flask_dbmigrate import RevisionError
from flask_dbmigrate.script.checksum import Checksum
from flask_dbmigrate.script.directory import checksums_of
from flask_dbmigrate.script.directory import open_directory

COUNT = 120
LAST = f"r{COUNT - 1:04}"
SCRIPT = '"""revision {0}"""\nrevision = {0!r}\ndown_revision = {1!r}\n\n\ndef upgrade(): ...\n'


class Scripts:
    """A migration directory with a chain of scripts, written some time ago."""

    def __init__(self, folder: Path, count: int = COUNT) -> None:
        self.folder = folder / "versions"
        self.folder.mkdir()
        self.index = Path(cache_from_source(str(self.folder / "x.py"))).with_name("flask_dbmigrate")
        parent = None
        for number in range(count):
            self.write(f"r{number:04}", parent)
            parent = f"r{number:04}"

    def write(self, revision: str, parent: str | tuple[str, ...] | None) -> Path:
        """Write a script."""
        path = self.folder / f"{revision}.py"
        path.write_text(SCRIPT.format(revision, parent))
        return path

    def open(self, **settings: str) -> ScriptDirectory:
        """Open the directory as a command does."""
        config = Config()
        for name, value in {"script_location": str(self.folder.parent), **settings}.items():
            config.set_main_option(name, value)
        return open_directory(config)

    def heads(self, **settings: str) -> list[str]:
        """Tell the heads, which is all that most commands ask for."""
        return self.open(**settings).get_heads()

    def read(self) -> list[Script]:
        """Read all scripts."""
        return list(self.open().walk_revisions())

    def seen(self) -> list[tuple[object, ...]]:
        """Tell all that is known of the scripts."""
        return [
            (
                *(script.revision, script.down_revision, script.branch_labels),
                *(script.dependencies, script.doc, script.path),
            )
            for script in self.read()
        ]


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be some time after the scripts were written, and let Python keep what it compiles."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**10)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """A directory with many scripts, of several kinds."""
    scripts = Scripts(tmp_path)
    scripts.write("merge", ("r0003", f"r{COUNT - 1:04}"))
    path = scripts.write("last", "merge")
    path.write_text(path.read_text() + "branch_labels = ('one', 'two')\ndepends_on = ['r0001']\n")
    computed = "revision = 'com' + 'puted'\ndown_revision = 'last'\n"
    (scripts.folder / "computed.py").write_text(computed)
    return scripts


def test_same_with_index(scripts: Scripts) -> None:
    """With an index the scripts are what they are without."""
    without = scripts.seen()
    assert scripts.index.exists()
    assert scripts.seen() == without
    assert scripts.heads() == ["computed"]
    assert {row[0] for row in without} >= {"computed", "last", "r0000"}


def test_checksums_with_index(scripts: Scripts) -> None:
    """The digests are those of the files, read or not, imported or not, and after an edit."""

    def checksums() -> t.Mapping[str, str]:
        directory = scripts.open()
        directory.get_heads()
        return checksums_of(directory)

    without = checksums()
    assert without["last"] == Checksum(str(scripts.folder / "last.py")).of_bytes
    assert without["computed"] == Checksum(str(scripts.folder / "computed.py")).of_bytes
    assert checksums() == without
    (scripts.folder / "computed.py").unlink()
    assert checksums() == {name: without[name] for name in without.keys() - {"computed"}}
    assert scripts.index.exists()
    path = scripts.folder / "last.py"
    path.write_text(path.read_text() + "# more\n")
    for _ in range(2):
        assert checksums()["last"] == Checksum(str(path)).of_bytes != without["last"]


def test_index_is_used(scripts: Scripts) -> None:
    """A script that is the same as before is not read."""
    (scripts.folder / "computed.py").unlink()
    scripts.read()
    path = scripts.index / "scripts.json"
    path.write_text(path.read_text().replace('"last"', '"other"'))
    assert scripts.heads() == ["other"]
    assert scripts.read()[0].revision == "other"


@pytest.mark.parametrize("keeps_time", [False, True])
def test_changed_script(scripts: Scripts, keeps_time: bool) -> None:
    """A script that was changed is read again, even if size and modification time are the same."""
    scripts.read()
    path = scripts.folder / "last.py"
    before = path.stat()
    path.write_text(path.read_text().replace("'last'", "'most'"))
    (scripts.folder / "computed.py").unlink()
    if keeps_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (
            before.st_size,
            before.st_mtime_ns,
        )
    for _ in range(2):
        assert scripts.heads() == ["most"]
        assert scripts.read()[0].revision == "most"


def test_other_scripts(scripts: Scripts) -> None:
    """Scripts that come and go are noticed."""
    scripts.read()
    (scripts.folder / "computed.py").unlink()
    (scripts.folder / "last.py").unlink()
    scripts.write("next", "merge")
    for _ in range(2):
        assert scripts.heads() == ["next"]
        assert [script.revision for script in scripts.read()[:2]] == ["next", "merge"]
    assert "last" not in (scripts.index / "scripts.json").read_text()


def test_fresh_scripts(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written just now is not kept: it could be written again at the same time."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**10)
    scripts.read()
    assert not scripts.index.exists()


@pytest.fixture
def chain(tmp_path: Path) -> Scripts:
    """A directory with many scripts, all of them in the index, and their head."""
    scripts = Scripts(tmp_path)
    assert scripts.heads() == scripts.heads() == [LAST]
    assert f'["{LAST}"]' in (scripts.index / "scripts.json").read_text()
    return scripts


def test_more_heads(chain: Scripts) -> None:
    """A second head, and one less, are noticed."""
    path = chain.write("second", "r0003")
    for _ in range(2):
        assert set(chain.heads()) == {LAST, "second"}
    path.unlink()
    (chain.folder / f"{LAST}.py").unlink()
    for _ in range(2):
        assert chain.heads() == [f"r{COUNT - 2:04}"]


def test_error_stays(chain: Scripts) -> None:
    """Scripts that do not fit together are an error each time."""
    chain.write("lost", "nowhere")
    for _ in range(2):
        with pytest.raises(RevisionError, match="'nowhere', which no script has"):
            chain.open()


def test_second_location(chain: Scripts, tmp_path: Path) -> None:
    """The heads of one folder are not those of two."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "next.py").write_text(SCRIPT.format("next", LAST))
    both = {"version_locations": f"{chain.folder} {tmp_path / 'more'}", "path_separator": "space"}
    for _ in range(2):
        assert chain.heads(**both) == ["next"]
        assert chain.heads() == [LAST]


def test_sourceless(chain: Scripts, tmp_path: Path) -> None:
    """Where compiled scripts count, they are read as Alembic does."""
    source = tmp_path / "next.py"
    source.write_text(SCRIPT.format("next", LAST))
    py_compile.compile(str(source), str(chain.folder / "next.pyc"))
    assert chain.heads(sourceless="true") == ["next"]
    assert chain.heads() == [LAST]


def damaged(text: str) -> t.Iterator[str]:
    """Make an index that nobody has written like this."""
    yield from ("", "{", "[]", "null", "[1]", "[1, 2]", "[1, []]", '[1, {"last.py": 3}]', "\0")
    yield text[: len(text) // 2]
    yield text.replace("[1, {", "[99, {", 1)
    format_, rows, heads = json.loads(text)
    yield json.dumps([format_, rows])
    yield json.dumps([format_, rows, "last"])
    yield json.dumps([format_, {name: row[:-1] for name, row in rows.items()}, heads])
    yield json.dumps([format_, dict.fromkeys(rows), heads])


@pytest.mark.parametrize("kind", ["scripts", "chain"])
def test_damaged_index(request: pytest.FixtureRequest, kind: str) -> None:
    """An index that is not whole is written anew."""
    scripts: Scripts = request.getfixturevalue(kind)
    expected = scripts.seen()
    path = scripts.index / "scripts.json"
    whole = path.read_text()
    for text in damaged(whole):
        path.write_text(text)
        assert scripts.heads() == [expected[0][0]]
        assert scripts.seen() == expected
        assert json.loads(path.read_text()) == json.loads(whole)


@pytest.mark.parametrize("place", [".", "scripts.json", ".gitignore"])
def test_not_writable(scripts: Scripts, place: str) -> None:
    """Where it cannot be written there is none, and nobody is bothered."""
    if place == ".":
        scripts.index.parent.mkdir()
        scripts.index.write_text("a file where the folder would be")
    else:
        (scripts.index / place / "folder").mkdir(parents=True)
    expected = scripts.seen()
    assert scripts.seen() == expected
    assert [path.name for path in scripts.folder.rglob("*.json.*")] == []


def test_no_bytecode(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python is told to write nothing, nothing is written."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    scripts.read()
    assert not scripts.index.exists()


def test_elsewhere(scripts: Scripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where compiled files are kept elsewhere, so is the index."""
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    scripts.read()
    assert not scripts.index.exists()
    assert len(list((tmp_path / "elsewhere").rglob("scripts.json"))) == 1


def test_few_scripts(tmp_path: Path) -> None:
    """Few scripts are read as fast."""
    scripts = Scripts(tmp_path, 20)
    scripts.read()
    assert not scripts.index.exists()


def test_never_in_git(scripts: Scripts) -> None:
    """Git does not see it, whatever the project ignores."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "core.excludesFile=", *arguments],
            cwd=scripts.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    git("init", "--quiet")
    scripts.read()
    assert (scripts.index / "scripts.json").exists()
    listed = git("status", "--porcelain", "--untracked-files=all")
    assert "last.py" in listed
    assert "flask_dbmigrate" not in listed
