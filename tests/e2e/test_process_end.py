"""How the process of a command ends: quickly, unless somebody could tell the difference."""

from __future__ import annotations

import gc

from harness import Project
from harness import QuickProject
from harness import USER_MODEL
import pytest

REPORT = """
import atexit, gc

@atexit.register
def report():
    # Python itself freezes some hundred objects that are immortal
    print("frozen" if gc.get_freeze_count() > 10_000 else "as usual")
"""

CLASS = """
import sys
class Greeter:
    def __init__(self):
        self.itself = self
    def __del__(self, write=sys.stderr.write):
        write("goodbye")

greeter = Greeter()
"""

WITHOUT_REFERENCES = CLASS.replace("class Greeter:", "class Greeter:\n    __slots__ = 'itself'")

THREAD = """
import threading

def work():
    threading.main_thread().join()
    files.append(open("file.txt", "w"))
    files[0].write("text")

files = []
threading.Thread(target=work).start()
"""

STRANGE = """
import io

class Meta(type):
    def __getattr__(cls, name):
        raise RuntimeError(name)

    def __instancecheck__(cls, instance):
        raise RuntimeError

class Strange(metaclass=Meta):
    @property
    def __class__(self):
        raise RuntimeError

    def __del__(self):
        pass

strange = [Strange(), Strange]
detached = io.TextIOWrapper(io.BytesIO())
detached.detach()
"""

WAL = """
import sqlalchemy as sa

@sa.event.listens_for(sa.Engine, "connect")
def use_wal(connection, record):
    connection.execute("PRAGMA journal_mode = WAL")
"""


@pytest.fixture(autouse=True)
def _garbage_as_usual() -> None:
    """Here a command in this process does with garbage what it does in its own."""


def with_models(project: Project, *sources: str) -> Project:
    """Put more into the application's module."""
    project.is_forked = False
    project.write_app("".join([USER_MODEL, *sources]))
    return project


@pytest.mark.parametrize("command", ["heads", "upgrade", "current", "check"])
def test_quick(new_project: Project, command: str) -> None:
    """Where nothing is done in the end, objects are not freed one by one."""
    project = with_models(new_project, REPORT)
    project.db("migrate")
    project.db("upgrade")
    assert "frozen" in project.db(command)


def test_unwritten_file(new_project: Project) -> None:
    """What the application has not written yet to a file is written."""
    source = "file = open('file.txt', 'a'); itself = globals(); file.write('text')\n"
    project = with_models(new_project, REPORT, source)
    assert "as usual" in project.db("heads")
    assert (project.folder / "file.txt").read_text() == "text"


@pytest.mark.parametrize("source", [CLASS, WITHOUT_REFERENCES])
def test_finalizer(new_project: Project, source: str) -> None:
    """An object of the application's does what it does in the end."""
    done = with_models(new_project, REPORT, source).flask("db", "heads")
    assert "as usual" in done.stdout
    assert "goodbye" in done.stderr


def test_thread(new_project: Project) -> None:
    """A file that a thread opens when the command is done is written, too."""
    project = with_models(new_project, REPORT, THREAD)
    assert "as usual" in project.db("heads")
    assert (project.folder / "file.txt").read_text() == "text"


def test_strange_objects(new_project: Project) -> None:
    """What an object says of itself is not asked."""
    done = with_models(new_project, REPORT, STRANGE).flask("db", "heads")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("frozen\n", "as usual\n")


def test_memory_files(new_project: Project) -> None:
    """Files in memory need nothing in the end."""
    project = with_models(new_project, REPORT, "import io; files = io.BytesIO(), io.StringIO()\n")
    assert "frozen" in project.db("heads")


def test_wal(new_project: Project) -> None:
    """The connection is closed, so that SQLite leaves one file, not its WAL beside it."""
    project = with_models(new_project, REPORT, WAL)
    project.db("migrate")
    assert "frozen" in project.db("upgrade")
    assert [path.name for path in project.folder.glob("*.db-*") if "lock" not in path.name] == []


@pytest.mark.parametrize("command", ["nonsense", "current"])
def test_same_process(new_project: Project, command: str) -> None:
    """Where the process goes on, garbage is collected as before."""
    QuickProject(new_project.folder, new_project.url).flask("db", command)
    assert gc.get_freeze_count() < 10_000
