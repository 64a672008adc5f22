"""``stamp`` on branches, merges and dependencies: compared with Alembic's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import random
import re
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from harness import Application
from harness import Project
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import RevisionError
from flask_dbmigrate import RevisionNotFoundError

Heads = frozenset[str]


class Graph:
    """Random revisions, and a version table in memory."""

    def __init__(self, project: Project, engine: sa.Engine, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.names: list[str] = []
        self.labels: list[str] = []
        for number in range(self.random.randint(3, 7)):
            self._add(project, number)
        self.directory = ScriptDirectory(str(project.folder / "migrations"))
        self.context: MigrationContext

    def _add(self, project: Project, number: int) -> None:
        choose, names = self.random, self.names
        count = 0 if not names else choose.choices((0, 1, 2), (2, 6, 2))[0]
        down = tuple(sorted(choose.sample(names[-3:], min(count, len(names)))))
        settings = ""
        if names and choose.random() < 0.2:
            settings += f"depends_on = {choose.choice(names)!r}\n"
        if choose.random() < (0.3 if down else 0.7):
            self.labels.append(f"side{number}")
            settings += f"branch_labels = ('side{number}',)\n"
        name = f"{choose.choice('abc')}{number}{choose.choice('abc')}x"
        project.revision(name, down if len(down) > 1 else (*down, None)[0], extra=settings)
        names.append(name)

    @property
    def heads(self) -> Heads:
        """What the version table has."""
        with self.engine.begin() as connection:
            return frozenset(MigrationContext.configure(connection).get_current_heads())

    def set(self, heads: t.Iterable[str]) -> None:
        """Write the version table."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM alembic_version"))
            for head in heads:
                connection.execute(
                    sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": head}
                )

    def alembic(self, target: str) -> Heads | None:
        """Stamp with Alembic; None if it refuses."""
        try:
            with self.engine.begin() as connection:
                MigrationContext.configure(connection).stamp(self.directory, target)
        except CommandError:
            return None
        return self.heads

    def ours(self, *targets: str, purge: bool = False) -> Heads | None:
        """Stamp with this package; None if it refuses, which changes nothing."""
        before = self.heads
        try:
            flask_dbmigrate.stamp(revision=targets, purge=purge)
        except RevisionError:
            assert self.heads == before
            return None
        return self.heads

    def below(self, names: Heads) -> Heads:
        """What these revisions come after or depend on."""
        found = self.directory.iterate_revisions(tuple(names), "base")
        return frozenset(script.revision for script in found) - names

    def uppermost(self, names: Heads) -> Heads:
        """Those that none of the others comes after or depends on."""
        return names.difference(*(self.below(frozenset((name,))) for name in names))

    def targets(self) -> Iterator[str]:
        """One target of each form."""
        name, label = self.random.choice(self.names), self.random.choice([*self.labels, "none"])
        yield from ("base", "head", name, name[:2], name[:4], "zzzz", label)
        yield from (f"{label}@{end}" for end in ("base", "head", name))
        yield f"{name}@base"


@pytest.fixture
def in_memory(
    make_application: t.Callable[..., Application], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[t.Callable[[int], Graph]]:
    """Makes graphs; an application whose database is in memory is in its context."""
    made = make_application(url="sqlite://")
    made.app.config["DBMIGRATE_LOG"] = False
    with made.app.app_context():

        def make(seed: int) -> Graph:
            folder = tmp_path / str(seed)
            folder.mkdir()
            monkeypatch.chdir(folder)
            flask_dbmigrate.init()
            flask_dbmigrate.ensure_version()
            return Graph(Project(folder, "sqlite://"), made.db.engine, seed)

        yield make


@pytest.mark.parametrize("seed", range(6))
def test_stamp_does_what_alembic_does(in_memory: t.Callable[[int], Graph], seed: int) -> None:
    """``stamp()`` takes the version table where Alembic takes it, or both refuse."""
    graph = in_memory(seed)
    names, upper = graph.names, graph.directory.get_heads()
    for start in ((), upper, graph.random.sample(names, 2), graph.random.sample(names, 1)):
        heads = graph.uppermost(frozenset(start))
        for target in graph.targets():
            graph.set(heads)
            expected = graph.alembic(target)
            label, _, name = target.rpartition("@")
            if expected is not None and label and name in names:
                # Alembic forgets other revisions below the label; it does not for the name alone
                graph.set(heads)
                expected = graph.alembic(name)
            graph.set(heads)
            assert graph.ours(target) == expected, (heads, target)
        # Alembic forgets all heads but one if one comes after where the database is
        graph.set(heads)
        assert graph.ours("heads") == graph.uppermost(frozenset(upper))


@pytest.mark.parametrize("seed", range(6, 8))
def test_stamp_of_several_in_any_order(in_memory: t.Callable[[int], Graph], seed: int) -> None:
    """Each of several revisions is stamped unless another one has it; other branches stay."""
    graph = in_memory(seed)
    for name, other in zip(graph.names, graph.names[2:], strict=False):
        start = graph.uppermost(frozenset(graph.random.sample(graph.names, 2)))
        stamped = graph.uppermost(frozenset((name, other)))
        related = {
            head
            for head in start
            for target in (name, other)
            if head == target
            or head in graph.below(frozenset((target,)))
            or target in graph.below(frozenset((head,)))
        }
        for targets in ((name, other), (other, name)):
            graph.set(start)
            found = graph.ours(*targets)
            assert found is not None
            assert stamped | (start - related) <= found <= stamped | start


@pytest.fixture
def sides(in_memory: t.Callable[[int], Graph]) -> Graph:
    """Two branches, the database at the head of both."""
    graph = in_memory(0)
    for path in Path("migrations/versions").glob("*.py"):
        path.unlink()
    project = Project(Path(), "sqlite://")
    project.revision("aaa", extra="branch_labels = ('left',)")
    project.revision("bbb", "aaa")
    project.revision("ccc", extra="branch_labels = ('right',)")
    graph.set(("bbb", "ccc"))
    return graph


@pytest.mark.parametrize("targets", [["left@base", "ccc"], ["ccc", "left@base"]])
def test_stamp_of_one_branch_to_base(sides: Graph, targets: list[str]) -> None:
    """``stamp BRANCH@base`` forgets that branch, and no other one."""
    assert sides.ours("left@base") == frozenset(("ccc",))
    sides.set(("bbb",))
    assert sides.ours(*targets) == frozenset(("ccc",))


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("before", [{"bbb", "ccc"}, set()])
def test_stamp_counts_no_steps(sides: Graph, before: set[str], *, purge: bool) -> None:
    """A number of steps is refused: from where it counts, nobody can tell."""
    sides.set(before)
    for target in ("-1", "-2", "-5", "+1", "left@-1", "aaa+1", "ccc-9"):
        message = f"a number of steps, such as in '{target}'"
        with pytest.raises(RevisionError, match=re.escape(message)):
            flask_dbmigrate.stamp(revision=target, purge=purge)
        assert sides.heads == before


def test_purge_waits_for_a_target(sides: Graph) -> None:
    """``stamp --purge`` of a revision that does not exist empties nothing."""
    with pytest.raises(RevisionNotFoundError, match="no revision or branch 'zzz'"):
        flask_dbmigrate.stamp(revision=["aaa", "zzz"], purge=True)
    assert sides.heads == {"bbb", "ccc"}
    assert sides.ours("aaa", purge=True) == frozenset(("aaa",))


def test_offline_stamp_of_one_branch_to_base(
    sides: Graph, capsys: pytest.CaptureFixture[str]
) -> None:
    """``stamp --sql`` forgets one branch only, too."""
    flask_dbmigrate.stamp(revision="bbb:left@base", sql=True)
    assert "DELETE FROM alembic_version WHERE alembic_version.version_num = 'bbb'" in (
        capsys.readouterr().out
    )
    flask_dbmigrate.stamp(revision="bbb:right@base", sql=True)
    assert "DELETE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        lambda: flask_dbmigrate.show(revision="-3"),
        lambda: flask_dbmigrate.show(revision="left@-9"),
        lambda: flask_dbmigrate.revision(head="-9"),
        lambda: flask_dbmigrate.merge(revisions=["-9", "ccc"]),
    ],
)
def test_steps_beyond_the_base(sides: Graph, command: t.Callable[[], object]) -> None:
    """A number of steps that leads beyond the first revision is an error, not the base."""
    with pytest.raises(RevisionError, match="goes further than there are revisions"):
        command()
    assert len(list(Path("migrations/versions").glob("*.py"))) == 3


def test_history_up_to_a_database_at_base(sides: Graph) -> None:
    """``history -r :current`` lists nothing where nothing is applied."""
    sides.set(())
    assert len(flask_dbmigrate.history(rev_range=":current")) == 0
    assert len(flask_dbmigrate.history(rev_range="current:")) == 3
