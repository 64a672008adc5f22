"""Commands on a terminal of their own."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys

from harness import environment
from harness import Project


def _obey_terminal() -> None:
    """Let Ctrl-C on the terminal end a process, also where this one was told to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.close(os.open(os.ttyname(1), os.O_RDWR))


def on_a_terminal(
    project: Project, *arguments: str, types: str = "", stdin: int | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of its own and type something there; see :func:`watched`.

    :returns: The exit code, and all that is on the terminal in the end.
    """
    code, written = watched(project, *arguments, types=types, stdin=stdin)
    return code, on_screen(written)


def on_screen(written: str) -> str:
    """Do what a terminal does with a line that was erased."""
    lines = re.sub(r"\033\[\?7[lh]", "", written).split("\n")
    return "\n".join(line.rpartition("\r\033[K")[2] for line in lines)


def watched(
    project: Project,
    *arguments: str,
    types: str = "",
    at: str = "[y/N] ",
    stdin: int | None = None,
    term: str = "xterm",
) -> tuple[int, str]:
    """Run a command on a terminal of its own and type something there.

    :param types: What is typed when there is a question, or whatever is waited for.
    :param at: The text that is waited for.
    :param stdin: What is read instead of the terminal.
    :param term: The kind of the terminal.
    :returns: The exit code, and all that was ever written to the terminal.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "flask", "db", *arguments],
        cwd=project.folder,
        env={**environment(), "TERM": term},
        stdin=theirs if stdin is None else stdin,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_obey_terminal,
    ) as process:
        os.close(theirs)
        seen, is_asked = b"", False
        try:
            while part := _read(ours, again=types if is_asked else ""):
                seen += part
                if types and not is_asked and seen.endswith(at.encode()):
                    is_asked = True
                    os.write(ours, types.encode())
        except AssertionError:
            process.kill()
            raise
        os.close(ours)
        return process.wait(60), seen.decode().replace("\r\n", "\n").replace("^C^C", "^C")


def _read(terminal: int, *, again: str) -> bytes:
    """Read what is on a terminal.

    :param again: What to type again if nothing happens: Python may not have begun to wait for it.
    """
    try:
        for _ in range(20):
            if select.select([terminal], [], [], 3)[0]:
                return os.read(terminal, 1024)
            os.write(terminal, again.encode())
        raise AssertionError("nothing happens on the terminal")
    except OSError:  # Linux says so when the other side is closed
        return b""
