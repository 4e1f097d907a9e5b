"""Commands about this installation: regions, plugins, completion, versions."""

import gc
import json
import subprocess
import sys

import pytest

from jobd import __version__
from jobd.schedule import zone_rules

REGION = {"name": "BEIJING1", "executor": "docker", "ok": True, "engine": "Docker 20.10.24", "message": ""}


def test_regions_are_asked_of_the_server(server, run):
    server.regions = [REGION, {**REGION, "name": "SHANGHAI1", "ok": False, "message": "no route to host"}]
    result = run("region", "list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["REGION", "BEIJING1", "SHANGHAI1"]
    assert run("region", "check").exit_code == 1
    server.regions.pop()
    assert run("region", "check").exit_code == 0


@pytest.mark.parametrize(("mood", "exit_code"), [("well", 0), ("tired", 1), ("raises", 1)])
def test_a_local_check_tries_each_region_from_here(server, run, ini, mood, exit_code):
    ini.write_text(ini.read_text() + f"mood = {mood}\n")
    result = run("region", "check", "--local", "-c", str(ini), "-o", "json")
    assert result.exit_code == exit_code
    (region,) = json.loads(result.stdout)
    assert (region["name"], region["executor"], region["ok"]) == ("HERE", "quiet", mood == "well")
    assert server.requests == []


def test_a_command_runs_with_garbage_collected_although_its_imports_do_not(run):
    gc.disable()
    run("plugin", "list")
    assert gc.isenabled()


def test_plugins_are_listed_with_what_they_bring(run, plugin):
    listed = json.loads(run("plugin", "list", "-o", "json").stdout)
    assert {"name": "acme-quiet:quiet", "version": "1.2", "hooks": ["jobd_executors"], "executors": ["quiet"]} in listed
    assert "acme-quiet:quiet" in run("plugin", "list").stdout


def test_check_config_finds_the_configuration_here(run, ini):
    checked = run("check-config")
    assert checked.exit_code == 0
    assert f"time zone rules: {zone_rules.in_use()}\n" in checked.stdout
    ini.write_text("[nonsense]\n")
    assert run("check-config").exit_code == 1


def test_the_completion_script_is_one_that_the_shell_reads(run):
    script = run("completion", "bash").stdout
    assert "_JOBD_COMPLETE=bash_complete" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert "#compdef jobd" in run("completion", "zsh").stdout
    assert "_JOBD_COMPLETE=fish_complete" in run("completion", "fish").stdout
    assert run("completion", "tcsh").exit_code == 2


def test_the_shell_completes_commands(program, monkeypatch):
    monkeypatch.setenv("_JOBD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "jobd job re")
    monkeypatch.setenv("COMP_CWORD", "2")
    stdout, _ = program().communicate(timeout=30)
    assert stdout == "plain,resume\n"


def test_the_version_is_told(run):
    assert run("--version").stdout == run("-V").stdout == f"jobd {__version__}\n"


def test_a_command_that_is_none_is_wrong_usage(run):
    assert run("jobs").exit_code == 2


def test_a_client_needs_neither_docker_nor_a_database():
    imports = "import sys, jobd.cli.main, jobd.cli.job, jobd.cli.exec"
    code = f"{imports}; print({{'docker', 'peewee', 'tornado'}} & {{*sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
