"""Runs ``flask`` commands in processes that kill themselves at a certain moment.

Reads requests from stdin, one JSON object a line: ``arguments``; ``kill``, the moment or its
number, or null; ``block``, null or the URL and the statement of a session that is begun at this
moment, so that the process is killed while its next statement waits for that; ``is_sent``, whether
to commit before the kill, as a DDL statement of MariaDB does when it begins. Moments are before
and after each statement that a run sends when it has the migration lock, our own statements
included. Writes an answer a line: exit code (negative: the signal), output, and the statements
before each moment. Each command is a fork of this process, in which everything is imported already.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
import select
import signal
import sys
import tempfile
import threading
import time
import typing as t

import alembic.command  # noqa: F401
from flask.cli import main
import sqlalchemy as sa

import flask_dbmigrate.commands.running  # noqa: F401

KILLED_AFTER = 0.3
"""Seconds that a statement waits for a blocker before its process is killed."""

PATIENCE = 1.0
"""Seconds that a blocker may take to get its locks: it may have to wait for this process."""

HELD_FOR = 1.0
"""Seconds after which the blocker is gone, and what the process has left goes on."""


class Moments:
    """Counts the moments of a run, and kills the process at one of them."""

    def __init__(
        self, kill: int | str | None, block: list[str] | None, is_sent: bool, record: Path
    ) -> None:
        self.kill = kill
        self.block = block
        self.is_sent = is_sent
        self.record = record
        self.passed: list[str] = []
        self.has_lock = False

    def before(
        self, connection: t.Any, cursor: t.Any, statement: str, values: t.Any, *rest: t.Any
    ) -> None:
        if self.is_sent and self._is_next(f"before {statement}"):
            cursor.execute("COMMIT")
        self._pass(f"before {statement}")

    def after(
        self, connection: t.Any, cursor: t.Any, statement: str, values: t.Any, *rest: t.Any
    ) -> None:
        if "GET_LOCK" in statement or "pg_try_advisory" in statement:
            self.has_lock = True
        self._pass(f"after {statement}")

    def commit(self, connection: t.Any) -> None:
        self._pass("before COMMIT")

    def _is_next(self, moment: str) -> bool:
        return self.has_lock and self.kill in (moment, len(self.passed) + 1)

    def _pass(self, moment: str) -> None:
        if not self.has_lock:
            return
        is_last = self._is_next(moment)
        self.passed.append(moment)
        if is_last:
            self.write()
            if self.block is None:
                self.end()
            else:
                start_blocker(*self.block)
                threading.Timer(KILLED_AFTER, self.end).start()

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(self) -> None:
        self.record.write_text(json.dumps(self.passed))


def start_blocker(url: str, statement: str) -> None:
    """Start a process that holds locks for a while, and wait until it has them, if it gets them."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        block(url, statement, writer)
    assert os.read(reader, 1) == b"a"
    select.select([reader], [], [], PATIENCE)


def block(url: str, statement: str, writer: int) -> t.NoReturn:
    """Be the process that holds locks; it says that it asks for them, and that it has them."""
    os.dup2(writer, 0)
    os.closerange(3, 1000)  # the connections of the process that will be killed
    try:
        with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
            os.write(0, b"a")
            connection.exec_driver_sql(statement)
            os.write(0, b"h")
            time.sleep(HELD_FOR)
    finally:
        os._exit(0)


def run(arguments: list[str], output: Path, moments: Moments) -> None:
    """Run a command in this process, and end it."""
    stream = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sa.event.listen(sa.Engine, "before_cursor_execute", moments.before)
    sa.event.listen(sa.Engine, "after_cursor_execute", moments.after)
    sa.event.listen(sa.Engine, "commit", moments.commit)
    sys.argv = ["flask", *arguments]
    code: t.Any = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    moments.write()
    os._exit(code if isinstance(code, int) else 0)


def answer(
    arguments: list[str], kill: int | str | None, block: list[str] | None, is_sent: bool
) -> dict[str, t.Any]:
    """Run a command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output, record = Path(folder, "output"), Path(folder, "record")
        process = os.fork()
        if process == 0:
            run(arguments, output, Moments(kill, block, is_sent, record))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        moments = json.loads(record.read_text()) if record.exists() else []
        return {"code": code, "output": output.read_text(), "moments": moments}


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    __import__("app").create_app()  # loads the driver, too
    gc.freeze()  # what the forks share stays shared
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(answer(**request)), flush=True)
