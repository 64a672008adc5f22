"""The README: its console blocks are run, its commands are all there are."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from harness import normal
import pytest

import flask_dbmigrate.cli
from flask_dbmigrate.config import Settings

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.rst").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language, unindented."""
    pattern = rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)"
    return [
        "\n".join(line[4:] for line in block.rstrip("\n").splitlines()) + "\n"
        for block in re.findall(pattern, README, re.MULTILINE)
    ]


def examples() -> list[tuple[str, str]]:
    """Commands of the console blocks, each with the output that the README shows."""
    found: list[tuple[str, str]] = []
    for line in "".join(blocks("console")).splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].rstrip(), ""))
        else:
            command, output = found[-1]
            found[-1] = (command, output + line)
    return found


def test_console_blocks_show_real_output(tmp_path: Path) -> None:
    """Each command of the README, run in the order of the README, prints what it shows."""
    (tmp_path / "app.py").write_text(blocks("python")[0])
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    identifier = re.search(r"versions/(\w{12})_", README)
    assert identifier is not None
    shown = real = ""
    for command, output in examples():
        shown += f"$ {command}\n{output}"
        # the only thing that cannot be repeated is a random identifier
        fixed = command.replace("db migrate", f"db migrate --rev-id {identifier[1]}")
        done = subprocess.run(
            fixed,
            shell=True,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        real += f"$ {command}\n{done.stdout}"
    assert len(examples()) >= 5
    assert normal(real) == normal(shown)


def test_first_command_works_on_a_fresh_machine(tmp_path: Path) -> None:
    """The line at the top installs the package and migrates the example application."""
    ignored = shutil.ignore_patterns(".*", "instance", "__pycache__", "*.db")
    checkout = shutil.copytree(CHECKOUT, tmp_path / "checkout", ignore=ignored)
    line = next(line for line in README.splitlines() if line.startswith("    python3 -m venv"))
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "DATABASE_URL", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        line, shell=True, cwd=checkout, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No new upgrade operations detected.\n"
    assert "Database 'default' is at 'c20b86f1d5a7' now: 3 revisions with " in done.stderr


@pytest.mark.parametrize("name", flask_dbmigrate.cli.db.list_commands(None))  # type: ignore[arg-type]
def test_every_command_is_documented(name: str) -> None:
    """The command table has each command with each of its own options."""
    command = flask_dbmigrate.cli.db.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    section = README.partition("Commands\n--------")[2].partition("Exit codes")[0]
    row = re.search(rf"^``{name}``.*?(?=^``|^===)", section, re.MULTILINE | re.DOTALL)
    assert row is not None
    common = {"directory", "x_arg", "traceback", "as_json"}
    inherited = row[0] + (section if "the same options" in row[0] else "")
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name not in common:
            written = [
                form for option in parameter.opts for form in (f"``{option}", f"/{option}``")
            ]
            assert any(form in inherited for form in written), parameter.opts


def test_every_setting_is_documented() -> None:
    """The table of settings has every key, with its default."""
    for setting in dataclasses.fields(Settings):
        key = f"DBMIGRATE_{setting.name.upper()}"
        assert re.search(rf"^``{key}`` +{setting.default} ", README, re.MULTILINE), key
