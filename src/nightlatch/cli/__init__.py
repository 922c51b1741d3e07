"""The command line: verbs only."""

from nightlatch.cli import evaluation, verbs
from nightlatch.cli.common import app


def main() -> None:
    app()


__all__ = ["app", "evaluation", "main", "verbs"]
