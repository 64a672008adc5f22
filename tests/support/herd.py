"""Runs ``flask`` commands one after the other, each in several processes at the same moment.

``python herd.py COMMANDS``, a JSON list of ``[count, [argument, ...]]``: the processes are forked
when everything is imported, so they really compete. Writes, for each command, a JSON list of exit
codes and outputs.
"""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
import sys
import tempfile

import alembic.command  # noqa: F401
from flask.cli import main

import flask_dbmigrate.commands.running  # noqa: F401


def run(arguments: list[str], start: int, output: Path) -> None:
    """Wait until the other end of the pipe is closed, and run the command."""
    os.read(start, 1)
    stream = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    sys.argv = ["flask", *arguments]
    try:
        main()
    except SystemExit as error:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error.code, int) else 0)


def herd(count: int, arguments: list[str]) -> list[tuple[int, str]]:
    """Run the command; return exit code and output of each process."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, str(number)) for number in range(count)]
        reader, writer = os.pipe()
        processes = []
        for output in outputs:
            process = os.fork()
            if process == 0:
                os.close(writer)
                run(arguments, reader, output)
                os._exit(0)
            processes.append(process)
        os.close(writer)
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        return [(code, output.read_text()) for code, output in zip(codes, outputs, strict=True)]


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    __import__("app").create_app()  # loads the driver, too
    gc.freeze()  # what the forks share stays shared
    print(json.dumps([herd(count, arguments) for count, arguments in json.loads(sys.argv[1])]))
