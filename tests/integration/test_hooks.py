"""Post-write hooks, and whatever else prints while a revision is written."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shlex
import sys

from harness import Application
from harness import Project
import pytest

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError

NOISE = "import subprocess; print('env.py'); subprocess.run(['echo', 'its child'], check=True)\n"


def hooks(**programs: str) -> None:
    """Have post-write hooks that run Python code; the script is ``sys.argv[1]``."""
    lines = ["[post_write_hooks]", f"hooks = {','.join(programs)}"]
    for name, code in programs.items():
        program = Path(f"{name}.py").absolute()
        program.write_text("import sys\n" + code)
        options = f"{shlex.quote(str(program))} REVISION_SCRIPT_FILENAME"
        lines += [f"{name}.type = exec", f"{name}.executable = {sys.executable}"]
        lines += [f"{name}.options = {options}"]
    ini = Path("migrations/alembic.ini")
    ini.write_text(ini.read_text() + "\n".join(lines) + "\n")


@pytest.mark.parametrize("command", ["migrate", "revision", "merge"])
def test_stdout_is_for_the_path(new_project: Project, command: str) -> None:
    """What hooks, env.py and their child processes print goes to stderr; stdout stays JSON."""
    if command == "merge":
        new_project.revision("aaa")
        new_project.revision("bbb")
    env_py = new_project.folder / "migrations" / "env.py"
    env_py.write_text(NOISE + env_py.read_text())
    ini = new_project.folder / "migrations" / "alembic.ini"
    settings = "[alembic]\nrevision_environment = true\n"
    ini.write_text(
        ini.read_text().replace("[alembic]\n", settings)
        + "[post_write_hooks]\nhooks = one\none.type = exec\none.executable = echo\n"
        "one.options = the hook REVISION_SCRIPT_FILENAME\n"
    )
    done = new_project.flask("db", command, "--json", "--rev-id", "ccc")
    assert done.returncode == 0, done.stderr
    assert [found["revision"] for found in json.loads(done.stdout)["revisions"]] == ["ccc"]
    for said in ("env.py\n", "its child\n", "the hook "):
        assert said in done.stderr


def test_hook_that_fails(
    start: Callable[..., Application], capfd: pytest.CaptureFixture[str]
) -> None:
    """A hook that fails is reported, and the others run; the script is written all the same."""
    application = start()
    hooks(
        lint="print('line 7'); sys.exit(3)",
        stamp="open(sys.argv[1], 'a').write('# stamped')",
    )
    runner = application.app.test_cli_runner()
    done = runner.invoke(args=["db", "revision", "--rev-id", "aaa"])
    assert (done.exit_code, done.stdout) == (0, "migrations/versions/aaa_.py\n")
    assert "The post-write hook 'lint' failed with exit code 3.\n" in done.stderr
    assert done.stderr.count(" failed ") == 1
    assert capfd.readouterr() == ("", "line 7\n")
    assert Path("migrations/versions/aaa_.py").read_text().endswith("# stamped")
    written = flask_dbmigrate.merge(revisions=["aaa"], rev_id="bbb")
    assert [(hook.name, hook.exit_code) for hook in written.failed_hooks] == [("lint", 3)]


@pytest.mark.parametrize("ending", ["", "sys.exit(1)"])
def test_hook_that_leaves_nothing(start: Callable[..., Application], ending: str) -> None:
    """A script that a hook has emptied, as on a full disk, does not stay."""
    start()
    hooks(tidy=f"open(sys.argv[1], 'w').close()\n{ending}")
    with pytest.raises(ConfigurationError, match=r"hook has left nothing of '.*aaa_\.py'"):
        flask_dbmigrate.revision(rev_id="aaa")
    assert list(Path("migrations/versions").glob("*.*")) == []


def test_program_of_a_hook_that_is_missing(start: Callable[..., Application]) -> None:
    """A hook that cannot be run at all is an error that says that the script is there."""
    start()
    ini = Path("migrations/alembic.ini")
    section = "[post_write_hooks]\nhooks = one\none.type = exec\none.executable = /no/such\n"
    ini.write_text(ini.read_text() + section)
    with pytest.raises(ConfigurationError, match=r"written, but a post-write hook failed: .*such"):
        flask_dbmigrate.revision(rev_id="aaa")
    assert flask_dbmigrate.heads().revisions[0].revision == "aaa"
