"""docs/cli.md names every command and, in the command's section or for all of its group, every option."""

import re
from pathlib import Path

import click
import pytest

from jobd.cli.failure import EXIT_CODES, INTERRUPTED
from jobd.cli.main import jobd

PAGE = (Path(__file__).parents[2] / "docs/cli.md").read_text(encoding="utf-8")


def sections():
    heads = list(re.finditer(r"^### `(.+)`$|^## .+$", PAGE, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(PAGE)]
    return {head[1]: PAGE[head.end() : end] for head, end in zip(heads, ends, strict=True) if head[1]}


def options_of_group(path):
    """Those that the text before the command's section, under its group's heading, says of all of them."""
    before = PAGE[: PAGE.index(f"### `{path}`")]
    _, _, chapter = before.rpartition("\n## ")
    return options_in(chapter.partition("### ")[0])


def options_in(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def commands(group=jobd, path="jobd"):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands())


def test_the_page_has_a_section_for_each_command_and_no_other():
    assert sections().keys() == COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_each_option_is_named_in_its_commands_section(path):
    command = COMMANDS[path]
    options = {name for p in command.params if isinstance(p, click.Option) for name in [*p.opts, *p.secondary_opts]}
    options = {name for name in options if name.startswith("--")}
    assert options_in(sections()[path]) <= options <= options_in(sections()[path]) | options_of_group(path)


@pytest.mark.parametrize("path", COMMANDS)
def test_each_short_option_is_named_on_the_page(path):
    for option in COMMANDS[path].params:
        for name in option.opts:
            if re.fullmatch(r"-[a-z]", name):
                assert f"`{name}`, `{option.opts[-1]}`" in PAGE


@pytest.mark.parametrize("code", sorted({0, 1, INTERRUPTED, *EXIT_CODES.values()}))
def test_each_exit_code_is_explained(code):
    assert f"| {code} | " in PAGE
