"""What all commands share: the application, its options, progress on standard error, errors as one
sentence.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import click
import typer
from rich.console import Console

from nightlatch.errors import NightlatchError, out_of_memory
from nightlatch.safetext import inert, show

if TYPE_CHECKING:
    from nightlatch import runs
    from nightlatch.plan import Options

os.environ.setdefault(
    "TRANSFORMERS_VERBOSITY", "error"
)  # its remarks on optional packages are none of our users' business
STOPPED = "2 refused, unreadable or wrongly used, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)."
FOUND = (
    f"Exit codes: 0 nothing found, 1 found (static warnings count), 2 could not tell; also {STOPPED} 2 "
    "outranks 1."
)
DONE = f"Exit codes: 0 done, {STOPPED}"
DEMONSTRATED = f"Exit codes: 0 found and removed, 1 not; also {STOPPED}"
PROVEN = f"Exit codes: 0 removed, 1 not removed or harmed, 2 not verified; also {STOPPED}"
app = typer.Typer(
    help="Finds backdoors in models that make or read pictures, removes them, and proves the removal.",
    epilog=FOUND.replace("Exit codes:", "Exit codes of check and scan:"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
testbed_app = typer.Typer(help="The small real model that everything is tested on.", no_args_is_help=True)
app.add_typer(testbed_app, name="testbed")
console = Console(stderr=True, highlight=False, emoji=False)
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

Source = Annotated[
    Path,
    typer.Argument(
        help="a diffusers folder, a .safetensors checkpoint or LoRA, or a hub name: org/name[@revision]"
    ),
]
Base = Annotated[
    Path | None, typer.Option(help="a trusted model of the same kind; for a LoRA, the model it goes on")
]
RunFolder = Annotated[Path | None, typer.Option("--run", help="run folder; default runs/<name>-<time>")]
Prompts = Annotated[
    str | None,
    typer.Option(
        help="'general', 'emoji', or a file with one ordinary prompt a line; default the run's, else general"
    ),
]
Steps = Annotated[int | None, typer.Option(min=2, max=1000, help="DDIM steps; default the run's, else 10")]
Guidance = Annotated[
    float | None,
    typer.Option(min=1.0, max=30.0, help="classifier-free guidance, 1 is none; default the run's, else 4"),
]
Seed = Annotated[int, typer.Option(min=0, max=10**6)]
RunSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**31 - 1,
        help="of all draws; by default the run folder's, else drawn and recorded",
    ),
]
Device = Annotated[str, typer.Option(help="torch device")]
Precision = Annotated[
    str | None,
    typer.Option(
        help="'fp32', 'bf16', or 'auto': bf16 where the device computes it natively; default the run's, else auto"
    ),
]
FailOn = Annotated[
    str,
    typer.Option(
        help="what ends with 1: a static 'warning' too, an 'error' at least (which is also 2), or what is 'found' only"
    ),
]
TriggerText = Annotated[
    list[str] | None, typer.Option("--trigger", help="a trigger string; may be given several times")
]
Trusted = Annotated[
    Path | None,
    typer.Option(
        help="image-text models: pairs believed clean: a folder with a table, a table, or .tar shards"
    ),
]
PairsOption = Annotated[
    Path | None,
    typer.Option("--pairs", help="image-text models: pairs that the model may have been poisoned by"),
]
Rounds = Annotated[
    int, typer.Option(min=1, max=16, help="most rounds of repair and search; 1 does not search")
]
Blind = Annotated[
    bool,
    typer.Option(
        "--blind", help="without any trigger: what draws more than it means is searched and unlearnt"
    ),
]
Planted = Annotated[
    Path | None,
    typer.Option(help="provenance.json of a model made for evaluation: its trigger is tried, too"),
]
SearchOption = Annotated[
    bool,
    typer.Option(
        "--search/--no-search",
        help="search the repaired model for what is left: scan it, where there is --base",
    ),
]
Poison = Annotated[
    Path | None,
    typer.Option(help="which of --pairs are poisoned, as 'data scan' lists them; found anew by default"),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="image classifiers: clean, labelled pictures; a folder with a sub-folder per class, a folder of "
        "parquet files, or an npz",
    ),
]


def say(line: str) -> None:
    """Progress goes to standard error."""
    tell(line, style="dim")


def tell(line: str, style: str = "") -> None:
    """One line on standard error; nothing that a model or a run folder holds reaches the terminal as it
    is.
    """
    console.print(inert(line.replace("\n", " ")), markup=False, style=style, soft_wrap=True)


def echo(text: str) -> None:
    """Lines on standard output, made harmless as in ``tell``."""
    typer.echo(inert(text))


def fail(sentence: str, remedy: str = "") -> NoReturn:
    raise NightlatchError(sentence, remedy)


class Stopped(BaseException):
    """The process was asked to end; not an Exception, so that nothing but the clean-up stands in its way."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the work as Ctrl-C does, with everything cleaned up; a signal that is ignored
    (nohup) stays ignored.
    """

    def stop(number: int, _: object) -> None:
        for n in caught:
            signal.signal(n, signal.SIG_IGN)
        raise Stopped(number)

    here = threading.current_thread() is threading.main_thread()
    caught = {n: signal.getsignal(n) for n in _ENDING if here and signal.getsignal(n) is signal.SIG_DFL}
    for n in caught:
        signal.signal(n, stop)
    try:
        yield
    finally:
        for n, before in caught.items():
            signal.signal(n, before)


@contextmanager
def reported() -> Iterator[None]:
    """Whatever goes wrong becomes one sentence and exit 2; an interrupt exits 130, SIGTERM 143, SIGHUP
    129.
    """
    try:
        with stoppable():
            yield
    except (typer.Exit, click.exceptions.Exit, click.UsageError, SystemExit, GeneratorExit):
        raise
    except (KeyboardInterrupt, Stopped) as e:
        tell("Interrupted; what was finished is kept.")
        raise typer.Exit(e.exit_code if isinstance(e, Stopped) else 130) from None
    except NightlatchError as e:
        tell(str(e), style="bold")
        raise typer.Exit(e.exit_code) from None
    except BaseException as e:
        if "NIGHTLATCH_DEBUG" in os.environ:
            for line in traceback.format_exc().splitlines():
                tell(line)
        tell(_sentence(e))
        raise typer.Exit(2) from None


def _sentence(e: BaseException) -> str:
    """What to say of an error that nobody foresaw; also of one that is no Exception, as Rust libraries
    raise.
    """
    if shortage := out_of_memory(e):
        return str(shortage)
    if isinstance(e, OSError):
        what = f"{e.filename}: {e.strerror}" if e.filename else str(e.strerror or e)
        return f"{show(what)}. Check the room and the permissions there; what was finished is kept."
    first = next(iter(str(e).strip().splitlines()), "no message")
    return f"Internal error: {type(e).__name__}: {show(first)}. Set NIGHTLATCH_DEBUG=1 for the traceback."


@contextmanager
def opened(run: Path | None, source: Path) -> Iterator[runs.Run]:
    """The run folder that is named, else runs/<name>-<time>."""
    from nightlatch import runs

    with runs.Run(
        run or Path("runs") / f"{source.name or 'model'}-{time.strftime('%Y%m%d-%H%M%S')}"
    ) as folder:
        yield folder


def options(
    prompts: str | None,
    steps: int | None,
    guidance: float | None,
    seed: int | None,
    device: str,
    precision: str | None,
) -> Options:
    """What the user asks for; what is not given is the run's own, else the default."""
    from nightlatch import loading
    from nightlatch.plan import Options

    loading.usable(device)
    named = {"prompts": prompts, "steps": steps, "guidance": guidance, "precision": precision}
    return Options(settings={k: v for k, v in named.items() if v is not None}, seed=seed, device=device)


def inputs(**files: Path | None) -> dict[str, Path]:
    """The files that are given, by the option's name."""
    return {name: path for name, path in files.items() if path is not None}


def number(value: object) -> str:
    from nightlatch.records import Rate

    return (
        f"{value.rate:.1%} [{value.low95:.1%}, {value.high95:.1%}] of {value.n}"
        if isinstance(value, Rate)
        else "-"
        if value is None
        else f"{value:g}"
    )
