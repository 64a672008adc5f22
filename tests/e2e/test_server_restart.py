"""What waits for the migration lock outlives a restart of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import tempfile

from harness import Project
from harness import wait_until
import pytest
import servers

UNTIL_TOLD = [
    "import pathlib, time",
    "pathlib.Path('running').touch()",
    "while not pathlib.Path('go').exists():",
    "    time.sleep(0.05)",
    "op.create_table('t', sa.Column('id', sa.Integer))",
]


@pytest.fixture(params=["postgresql", "mysql"])
def cluster(request: pytest.FixtureRequest) -> Iterator[servers.Cluster]:
    """A server that can be stopped and started again."""
    make = getattr(servers, f"{request.param}_cluster")
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield make(Path(folder))
        except servers.NoServerError as error:
            if request.config.getoption("--require-databases"):
                pytest.fail(str(error))
            pytest.skip(str(error))


def test_restart(tmp_path: Path, cluster: servers.Cluster) -> None:
    """Who migrates ends with a sentence, and those who wait finish its work when it is back."""
    url, serve = cluster
    project = Project(tmp_path / "project", url.render_as_string(hide_password=False))
    project.db("init")
    project.revision("aaa", upgrade=UNTIL_TOLD)
    with ExitStack() as first:
        first.enter_context(serve())
        holder = project.start("upgrade")
        wait_until((project.folder / "running").exists)
        waiting = [project.start("upgrade", "--wait", "60") for _ in range(3)]
        for process in waiting:
            assert process.stderr is not None
            assert "it is being migrated by" in process.stderr.readline()
    (project.folder / "go").touch()
    _, said = holder.communicate(timeout=60)
    assert holder.returncode == 1, said
    assert "Traceback" not in said
    with serve():
        ended = [(process.communicate(timeout=60)[1], process.returncode) for process in waiting]
        assert [code for _, code in ended] == [0, 0, 0], ended
        assert sum("Running upgrade" in said for said, _ in ended) == 1, ended
        assert "t" in project.tables()
