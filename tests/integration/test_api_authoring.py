"""``revision``, ``migrate``, ``merge`` and ``edit`` from Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import re
import resource
import shlex
import sys
import typing as t

from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import EditedRevisions
from flask_dbmigrate import MigrationDirectoryError
from flask_dbmigrate import MultipleHeadsError
from flask_dbmigrate import NewRevisions
from flask_dbmigrate import PendingRevisionsError
from flask_dbmigrate import Revision
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError
from flask_dbmigrate import ScriptError


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """The folder of an application whose context is pushed, after ``init()``."""
    with application.app.app_context():
        flask_dbmigrate.init()
        yield Project(tmp_path, sqlite_url)


def parents() -> dict[str, tuple[str, ...]]:
    """What each revision comes after."""
    return {found.revision: found.down_revisions for found in flask_dbmigrate.history()}


def test_revision_returns_the_script_it_wrote(ready: Project) -> None:
    """``revision()`` returns all facts of the one script that it has written."""
    result = flask_dbmigrate.revision(message="add a thing", rev_id="abc")
    path = ready.folder / "migrations" / "versions" / "abc_add_a_thing.py"
    assert result == NewRevisions(
        (
            Revision(
                revision="abc",
                down_revisions=(),
                next_revisions=(),
                branch_labels=(),
                depends_on=(),
                message="add a thing",
                description=result.revisions[0].description,
                path=str(path),
                is_head=True,
            ),
        )
    )
    assert result.revisions[0].description.startswith("add a thing\n\nRevision ID: abc\n")
    assert str(result) == "migrations/versions/abc_add_a_thing.py"
    assert path.read_text().startswith('"""add a thing\n\nRevision ID: abc\n')


def test_positional_arguments_as_with_flask_migrate(ready: Project) -> None:
    """``revision`` and ``merge`` take all of Flask-Migrate's parameters by position."""
    versions = str(ready.folder / "migrations" / "versions")
    args = ("migrations", "one", False, False, "base", True)
    flask_dbmigrate.revision(*args, "first", versions, "aaa")
    flask_dbmigrate.revision("migrations", "two", False, False, "base", True, None, None, "bbb")
    merged = flask_dbmigrate.merge("migrations", ["aaa", "bbb"], "join", "joined", "ccc")
    assert parents() == {"ccc": ("aaa", "bbb"), "aaa": (), "bbb": ()}
    assert [found.branch_labels for found in merged.revisions] == [("joined",)]


def test_migrate_writes_what_differs(ready: Project) -> None:
    """``migrate()`` writes a revision that creates and drops the table of the model."""
    (written,) = flask_dbmigrate.migrate(message="users").revisions
    source = Path(written.path).read_text()
    assert re.findall(r"op\.(\w+)\(\s*['\"](\w+)", source) == [
        ("create_table", "user"),
        ("drop_table", "user"),
    ]


def test_upgrade_then_migrate_in_one_process(ready: Project) -> None:
    """``migrate()`` after ``upgrade()`` in one process finds nothing and writes nothing."""
    flask_dbmigrate.migrate(message="users")
    flask_dbmigrate.upgrade()
    result = flask_dbmigrate.migrate(message="empty")
    assert result == NewRevisions(())
    assert str(result) == "No changes in schema detected."
    assert len(list(Path("migrations/versions").glob("*.py"))) == 1


def test_migrate_refuses_while_revisions_are_pending(ready: Project) -> None:
    """``migrate()`` on a database that is behind names what is pending and writes nothing."""
    flask_dbmigrate.revision(rev_id="abc")
    with pytest.raises(PendingRevisionsError, match="1 revision is pending") as caught:
        flask_dbmigrate.migrate(message="users")
    assert (caught.value.database, caught.value.pending) == ("default", ("abc",))
    assert (
        str(caught.value) == "Database 'default' is not up to date: 1 revision is pending ('abc')."
    )
    assert set(parents()) == {"abc"}


def test_migrate_writes_nothing_to_the_database(ready: Project) -> None:
    """``migrate()`` on a fresh database leaves it without a version table."""
    flask_dbmigrate.migrate(message="users")
    assert ready.inspect() == []


def test_migrate_goes_on_from_the_last_revision(ready: Project, application: t.Any) -> None:
    """Each ``migrate()`` comes after the one before and finds only what is new."""
    first = flask_dbmigrate.migrate(message="users").revisions[0].revision
    flask_dbmigrate.upgrade()
    application.db.Table("post", sa.Column("id", sa.Integer, primary_key=True))
    second = flask_dbmigrate.migrate(message="posts").revisions[0]
    assert parents() == {second.revision: (first,), first: ()}
    assert "'user'" not in Path(second.path).read_text()


def test_splice_makes_a_branch(ready: Project) -> None:
    """Only with ``splice`` a revision comes after one that is no head."""
    for name in ("aaa", "bbb"):
        flask_dbmigrate.revision(rev_id=name)
    with pytest.raises(RevisionError, match="is not a head revision"):
        flask_dbmigrate.revision(head="aaa", rev_id="ccc")
    flask_dbmigrate.revision(head="aaa", rev_id="ccc", splice=True)
    assert parents() == {"bbb": ("aaa",), "ccc": ("aaa",), "aaa": ()}


def test_branch_label_names_the_head_to_build_upon(ready: Project) -> None:
    """A label given to one revision finds the head of its branch later."""
    flask_dbmigrate.revision(rev_id="aaa", branch_label="shop")
    flask_dbmigrate.revision(rev_id="bbb", head="base", branch_label="blog")
    flask_dbmigrate.revision(rev_id="ccc", head="shop@head")
    assert parents() == {"ccc": ("aaa",), "aaa": (), "bbb": ()}


@pytest.mark.parametrize("depends_on", ["bbb", ["bbb"], ("bbb",), "blog@head"])
def test_depends_on(ready: Project, depends_on: str | list[str]) -> None:
    """``depends_on`` takes one revision or several, and it is upgraded first."""
    flask_dbmigrate.revision(rev_id="aaa", head="base")
    flask_dbmigrate.revision(rev_id="bbb", head="base", branch_label="blog", splice=True)
    (written,) = flask_dbmigrate.revision(rev_id="ccc", head="aaa", depends_on=depends_on).revisions
    assert written.depends_on == ("bbb",)
    result = flask_dbmigrate.upgrade(revision="ccc")
    steps = [step.revisions for step in result.databases[0].steps]
    assert steps[-1] == ("ccc",)
    assert set(steps) == {("aaa",), ("bbb",), ("ccc",)}


def test_several_heads_have_to_be_chosen_from(ready: Project) -> None:
    """A revision after 'the head' is refused where there are two, which are named."""
    for name in ("aaa", "bbb"):
        flask_dbmigrate.revision(rev_id=name, head="base", splice=True)
    with pytest.raises(MultipleHeadsError, match="There are 2 heads: 'aaa', 'bbb'") as caught:
        flask_dbmigrate.revision()
    assert caught.value.heads == ("aaa", "bbb")


@pytest.mark.parametrize("revisions", ["", (), "heads", ["aaa", "bbb"]])
def test_merge_joins_the_heads(ready: Project, revisions: str | list[str]) -> None:
    """``merge()`` without revisions joins the heads, as if they had been named."""
    for name in ("aaa", "bbb"):
        flask_dbmigrate.revision(rev_id=name, head="base", splice=True)
    result = flask_dbmigrate.merge(revisions=revisions, message="join", rev_id="ccc")
    assert [found.down_revisions for found in result.revisions] == [("aaa", "bbb")]
    assert str(result) == "migrations/versions/ccc_join.py"
    assert [found.revision for found in flask_dbmigrate.heads()] == ["ccc"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "There is nothing to merge: there are no revisions."),
        (["aaa"], "There is nothing to merge: the only head is 'aaa'."),
    ],
)
def test_merge_with_nothing_to_join(ready: Project, names: list[str], sentence: str) -> None:
    """``merge()`` says which head is the only one, and writes nothing."""
    for name in names:
        flask_dbmigrate.revision(rev_id=name)
    with pytest.raises(RevisionError, match="There is nothing to merge") as caught:
        flask_dbmigrate.merge()
    assert caught.value.message == sentence
    assert list(parents()) == names


def test_merge_with_splice(ready: Project) -> None:
    """``merge()`` joins revisions that are no heads if ``splice`` allows it."""
    ready.revision("aaa")
    ready.revision("bbb")
    ready.revision("ccc", "aaa")
    with pytest.raises(RevisionError, match="is not a head revision"):
        flask_dbmigrate.merge(revisions=["aaa", "bbb"])
    flask_dbmigrate.merge(revisions=["aaa", "bbb"], rev_id="ddd", splice=True)
    assert parents()["ddd"] == ("aaa", "bbb")


def test_merge_of_an_unknown_revision(ready: Project) -> None:
    """``merge()`` names the revision that it cannot find."""
    ready.revision("aaa")
    with pytest.raises(RevisionNotFoundError, match="There is no revision or branch 'zzz'"):
        flask_dbmigrate.merge(revisions=["aaa", "zzz"])


def test_identifier_that_is_taken(ready: Project) -> None:
    """A ``rev_id`` that another script has is refused, and that script is named."""
    flask_dbmigrate.revision(rev_id="aaa", message="one")
    with pytest.raises(RevisionError, match="Revision 'aaa' exists already") as caught:
        flask_dbmigrate.revision(rev_id="aaa", message="two")
    assert "migrations/versions/aaa_one.py" in caught.value.message
    assert set(parents()) == {"aaa"}


@pytest.mark.parametrize("message", ['say """hello"""', 'ends with "', "back\\slash", "a\nb", "é"])
def test_any_message_makes_a_script(ready: Project, message: str) -> None:
    """Whatever the message is, the script can be loaded and has it."""
    (written,) = flask_dbmigrate.revision(message=message).revisions
    assert written.description.startswith(message)


def test_script_that_fails_to_write_leaves_nothing(ready: Project) -> None:
    """A template with an error is named and no half a script stays behind."""
    Path("migrations/script.py.mako").write_text("${message} is no Python: ${up_revision}")
    with pytest.raises(ConfigurationError, match=r"script\.py\.mako' makes a script that is no"):
        flask_dbmigrate.revision(message="one")
    assert list(Path("migrations/versions").glob("*.py")) == []


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let each file have so many bytes and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # Python 3.11 would keep a part of it
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("command", ["revision", "migrate", "merge"])
def test_full_disk(ready: Project, command: str, room: int) -> None:
    """A script that cannot be written completely is not there, and neither is a part of it."""
    if command == "merge":
        ready.revision("aaa")
        ready.revision("bbb")
    versions = ready.folder / "migrations" / "versions"
    before = list(versions.glob("*.*"))
    with full_disk(room), pytest.raises(ConfigurationError, match="File too large") as caught:
        getattr(flask_dbmigrate, command)(rev_id="ccc", message="new")
    assert f"cannot be written to '{versions / 'ccc_new.py'}': " in caught.value.message
    assert caught.value.hint == "Make room, and run the command again."
    assert list(versions.glob("*.*")) == before
    getattr(flask_dbmigrate, command)(rev_id="ccc", message="new")
    assert (versions / "ccc_new.py").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    """Tell which permissions new files do not have."""
    os.umask(mask := os.umask(0))
    return mask


@pytest.mark.parametrize("name", ["aaa_new.py", "abc.py"])
@pytest.mark.parametrize("content", ["", "\n"])
def test_script_that_is_empty(ready: Project, name: str, content: str) -> None:
    """A script of which a full disk has left nothing is named, with what to do."""
    path = ready.folder / "migrations" / "versions" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    for command in (flask_dbmigrate.heads, flask_dbmigrate.upgrade, flask_dbmigrate.migrate):
        with pytest.raises(ScriptError, match=rf"'migrations/versions/{name}' is empty") as caught:
            command()
        assert caught.value.hint == "Delete it, or restore it from version control."


def test_missing_template_of_revisions(ready: Project) -> None:
    """A directory without ``script.py.mako`` says so before anything is compared."""
    Path("migrations/script.py.mako").unlink()
    with pytest.raises(MigrationDirectoryError, match=r"has no 'script\.py\.mako'"):
        flask_dbmigrate.migrate()


def test_autogenerate_and_sql_exclude_each_other(ready: Project) -> None:
    """``migrate(sql=True)`` is refused: comparing needs a live database."""
    with pytest.raises(ConfigurationError, match="'--sql' cannot be used with autogenerate"):
        flask_dbmigrate.migrate(sql=True)


def test_version_path(ready: Project) -> None:
    """``version_path`` chooses among the folders of ``version_locations``."""
    ini = Path("migrations/alembic.ini")
    locations = "version_locations = %(here)s/versions:%(here)s/more\n"
    ini.write_text(ini.read_text().replace("path_separator", f"{locations}path_separator"))
    more = ready.folder / "migrations" / "more"
    (written,) = flask_dbmigrate.revision(
        rev_id="aaa", version_path=more, branch_label="more"
    ).revisions
    assert Path(written.path).parent == more
    assert parents() == {"aaa": ()}


def editor(folder: Path, source: str) -> str:
    """Write a program that can be ``$EDITOR``."""
    program = folder / "my editor.py"
    program.write_text(source)
    return shlex.join([sys.executable, str(program)])


@pytest.mark.parametrize("variable", ["EDITOR", "VISUAL"])
def test_edit_opens_the_script(
    ready: Project, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """``edit()`` runs the editor, a command with arguments, on the script and waits for it."""
    path = ready.revision("aaa")
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    append = "import sys\nopen(sys.argv[1], 'a').write('# edited')"
    monkeypatch.setenv(variable, editor(ready.folder, append))
    result = flask_dbmigrate.edit(revision="aaa")
    assert path.read_text().endswith("# edited")
    assert isinstance(result, EditedRevisions)
    assert [found.revision for found in result.revisions] == ["aaa"]
    assert str(result) == "migrations/versions/aaa_.py"


def test_edit_of_the_current_revision(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """``edit()`` opens by default what the database is at."""
    ready.revision("aaa")
    ready.revision("bbb", "aaa")
    flask_dbmigrate.upgrade(revision="aaa")
    monkeypatch.setenv("EDITOR", editor(ready.folder, ""))
    assert [found.revision for found in flask_dbmigrate.edit().revisions] == ["aaa"]


def test_edit_at_base(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """``edit()`` on a database at base says that there is nothing to edit."""
    monkeypatch.setenv("EDITOR", editor(ready.folder, ""))
    with pytest.raises(RevisionError, match="There is no script to edit"):
        flask_dbmigrate.edit()


def test_editor_that_fails(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that fails is named with its exit code."""
    ready.revision("aaa")
    monkeypatch.setenv("EDITOR", editor(ready.folder, "raise SystemExit(7)"))
    with pytest.raises(ConfigurationError, match=r"The editor .* failed: exit code 7"):
        flask_dbmigrate.edit(revision="aaa")


def test_editor_that_is_missing(ready: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that does not exist is named."""
    ready.revision("aaa")
    monkeypatch.setenv("EDITOR", "no-such-editor --wait")
    with pytest.raises(ConfigurationError, match="'no-such-editor --wait' failed: No such file"):
        flask_dbmigrate.edit(revision="aaa")
