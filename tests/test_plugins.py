"""Plugins are found, and a wrong one stops the start by its name."""

import os
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points, version
from pathlib import Path

import pluggy
import pytest

from jobd import hookspecs, plugins
from jobd.config import load
from jobd.errors import ConfigError
from jobd.executor import Executor, Options, Region
from jobd.hookspecs import hookimpl
from jobd.schedule import zone_rules

ROOT = Path(__file__).parent.parent

PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "acme-nomad"
version = "1.0"

[project.entry-points.jobd]
nomad = "acme_nomad"

[tool.setuptools]
py-modules = ["acme_nomad"]
"""

NOMAD = """
from pathlib import Path

from jobd.executor import Executor, Options
from jobd.hookspecs import hookimpl


class NomadOptions(Options):
    address: str = "http://127.0.0.1:4646"
    token_file: Path | None = None
    priority: int = 50


class Nomad(Executor):
    options = NomadOptions

    def identity(self):
        return f"{self.region.options.address} {self.region.options.priority} {self.region.installation}"


@hookimpl
def jobd_executors():
    return {"nomad": Nomad}
"""

ONE_REGION = """
[jobd]
default_region = SHANGHAI1
[region:SHANGHAI1]
executor = nomad
address = http://10.0.0.5:4646
"""


@pytest.fixture(scope="module")
def nomad(tmp_path_factory):
    """The folder that pip installed somebody's plugin to."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("setuptools >= 77 is missing, with which pip builds the plugin")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "acme_nomad.py").write_text(NOMAD)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True)
    return target


@pytest.fixture
def python(nomad, tmp_path):
    """Run a line of Python where the plugin is installed, beside a jobd.ini."""

    def python(code: str, ini: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "jobd.ini").write_text(ini)
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (nomad, ROOT, ROOT / "plugins")))}
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True)

    return python


CHECK = "from jobd.cli.check_config import check_config; check_config()"


def test_an_installed_plugin_runs_a_region_with_its_options(python):
    ran = python(
        """
from pathlib import Path
from jobd import config, plugins
kinds = plugins.executor_kinds(plugins.build())
settings = config.load(Path("jobd.ini"), kinds)
print(plugins.build_executors(kinds, settings, "i1")["SHANGHAI1"].identity())
""",
        ONE_REGION,
    )
    assert (ran.stdout, ran.stderr) == ("http://10.0.0.5:4646 50 i1\n", "")


def test_check_config_is_content_with_it(python):
    ran = python(CHECK, ONE_REGION)
    rules = f"time zone rules: {zone_rules.in_use()}\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"jobd.ini: ok, 1 region (SHANGHAI1)\n{rules}", "")


def test_a_wrong_option_of_it_stops_check_config_with_its_line(python):
    ran = python(CHECK, ONE_REGION + "priority = high\nadress = x\n")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "jobd.ini:7: [region:SHANGHAI1] priority: should be a valid integer, unable to parse string as an integer;"
        " expected a value such as 50\n"
        "jobd.ini:8: [region:SHANGHAI1] adress: no such key; expected address\n"
    )


def test_an_unknown_flag_of_check_config_is_a_matter_of_usage(python):
    ran = python(f"import sys; sys.argv += ['--frob']; {CHECK}", "")
    assert ran.returncode == 2


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution of one module on the path, the way pip leaves it there."""

    def install(distribution: str, module: str, code: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[jobd]\nmain = {module}\n")
        (folder / f"{module}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


@pytest.mark.parametrize(
    ("module", "code", "fault"),
    [
        ("acme_absent", "import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("acme_exits", "raise SystemExit('not on Mondays')", "SystemExit: not on Mondays"),
        ("acme_broken", "def f(:", "SyntaxError: invalid syntax"),
        (
            "acme_misspelt",
            """
            from jobd.hookspecs import hookimpl
            @hookimpl
            def jobd_exec_endet(exec):
                pass
            """,
            "unknown hook 'jobd_exec_endet'",
        ),
        (
            "acme_arguments",
            """
            from jobd.hookspecs import hookimpl
            @hookimpl
            def jobd_exec_ended(execution):
                pass
            """,
            "execution",
        ),
    ],
)
def test_a_plugin_that_cannot_be_used_stops_the_start_by_its_name(install, module, code, fault):
    install("acme-tools", module, code)
    with pytest.raises(ConfigError) as caught:
        plugins.build()
    assert caught.value.message.startswith("plugin acme-tools:main")
    assert fault in caught.value.message


OFFERS_ACME = """
from jobd.executor import Executor
from jobd.hookspecs import hookimpl
@hookimpl
def jobd_executors():
    return {"acme": Executor}
"""


def test_two_plugins_with_the_same_entry_point_name_both_count(install):
    install("acme-one", "acme_one", OFFERS_ACME)
    install("acme-two", "acme_two", "")
    names = {name for name, _ in plugins.build().list_name_plugin()}
    assert names >= {"acme-one:main", "acme-two:main"}


def test_two_plugins_that_offer_the_same_executor_are_both_named(install):
    install("acme-one", "acme_one", OFFERS_ACME)
    install("acme-two", "acme_two", OFFERS_ACME)
    with pytest.raises(ConfigError, match="acme-one:main and acme-two:main both offer the executor `acme`"):
        plugins.executor_kinds(plugins.build())


class OptionsWithImages(Options):
    images: str = ""


class TakesImages(Executor):
    options = OptionsWithImages


class WithoutModel(Executor):
    options = dict


def offering(answer):
    """A manager with one plugin that answers `answer`, or raises it."""

    class Plugin:
        @hookimpl
        def jobd_executors(self):
            if isinstance(answer, Exception):
                raise answer
            return answer

    manager = pluggy.PluginManager("jobd")
    manager.add_hookspecs(hookspecs)
    manager.register(Plugin(), name="acme:main")
    return manager


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "jobd_executors returned None"),
        (KeyError("x"), "jobd_executors: KeyError: 'x'"),
        ({"acme": object}, "executor `acme`: not a subclass of jobd.executor.Executor"),
        ({"acme": WithoutModel}, "executor `acme`: its options are no pydantic model"),
        ({"acme": TakesImages}, "executor `acme`: its options may not be called images"),
    ],
)
def test_a_wrong_answer_is_told_with_its_plugin(answer, fault):
    with pytest.raises(ConfigError) as caught:
        plugins.executor_kinds(offering(answer))
    assert caught.value.message.startswith(f"plugin acme:main: {fault}")


class Recorder(Executor):
    """Closes into a list, and refuses the region `BAD`."""

    closed: list[str] = []

    def __init__(self, region: Region) -> None:
        super().__init__(region)
        if region.name == "BAD":
            raise OSError("no such socket")

    def close(self) -> None:
        self.closed.append(self.region.name)


def test_an_executor_that_cannot_be_made_names_its_region_and_closes_the_others(tmp_path):
    path = tmp_path / "jobd.ini"
    path.write_text("[jobd]\ndefault_region = GOOD\n[region:GOOD]\nexecutor = acme\n[region:BAD]\nexecutor = acme\n")
    kinds = plugins.executor_kinds(offering({"acme": Recorder}))
    with pytest.raises(ConfigError, match=r"\[region:BAD\]: executor `acme`: OSError: no such socket"):
        plugins.build_executors(kinds, load(path, kinds, {}), "i1")
    assert Recorder.closed == ["GOOD"]


def test_jobds_own_executors_are_plugins_like_any_other():
    if not any(point.dist and point.dist.name == "jobd" for point in entry_points(group="jobd")):
        pytest.skip("jobd is not installed here; script/test installs it")
    kinds = plugins.executor_kinds(plugins.build())
    assert kinds.keys() >= {"docker", "docker-ssh", "dry-run"}
    assert list(load(ROOT / "jobd.ini", kinds, {}).regions) == ["BEIJING1", "DRYRUN"]
