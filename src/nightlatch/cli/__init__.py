"""The command line: verbs only."""

from nightlatch.cli import commands, data, pictures, evaluation, about  # noqa: I001 - help lists commands in the order of import
from nightlatch.cli.common import app


def main() -> None:
    app()


__all__ = ["about", "app", "commands", "data", "evaluation", "main", "pictures"]
