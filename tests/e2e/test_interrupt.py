"""Ctrl-C while a revision runs."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys

from harness import Project


def test_interrupt_rolls_back(tmp_path: Path, postgresql_url: str) -> None:
    """SIGINT rolls the transaction back and ends the process with 130, without a traceback."""
    project = Project(tmp_path / "project", postgresql_url)
    project.db("init")
    project.revision(
        "aaaa0001",
        upgrade=[
            "op.create_table('half', sa.Column('id', sa.Integer))",
            "import signal",
            "print('ready', flush=True)",
            "signal.pause()",
        ],
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "db", "upgrade"],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a job in the background of a shell ignores the signal, and what it starts does, too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 130
        finally:
            process.kill()
        assert process.stderr.read() == "\nInterrupted.\n"
    assert project.inspect() == []
