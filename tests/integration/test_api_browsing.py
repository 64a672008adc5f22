"""``show``, ``history``, ``heads``, ``branches`` and ``current`` from Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import typing as t

from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import CheckFailedError
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import CurrentResult
from flask_dbmigrate import NewDirectory
from flask_dbmigrate import Revision
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError
from flask_dbmigrate import Revisions
from flask_dbmigrate import Templates

HISTORY = [
    "bbb, ccc -> ddd (side) (head) (mergepoint), revision ddd",
    "aaa -> bbb, revision bbb",
    "aaa -> ccc (side), revision ccc",
    "<base> -> aaa (branchpoint), revision aaa",
]


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """The folder of an application with a branch point and a merge, its context pushed."""
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, sqlite_url)
        project.revision("aaa")
        project.revision("bbb", "aaa")
        project.revision("ccc", "aaa", extra="branch_labels = 'side'")
        project.revision("ddd", ("bbb", "ccc"))
        yield project


def names(revisions: Revisions) -> list[str]:
    """The identifiers, in their order."""
    return [found.revision for found in revisions]


def test_show_returns_all_facts(ready: Project) -> None:
    """``show()`` returns the head with its parents, marks and description."""
    found = flask_dbmigrate.show()
    path = str(ready.folder / "migrations" / "versions" / "ddd_.py")
    assert found == Revisions(
        (
            Revision(
                revision="ddd",
                down_revisions=("bbb", "ccc"),
                next_revisions=(),
                branch_labels=("side",),
                depends_on=(),
                message="revision ddd",
                description="revision ddd",
                path=path,
                is_head=True,
            ),
        )
    )
    assert str(found) == (
        "Rev: ddd (head) (mergepoint)\nMerges: bbb, ccc\nBranch names: side\n"
        f"Path: {path}\n\n    revision ddd\n"
    )


def test_show_of_a_branch_point(ready: Project) -> None:
    """``show()`` names what a branch point branches into."""
    path = ready.folder / "migrations" / "versions" / "aaa_.py"
    assert str(flask_dbmigrate.show("migrations", "aaa")) == (
        f"Rev: aaa (branchpoint)\nParent: <base>\nBranches into: bbb, ccc\nPath: {path}\n\n"
        "    revision aaa\n"
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["bbb", "aaa"], ["bbb", "aaa"]),
        (("aaa", "aaa"), ["aaa"]),
        ("heads", ["ddd"]),
        ("current", ["bbb"]),
        ("side", ["ccc"]),
        ("ddd", ["ddd"]),
    ],
)
def test_show_of_several(ready: Project, asked: str | list[str], expected: list[str]) -> None:
    """``show()`` takes one revision or several, once each, symbols and labels too."""
    flask_dbmigrate.upgrade(revision="bbb")
    assert names(flask_dbmigrate.show(revision=asked)) == expected


def test_history_lists_newest_first(ready: Project) -> None:
    """``history()`` lists all revisions, and ``str()`` is a line for each."""
    found = flask_dbmigrate.history()
    assert str(found).splitlines() == HISTORY
    assert len(found) == 4


@pytest.mark.parametrize(
    ("rev_range", "expected"),
    [
        ("aaa:bbb", ["bbb", "aaa"]),
        (":bbb", ["bbb", "aaa"]),
        ("ddd:", ["ddd"]),
        ("base:+1", ["aaa"]),
        ("current:", ["ddd", "bbb"]),
        (":current", ["bbb", "aaa"]),
    ],
)
def test_ranges_of_history(ready: Project, rev_range: str, expected: list[str]) -> None:
    """``history()`` takes ranges with open, relative and current ends."""
    flask_dbmigrate.upgrade(revision="bbb")
    assert names(flask_dbmigrate.history("migrations", rev_range, False, False)) == expected


def test_history_with_current(ready: Project) -> None:
    """``history(indicate_current=True)`` marks what the database is at."""
    flask_dbmigrate.upgrade(revision="bbb")
    found = flask_dbmigrate.history(indicate_current=True)
    assert {revision.revision: revision.is_current for revision in found} == {
        "aaa": False,
        "bbb": True,
        "ccc": False,
        "ddd": False,
    }
    assert "aaa -> bbb (current), revision bbb" in str(found).splitlines()


def test_history_without_current_opens_no_database(ready: Project) -> None:
    """``history()`` looks at the scripts alone."""
    flask_dbmigrate.history()
    assert not (ready.folder / "test.db").exists()


def test_verbose_history_is_show(ready: Project) -> None:
    """``history(verbose=True)`` shows each revision as ``show()`` does."""
    listed = str(flask_dbmigrate.history(verbose=True))
    assert listed == str(flask_dbmigrate.show(revision=["ddd", "bbb", "ccc", "aaa"]))


@pytest.mark.parametrize("rev_range", ["aaa", "a:b:c"])
def test_no_range(ready: Project, rev_range: str) -> None:
    """``history()`` says what a range looks like."""
    with pytest.raises(ConfigurationError, match=f"'{rev_range}' is not a range of revisions"):
        flask_dbmigrate.history(rev_range=rev_range)


def test_steps_across_a_merge(ready: Project) -> None:
    """A number of steps that crosses a merge is ambiguous, which is said."""
    with pytest.raises(
        RevisionError, match="crosses a branch or a merge, so a number of steps is ambiguous"
    ):
        flask_dbmigrate.history(rev_range="-1:")


def test_range_in_the_wrong_order(ready: Project) -> None:
    """``history()`` says that there is no way between the ends of a range."""
    with pytest.raises(RevisionError, match="There is no way from 'bbb' to 'aaa'"):
        flask_dbmigrate.history(rev_range="bbb:aaa")


@pytest.mark.parametrize("rev_range", ["zzz:", ":zzz"])
def test_range_with_an_unknown_end(ready: Project, rev_range: str) -> None:
    """``history()`` names the end of a range that it cannot find."""
    with pytest.raises(RevisionNotFoundError, match="There is no revision or branch 'zzz'"):
        flask_dbmigrate.history(rev_range=rev_range)


def test_heads(ready: Project) -> None:
    """``heads()`` lists all heads, with their labels."""
    ready.revision("eee", extra="branch_labels = 'other'")
    found = flask_dbmigrate.heads("migrations", False, False)
    assert sorted(str(found).splitlines()) == [
        "ddd (side) (head) (mergepoint)",
        "eee (other) (head)",
    ]
    assert "Rev: ddd (head) (mergepoint)\n" in str(flask_dbmigrate.heads(verbose=True))


def test_heads_with_dependencies_resolved(ready: Project) -> None:
    """``heads(resolve_dependencies=True)`` leaves out a head that another depends on."""
    ready.revision("eee", extra="depends_on = 'ddd'")
    assert sorted(names(flask_dbmigrate.heads())) == ["ddd", "eee"]
    assert names(flask_dbmigrate.heads(resolve_dependencies=True)) == ["eee"]


def test_branches(ready: Project) -> None:
    """``branches()`` lists each branch point with what comes after it."""
    found = flask_dbmigrate.branches("migrations", False)
    assert [point.revision.revision for point in found] == ["aaa"]
    assert str(found).splitlines()[0] == "aaa (branchpoint)"
    assert [branch.revision for point in found for branch in point.branches] == ["bbb", "ccc"]
    assert "Branches into: bbb, ccc\n" in str(flask_dbmigrate.branches(verbose=True))


def test_empty_history(ready: Project) -> None:
    """A directory without revisions has an empty history, no heads and no branches."""
    flask_dbmigrate.init("empty")
    for function in (flask_dbmigrate.history, flask_dbmigrate.heads, flask_dbmigrate.branches):
        found = function("empty")
        assert (str(found), len(found)) == ("", 0)


def test_current_at_base(ready: Project) -> None:
    """``current()`` on a fresh database lists nothing and writes nothing."""
    result = flask_dbmigrate.current()
    assert isinstance(result, CurrentResult)
    assert [(found.key, found.url, found.revisions) for found in result.databases] == [
        ("default", ready.url, ())
    ]
    assert str(result) == ""
    assert ready.inspect() == []


def test_current_on_two_branches(ready: Project) -> None:
    """``current()`` lists each revision that the database is at."""
    flask_dbmigrate.stamp(revision=["bbb", "ccc"])
    assert str(flask_dbmigrate.current()) == "bbb\nccc"


def test_current_with_marks(ready: Project) -> None:
    """``current()`` marks the head."""
    flask_dbmigrate.upgrade()
    assert str(flask_dbmigrate.current()) == "ddd (head) (mergepoint)"


def test_verbose_current(ready: Project) -> None:
    """``current(verbose=True)`` shows the URL and the revision in full."""
    flask_dbmigrate.upgrade(revision="bbb")
    path = ready.folder / "migrations" / "versions" / "bbb_.py"
    assert str(flask_dbmigrate.current("migrations", True)) == (
        f"Current revision(s) for {ready.url}:\n"
        f"Rev: bbb\nParent: aaa\nPath: {path}\n\n    revision bbb\n"
    )


def test_current_with_check_heads(ready: Project) -> None:
    """``current(check_heads=True)`` fails unless the database is at the head."""
    with pytest.raises(CheckFailedError, match="Database 'default' is at base, not at 'ddd'"):
        flask_dbmigrate.current(check_heads=True)
    flask_dbmigrate.stamp(revision=["bbb", "ccc"])
    with pytest.raises(CheckFailedError, match="is at 'bbb' and 'ccc', not at 'ddd'"):
        flask_dbmigrate.current(check_heads=True)
    flask_dbmigrate.upgrade()
    assert str(flask_dbmigrate.current(check_heads=True)) == "ddd (head) (mergepoint)"


def test_list_templates() -> None:
    """``list_templates()`` needs no application."""
    found = flask_dbmigrate.list_templates()
    assert isinstance(found, Templates)
    assert [template.name for template in found.templates] == ["flask", "flask-multidb"]
    assert str(found) == (
        "Available templates:\n\n"
        "flask - Single-database configuration for Flask.\n"
        "flask-multidb - Multi-database configuration for Flask."
    )


@pytest.mark.parametrize("directory", [None, "other", Path("deep", "down")])
def test_init_returns_the_files(application: t.Any, directory: str | Path | None) -> None:
    """``init()`` returns the files that it wrote, below a directory given or default."""
    with application.app.app_context():
        done = flask_dbmigrate.init(directory)
    path = Path(directory or "migrations")
    files = ["README", "alembic.ini", "env.py", "script.py.mako"]
    assert done == NewDirectory(str(path), tuple(str(path / name) for name in files))
    assert str(done) == "\n".join(done.files)
    assert (path / "versions").is_dir()


def test_init_as_a_package(application: t.Any) -> None:
    """``init(package=True)`` writes an ``__init__.py`` into both folders."""
    with application.app.app_context():
        done = flask_dbmigrate.init("migrations", False, None, True)
        flask_dbmigrate.revision(rev_id="aaa")
        assert names(flask_dbmigrate.history()) == ["aaa"]
    assert [file for file in done.files if file.endswith("__init__.py")] == [
        "migrations/__init__.py",
        "migrations/versions/__init__.py",
    ]


def test_init_with_multidb(application: t.Any) -> None:
    """``init(multidb=True)`` takes the template for several databases."""
    with application.app.app_context():
        flask_dbmigrate.init("migrations", True)
    assert "run_migrations(multidb=True)" in Path("migrations/env.py").read_text()


def test_init_with_a_template_of_ones_own(application: t.Any, tmp_path: Path) -> None:
    """``init(template=...)`` takes the path of a folder."""
    template = tmp_path / "templates" / "mine"
    template.mkdir(parents=True)
    for name in ("README", "env.py", "script.py.mako", "alembic.ini.mako"):
        (template / name).write_text(f"# my {name}")
    with application.app.app_context():
        flask_dbmigrate.init(template=template)
        flask_dbmigrate.init("other", template="templates/mine")
    assert Path("migrations/env.py").read_text() == "# my env.py"
    assert Path("other/alembic.ini").read_text() == "# my alembic.ini.mako"


def test_init_twice(application: t.Any) -> None:
    """``init()`` does not touch a directory that has something in it."""
    with application.app.app_context():
        flask_dbmigrate.init()
        Path("migrations/env.py").write_text("# mine")
        with pytest.raises(ConfigurationError, match="'migrations' exists already and is not em"):
            flask_dbmigrate.init()
    assert Path("migrations/env.py").read_text() == "# mine"


def test_init_with_an_unknown_template(application: t.Any) -> None:
    """``init()`` with a template that is none names those that are."""
    with (
        application.app.app_context(),
        pytest.raises(ConfigurationError, match="There is no template 'flsk'") as caught,
    ):
        flask_dbmigrate.init(template="flsk")
    assert caught.value.hint.startswith("Use one of these: 'flask', 'flask-multidb'")
    assert not Path("migrations").exists()
