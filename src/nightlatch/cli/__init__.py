"""The command line: verbs only."""

from nightlatch.cli import commands, data, evaluation, pictures
from nightlatch.cli.common import app


def main() -> None:
    app()


__all__ = ["app", "commands", "data", "evaluation", "main", "pictures"]
