"""Runs Python modules as commands in forks of a process that has imported the libraries.

That takes a fifth of the time of ``python -m``. Each command still is a process of its own, and
imports our own package anew.

``python forks.py SOCKET`` listens until its standard input is closed. A request is a line of JSON,
see :class:`Request`; the answer is the exit code of the command, negative if a signal ended it.
"""

from __future__ import annotations

import atexit
from contextlib import suppress
import gc
import json
import os
from pathlib import Path
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import typing as t

import alembic.command  # noqa: F401
import flask.cli  # noqa: F401
import flask_sqlalchemy  # noqa: F401
import servers


class Request(t.TypedDict):
    """What to run.

    :param command: What follows ``python -m``.
    :param folder: The working directory.
    :param environment: The environment, all of it.
    :param outputs: The files that are its standard output and standard error.
    """

    command: list[str]
    folder: str
    environment: dict[str, str]
    outputs: list[str]


class Forks:
    """Starts the process and asks it.

    :param environment: The environment in which it imports the libraries.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = str(Path(self._folder.name, "socket"))
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._path],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        atexit.register(self._close)

    def run(
        self, command: t.Sequence[str], folder: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a module as a command, without a terminal."""
        with tempfile.TemporaryDirectory() as place:
            outputs = [Path(place, "stdout"), Path(place, "stderr")]
            code = self._ask(
                {
                    "command": list(command),
                    "folder": str(folder.absolute()),
                    "environment": environment,
                    "outputs": list(map(str, outputs)),
                }
            )
            said = [output.read_text() for output in outputs]
        return subprocess.CompletedProcess(command, code, *said)

    def _ask(self, request: Request) -> int:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(self._path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            return int(connection.recv(100))

    def _close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()


def next_request(listener: socket.socket) -> Request:
    """Answer until there is a request; it is returned in the process that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                return answer(connection)
    sys.exit()


def answer(connection: socket.socket) -> Request:
    """Wait in this process for another one that runs the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request: Request = json.loads(connection.makefile().readline())
    process = os.fork()
    if process == 0:
        return request
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    connection.sendall(str(code).encode())
    os._exit(0)


def become(request: Request) -> None:
    """Be like a process that was started with this command."""
    for number, path in enumerate([os.devnull, *request["outputs"]]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.argv = request["command"]


if __name__ == "__main__":
    for driver in ("sqlite", "psycopg", "pymysql"):
        with suppress(servers.NoDriverError):
            servers.require_driver(driver)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        gc.freeze()  # what the forks share stays shared
        print("ready", flush=True)
        request = next_request(listener)
    become(request)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
