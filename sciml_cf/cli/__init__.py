"""The command line: `sciml-cf COMMAND`, one module for each group of commands."""

from sciml_cf.cli.dispatch import COMMANDS, main

__all__ = ["COMMANDS", "main"]
