"""What a run says while it is at work, on a terminal and without one."""

from __future__ import annotations

from pathlib import Path
import re
import typing as t

from harness import Application
from harness import normal
from harness import Project
import pytest
from terminal import on_a_terminal
from terminal import on_screen
from terminal import watched

import flask_dbmigrate

LOGGING_APP = """
import logging, warnings
logging.basicConfig(format="LOG %(message)s")  # a handler that holds on to stderr
"""

NOISE = [
    "import logging, sys, warnings",
    "print('printed')",
    "print('to stderr', file=sys.stderr)",
    "logging.getLogger('app').warning('logged')",
    "warnings.showwarning = lambda message, *rest: print(message, file=sys.stderr)",
    "warnings.warn('warned')",
    "print('several\\nlines')",
]

SAID = ["printed", "to stderr", "LOG logged", "warned", "several", "lines"]

RUNNING = [
    "Running upgrade  -> aaa, revision aaa",
    "Running upgrade aaa -> bbb, revision bbb",
    "Running upgrade bbb -> ccc, revision ccc",
]

FINISHED = [f"{line} (0.01 s)" for line in RUNNING]

SUMMARY = "Database 'default' is at 'ccc' now: 3 revisions with 0 statements in 0.01 s."


@pytest.fixture
def noisy(new_project: Project) -> Project:
    """A project with three revisions, of which the second says a lot."""
    app = new_project.folder / "app.py"
    app.write_text(LOGGING_APP + app.read_text())
    new_project.revision("aaa")
    new_project.revision("bbb", "aaa", upgrade=NOISE)
    new_project.revision("ccc", "bbb")
    return new_project


def lines(output: str) -> list[str]:
    """The lines of an output, without what differs from run to run."""
    return normal(output).splitlines()


def test_lines_on_a_terminal(noisy: Project) -> None:
    """What is left on a terminal is a line for each revision, and what revisions say, whole."""
    code, screen = on_a_terminal(noisy, "upgrade")
    assert (code, lines(screen)) == (0, [FINISHED[0], *SAID, *FINISHED[1:], SUMMARY])


def test_bar_on_a_terminal(noisy: Project) -> None:
    """While a revision runs, a bar shows how many of how many are done; it has no colours."""
    _, written = watched(noisy, "upgrade")
    bars = ["-" * 20, "######--------------", "#############-------"]
    for done, (bar, line) in enumerate(zip(bars, RUNNING, strict=True)):
        assert f"\033[?7l[{bar}] {done}/3 {line}\033[?7h\r\033[K" in written
    assert set(re.findall(r"\033\[[^a-zA-Z]*[a-zA-Z]", written)) == {
        "\033[K",
        "\033[?7l",
        "\033[?7h",
    }


def test_one_revision_on_a_terminal(new_project: Project) -> None:
    """One pending revision has no bar: it is said what is running."""
    new_project.revision("aaa")
    code, written = watched(new_project, "upgrade")
    assert code == 0
    assert written.startswith(f"\033[?7l{RUNNING[0]}\033[?7h\r\033[K{RUNNING[0]} (")


def test_bar_of_each_database(tmp_path: Path, noisy: Project) -> None:
    """The bar counts the revisions of the database that its line names."""
    noisy.write_app(binds={"second": f"sqlite:///{tmp_path / 'second.db'}"})
    for name in ("env.py", "script.py.mako"):
        noisy.db("init", "--multidb", "-d", f"multidb-{name}")
        (noisy.folder / f"multidb-{name}" / name).rename(noisy.folder / "migrations" / name)
    for identifier in ("aaa", "bbb", "ccc"):
        path = noisy.folder / "migrations" / "versions" / f"{identifier}_.py"
        path.write_text(re.sub(r"(upgrade|downgrade)\(\)", r"\1(engine_name)", path.read_text()))
    noisy.db("upgrade", "+1", "--database", "default")
    _, written = watched(noisy, "upgrade", "--database", "default", "--database", "second")
    shown = re.findall(r"(\d/\d) Running upgrade \w* -> (\w+), [^\033]*?( on '\w+')?\033", written)
    assert shown == [
        ("0/2", "bbb", ""),
        ("1/2", "ccc", ""),
        ("0/3", "aaa", " on 'second'"),
        ("1/3", "bbb", " on 'second'"),
        ("2/3", "ccc", " on 'second'"),
    ]


def test_message_of_several_lines(noisy: Project) -> None:
    """A revision whose docstring begins with a paragraph of two lines has one line all the same."""
    path = noisy.folder / "migrations" / "versions" / "aaa_.py"
    path.write_text(path.read_text().replace("revision aaa", "revision\naaa", 1))
    assert lines(noisy.flask("db", "upgrade").stderr)[0] == FINISHED[0]


def test_error_on_a_terminal(noisy: Project) -> None:
    """A revision that fails leaves the lines of those that did not, and the error."""
    noisy.revision("ccc", "bbb", upgrade=["1 / 0"])
    code, screen = on_a_terminal(noisy, "upgrade")
    assert code == 1
    assert lines(screen)[:-2] == [FINISHED[0], *SAID, FINISHED[1]]
    assert lines(screen)[-2].startswith("Error: Revision 'ccc' failed on database 'default'")


INTERRUPTED = "Interrupted. Revision 'ccc' did not finish. The database is at 'bbb' now."


def test_interrupt_on_a_terminal(noisy: Project) -> None:
    """Ctrl-C leaves no bar behind."""
    noisy.revision("ccc", "bbb", upgrade=["import signal", "signal.pause()"])
    code, written = watched(noisy, "upgrade", types="\x03", at="revision ccc\033[?7h")
    assert code == 130
    assert lines(on_screen(written)) == [FINISHED[0], *SAID, FINISHED[1], "", INTERRUPTED]


def test_question_of_a_revision(noisy: Project) -> None:
    """What a revision asks, with ``input()``, stands at the beginning of a line."""
    noisy.revision("bbb", "aaa", upgrade=["print(input('Sure? [y/N] ').upper())"])
    code, screen = on_a_terminal(noisy, "upgrade", types="y\n")
    assert (code, lines(screen)) == (
        0,
        [FINISHED[0], "Sure? [y/N] y", "Y", *FINISHED[1:], SUMMARY],
    )


def test_line_that_a_revision_leaves_open(noisy: Project) -> None:
    """What a revision prints without ending the line is not erased."""
    noisy.revision("aaa", upgrade=["print('begun ...', end=' ', flush=True)"])
    _, screen = on_a_terminal(noisy, "upgrade")
    assert lines(screen)[0] == f"begun ... {FINISHED[0]}"


@pytest.mark.parametrize("place", ["no terminal", "no stdin", "dumb"])
def test_lines_elsewhere(noisy: Project, place: str) -> None:
    """Without a terminal, or with one that only prints, there are lines and nothing else."""
    if place == "no terminal":
        done = noisy.flask("db", "upgrade")
        assert lines(done.stdout) == ["printed", "several", "lines"]
        said, expected = done.stderr, SAID[1:4]
    elif place == "no stdin":
        with open("/dev/null") as nothing:
            _, said = watched(noisy, "upgrade", stdin=nothing.fileno())
        expected = SAID
    else:
        _, said = watched(noisy, "upgrade", term="dumb")
        expected = SAID
    assert lines(said) == [FINISHED[0], *expected, *FINISHED[1:], SUMMARY]
    assert re.findall(r"[\x00-\x09\x0b-\x1f]", said) == []


def test_lines_come_at_once(noisy: Project) -> None:
    """Without a terminal the line of a revision can be read while the next one runs."""
    noisy.revision("bbb", "aaa", upgrade=["import signal", "signal.pause()"])
    with noisy.start("upgrade") as process:
        assert process.stderr is not None
        try:
            assert normal(process.stderr.readline()) == f"{FINISHED[0]}\n"
        finally:
            process.kill()


class Recorded(flask_dbmigrate.Listener):
    """Keeps what it is told of steps."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def steps_planned(self, database: str, steps: tuple[str, ...]) -> None:
        self.told.append(("planned", database, *steps))

    def step_started(self, database: str, description: str) -> None:
        self.told.append(("started", database, description))


@pytest.mark.parametrize("lock", [True, False])
def test_listener_knows_the_steps(start: t.Callable[..., Application], lock: bool) -> None:
    """A listener is told which steps are to be run before the first one, lock or no lock."""
    start()
    flask_dbmigrate.revision(rev_id="aaa", message="first")
    flask_dbmigrate.revision(rev_id="bbb", message="second")
    steps = ("upgrade  -> aaa, first", "upgrade aaa -> bbb, second")
    listener = Recorded()
    flask_dbmigrate.upgrade(listener=listener, lock=lock)
    assert listener.told == [
        ("planned", "default", *steps),
        *(("started", "default", step) for step in steps),
    ]
    listener = Recorded()
    flask_dbmigrate.upgrade(listener=listener, lock=lock)
    flask_dbmigrate.stamp(revision="base", listener=listener, lock=lock)
    assert [told[0] for told in listener.told] == ["started"]
