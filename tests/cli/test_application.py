"""The group of commands: what is offered, and how each explains itself."""

import click
import pytest
from cli_runs import invoke, run

from ckpt_surgeon import __version__
from ckpt_surgeon.cli import COMMANDS, main


def test_the_commands_of_the_contract_are_there():
    assert list(COMMANDS) == ["inspect", "diff", "suggest", "remap", "explain", "invert", "verify", "recover", "demo", "schema"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_bears_its_name_and_explains_itself(name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: ckpt-surgeon {name} ")
    assert main.get_command(None, name).name == name


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("schema", "demo", "invert")])
def test_every_command_has_the_common_options(name):
    text = invoke(name, "--help").stdout
    options = ("--format", "--report", "--color", "-q", "-v", "--debug")
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("name", ["diff", "remap", "explain", "invert", "verify"])
def test_commands_which_read_rules_have_the_options_of_rules(name):
    text = invoke(name, "--help").stdout
    options = ("--rules", "-e", "--set", "--allow-missing", "--allow-unexpected", "--require-coverage", "--model-arg")
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    options = [parameter for parameter in main.get_command(None, name).params if isinstance(parameter, click.Option)]
    assert options
    assert [option.name for option in options if not option.help] == []


def test_the_version_is_the_packages():
    assert invoke("--version").stdout == f"ckpt-surgeon {__version__}\n"


def test_it_runs_as_a_module_and_bears_its_own_name():
    done = run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ckpt-surgeon ")


def test_an_unknown_command_is_told_apart_from_a_bug():
    done = run("suggestt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ckpt-surgeon: No such command")
