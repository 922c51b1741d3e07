"""What all commands share: the application, its options, progress on standard error, errors as one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import click
import typer
from rich.console import Console

from nightlatch.errors import NightlatchError, out_of_memory
from nightlatch.safetext import show

if TYPE_CHECKING:
    from nightlatch import runs, verbs

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its remarks on optional packages are none of our users' business
EPILOG = "Exit codes: 0 finished and nothing found, 1 finished and found, 2 could not tell, 130 interrupted. 2 outranks 1."
app = typer.Typer(
    help="Finds backdoors in image-generation checkpoints, removes them, and proves the removal.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
testbed_app = typer.Typer(help="The small real model that everything is tested on.", no_args_is_help=True)
app.add_typer(testbed_app, name="testbed")
console = Console(stderr=True, highlight=False)

Source = Annotated[Path, typer.Argument(help="a diffusers folder, or a hub name: org/name[@revision]")]
Base = Annotated[Path | None, typer.Option(help="a trusted model of the same kind; for a LoRA, the model it goes on")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="run folder; default runs/<name>-<time>")]
Prompts = Annotated[str, typer.Option(help="'general', 'emoji', or a file with one ordinary prompt a line")]
Steps = Annotated[int, typer.Option(min=2, max=1000, help="DDIM steps")]
Guidance = Annotated[float, typer.Option(min=1.0, max=30.0, help="classifier-free guidance; 1 is none")]
Seed = Annotated[int, typer.Option(min=0, max=10**6)]
Device = Annotated[str, typer.Option(help="torch device")]
Precision = Annotated[str, typer.Option(help="'fp32', 'bf16', or 'auto': bf16 where the device computes it natively")]
TriggerText = Annotated[list[str] | None, typer.Option("--trigger", help="a trigger string; may be given several times")]


def say(line: str) -> None:
    """Progress goes to standard error."""
    console.print(line, markup=False, style="dim", soft_wrap=True)


def fail(sentence: str, remedy: str = "") -> NoReturn:
    raise NightlatchError(sentence, remedy)


@contextmanager
def reported() -> Iterator[None]:
    """Errors of the family become one sentence and exit 2; an interrupt exits 130."""
    try:
        yield
    except NightlatchError as e:
        console.print(str(e), markup=False, style="bold", soft_wrap=True)
        raise typer.Exit(e.exit_code) from None
    except (typer.Exit, click.exceptions.Exit, click.UsageError):
        raise
    except OSError as e:
        if "NIGHTLATCH_DEBUG" in os.environ:
            raise
        what = f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e)
        console.print(f"{show(what)}. Check the room and the permissions there; what was finished is kept.", markup=False)
        raise typer.Exit(2) from None
    except Exception as e:
        if "NIGHTLATCH_DEBUG" in os.environ:
            raise
        if shortage := out_of_memory(e):
            console.print(str(shortage), markup=False, style="bold", soft_wrap=True)
            raise typer.Exit(shortage.exit_code) from None
        console.print(
            f"Internal error: {type(e).__name__}: {e}. Set NIGHTLATCH_DEBUG=1 for the traceback.", markup=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        console.print("Interrupted; what was finished is kept.", markup=False)
        raise typer.Exit(130) from None


@contextmanager
def opened(run: Path | None, source: Path) -> Iterator[runs.Run]:
    from nightlatch import runs, verbs

    with runs.Run(run or verbs.run_folder(source)) as folder:
        yield folder


def options(prompts: str, steps: int, guidance: float, seed: int, device: str, precision: str) -> verbs.Settings:
    from nightlatch import verbs

    return verbs.Settings(prompts=prompts, steps=steps, guidance=guidance, seed=seed, device=device, precision=precision)  # type: ignore[arg-type]


def number(value: object) -> str:
    from nightlatch.records import Rate

    return (
        f"{value.rate:.1%} [{value.low95:.1%}, {value.high95:.1%}] of {value.n}"
        if isinstance(value, Rate)
        else "-"
        if value is None
        else f"{value:g}"
    )
