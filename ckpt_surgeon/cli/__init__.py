"""The command line: options -> one library call -> report -> exit code. Only this room prints or exits."""

from ckpt_surgeon.cli.application import COMMANDS, main

__all__ = ["COMMANDS", "main"]
