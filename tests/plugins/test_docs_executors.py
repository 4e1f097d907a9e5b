"""docs/executors.md names every key of the executors that ship with jobd, with its default."""

import re
from pathlib import Path

import pytest

from jobd.executor import Executor
from jobd_docker.executor import DockerExecutor
from jobd_dryrun.executor import DryRunExecutor

PAGE = (Path(__file__).parents[2] / "docs/executors.md").read_text()


@pytest.mark.parametrize(("kind", "executor"), [("docker", DockerExecutor), ("dry-run", DryRunExecutor)])
def test_every_key_is_there_with_its_default(kind: str, executor: type[Executor]):
    section = re.search(rf"^## `{kind}`$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    documented = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section, re.MULTILINE))
    assert documented.keys() == executor.options.model_fields.keys()
    assert executor.options(**documented) == executor.options()
