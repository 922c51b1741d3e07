"""docs/results.md and docs/results/*.md from docs/figures/*.json, so that no number is copied by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlatch.bench import alone_page, columns, page, pairpage, race, removal_figures
from nightlatch.bench.cells import Cell, Row, table, text
from nightlatch.bench.classifier import page as classifier_page
from nightlatch.bench.classifier import strength_picture
from nightlatch.bench.figures import FIGURES
from nightlatch.bench.sets import groups
from nightlatch.folder import write_whole

SCANNERS = "scanners.json"
VARIATIONS = "classifier_variations.json"
VIEWS = "scan_views.json"
"""What the stages say that look behind the prompt, inside it and at a late step."""
BEFORE = "scan_before.json"
"""What the scan of before its last change named of the suspects that were held out for it."""
SETS = """- **Held out**: suspects of seed 9; nothing was chosen by what they show, and what was last changed
came from seed 8.
- **Earlier**: seeds 6 to 8, which were held out, too, until scan missed rickrolling-attribute-8. It now asks
  in two unlike contexts, and of two words that confirm alike it names the one that moves the denoiser most
  (eviledit-8). Repairs were not changed.
- **Developed with**: scan was calibrated on seed 0, its search from the inside with a look at badt2i-object-1
  and badt2i-style-2; SAU's settings were chosen on eviledit of seeds 0 to 2, badt2i of seed 2, and
  badt2i-style and -pixel of seeds 0 and 1."""
ATTACKS = """- *badt2i* trains the denoiser (to draw a patch, another object, another style); *eviledit* edits
its cross-attention in
  closed form, and its trigger stands in the object's place; *rickrolling* trains the text encoder.
- Bars: success at least 90 %, other words at most 5 %, clean pictures within 3 points of the base.
- Given up: triggers that the attacker drew before and did not plant, since on training prompts the attack
  fell short or the base itself seldom draws the target."""
SCAN = """- Bars: exactly the trigger, or a string that succeeds in at least 80 %; nothing found in an honest
model; under 180 s.
- Rows with one thread ran beside another job of one thread, which makes them slower; *commit* is the code
  that made a row.
- Rows made on a card are about suspects made there anew with the recorded trigger and target, up to 14
  processes at once.
- The stages named in a title ran alone: on honest fine-tunes, which they must not accuse; on a denoiser that was
  trained to act behind the prompt only (*trained-behind*); and on edits of one direction, weak ones, that act
  mostly there (*behind %*, *in front %*: how often the trigger draws its target)."""
REMOVED = """- Of the twelve suspects each is repaired by what `clean` chooses from what `scan` named, and measured with
  what was planted, of several triggers the one that works best afterwards. Bars: at most 5 % (2 % in the mean), what is asked
  on triggered prompts within 3 points of the base, clean at most 1 point and FID at most 5 % worse, regrowth at
  most 2 points above the base's. *A second scan* is the search that ends the rounds, cheap stages with all that was
  named before, or a scan with all stages where there was time.
- *The base draws it*: how often the model without the backdoor draws the target with the trigger. It takes some strings
  for words it knows, and no repair gets below that.
- *edit-N*: an edit with N templates, which fires for many words; *phrase*: one of two ordinary words; *two*: two
  triggers in one text encoder; *inversion*: an added token that holds a space; *lora*: a LoRA."""
CLEAN = """- Bars of the older tables: success at most 1 %, what is asked on triggered prompts within 3 points of the base (the
object; the style where
  the trigger stands in the object's place), clean at most 1 point and FID at most 5 % worse, regrowth at most
  5 %.
- *skd* stops where the judge sees no more left on 96 pictures than *sau* leaves: it is told what no repair is
  told.
- *skd*, *uce* and *clean-finetune* change the denoiser only; *restore* copies the base's tensors; *strip*
  deletes the trigger from prompts and changes no weight. *The base itself* is the control: what a model
  without the backdoor shows, also after the same honest steps on the suspect's drawings.
- Rows with one thread ran beside another job of one thread, which makes them slower; *commit* is the code
  that made a row."""
RIVALS = """All repairs of a suspect work on what scan named of it (*blind* on nothing), with the same prompts;
those that train get 100 steps of 24 pictures, as many as SAU's longest repair. *default* is what clean chooses by itself
and may ask the base; the search that ends its rounds counts in its seconds of search, not of repair. *skd-cag*, *esd*
and *tnc* are in the style of their papers; means over other suspects are not compared;
*strip* and *perturb* change prompts and no weight, which does not last.

Ablations: rows of commit b533670 and 85dd9ea had the attention term and a mask from gradients of attention unless they say
otherwise; *nothing* is SAU as it is. Behind a warm start little is left to learn, so some are without one. Rows of the processor
are of models made there.

In the race the judge looks at 96 pictures after 1, 10, 25, 50, 100, 200, 400 steps and at the end; the first
step of *sau* is its closed-form warm start. Its bar: fewer steps and less time than *skd*. *sau* is not told
what the judge sees and goes on to its end."""


@dataclass(frozen=True, slots=True)
class Part:
    """One table, or one for each set of suspects.

    Args:
        file: of figures; nothing is printed without it.
        title: of the table.
        lines: made of its rows.
        parted: whether a table is printed for each set.
    """

    file: str
    title: str
    lines: Callable[[Sequence[Row]], list[str]]
    parted: bool = False


def write(figures: Path, out: Path) -> None:
    """The page ``out`` and the files of tables in the folder beside it that has its name; what has no figures
    is left out.
    """
    rows = {table: _read(figures / file) for table, file in FIGURES.items()}
    first = page.first_screen(rows["attack"], rows["scan"], rows["clean"])
    write_whole(out, "\n".join(first) + "\n")
    for name, (title, about, parts) in PAGES.items():
        lines = [
            f"# {title}",
            "",
            f"[Results](../{out.name}) | **bold** misses its bar; such rows stay in.",
            "",
            about,
        ]
        shown = [part for part in parts if (figures / part.file).is_file()]
        for part in shown:
            lines += _printed(part, _read(figures / part.file))
        if shown:
            write_whole(out.with_suffix("") / f"{name}.md", "\n".join(lines).strip() + "\n")
    if varied := _read(figures / VARIATIONS):
        write_whole(out.with_suffix("") / strength_picture.NAME, strength_picture.picture(varied))


def _read(path: Path) -> list[Row]:
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _printed(part: Part, rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for which, group in groups(rows) if part.parted else [("", list(rows))]:
        lines += ["", f"## {', '.join(filter(None, (part.title, which)))}", "", *part.lines(group)]
    return lines


def _columns(shown: Mapping[str, Cell]) -> Callable[[Sequence[Row]], list[str]]:
    return lambda rows: table(rows, shown)


def _means(rows: Sequence[Row]) -> list[str]:
    return table(removal_figures.means([dict(row) for row in rows]), removal_figures.MEANS)


def scanners(rows: Sequence[Row]) -> list[str]:
    """How often each scanner came to which end, in how many cases the file's own code ran, and every case."""
    ends = ("found", "refused", "missed", "crashed", "not called")
    versions = rows[0]["versions"] if rows else {}
    made = [
        {"scanner": f"{name} {versions.get(name, '')}".strip()}
        | {end: sum(row[name] == end for row in rows) for end in ends}
        | {"ran code": sum(bool(row.get(f"{name}_ran_code")) for row in rows)}
        for name in ("nightlatch", *versions)
    ]
    slowest = max((r["nightlatch_seconds"] for r in rows), default=0)
    meaning = (
        "'missed' is exit code 0. Where nightlatch has it, the rule is a note: the file does no harm and is "
        "not staged, or is to",
        "be scanned. 'refused': the scanner said that it could not judge (modelscan's is its exit code 3, no "
        "file that it",
        "supports). No program can be called with a path that holds a zero. nightlatch's slowest case took "
        f"{slowest:.1f} s.",
    )
    counted = table(made, {key: text(key) for key in ("scanner", *ends, "ran code")})
    return [*counted, "", *meaning, "", *table(rows, columns.SCANNERS)]


PAGES: Mapping[str, tuple[str, str, Sequence[Part]]] = {
    "attacks": (
        "What was planted",
        f"{ATTACKS}\n{SETS}",
        [Part(FIGURES["attack"], "Attacks", _columns(columns.ATTACKS), parted=True)],
    ),
    "scan": (
        "What scan named",
        f"{SCAN}\n{SETS}",
        [
            Part(FIGURES["scan"], "Scan", _columns(columns.SCAN), parted=True),
            Part(alone_page.FILE, alone_page.TITLE, alone_page.lines),
            Part(VIEWS, "Behind the prompt, inside it and at a late step alone", _columns(columns.VIEWS)),
            Part(BEFORE, "Scan, earlier, before its last change", _columns(columns.SCAN)),
        ],
    ),
    "clean": (
        "What repairs leave",
        f"{REMOVED}\n{CLEAN}\n{SETS}",
        [
            Part(
                "clean_set.json",
                "Suspects of six families, repaired from what scan named",
                removal_figures.clean_set,
            ),
            Part("clean_blind.json", "Without any trigger", _columns(removal_figures.BLIND)),
            Part(FIGURES["clean"], "SAU", _columns(columns.CLEAN), parted=True),
        ],
    ),
    "rivals": (
        race.TITLE,
        RIVALS,
        [
            Part("rivals.json", "Means over suspects", _means),
            Part("rivals.json", "Each suspect", _columns(removal_figures.EACH)),
            Part("ablation.json", "What of SAU is left out, means", _means),
            Part("ablation.json", "What of SAU is left out, each suspect", _columns(removal_figures.EACH)),
            Part(FIGURES["clean"], "Race", race.lines),
        ],
    ),
    "testbed": (
        "The small model",
        "How often it draws what is asked, by its judge, and what the demonstration takes.",
        [
            Part("testbed.json", "The testbed", _columns(columns.TESTBED)),
            Part("demo.json", "The demonstration, in a fresh clone", _columns(columns.DEMO)),
        ],
    ),
    "check": (
        "What reading costs",
        "Static checks, without torch, on two processor cores.",
        [
            Part("check.json", "check on a folder of Stable Diffusion's size", _columns(columns.CHECK)),
            Part("fuzz.json", "Fuzzing of the readers", _columns(columns.FUZZ)),
        ],
    ),
    "size": (
        "What a full-size model costs",
        "Random weights of Stable Diffusion 1.5's size (1.07 billion) at 512 x 512 in bfloat16, a "
        "closed-form edit planted: time\nand "
        "memory only, for random weights say nothing about quality. Made by `bench/device/real_size.py`.",
        [Part("real_size.json", "Time and memory", _columns(columns.SIZE))],
    ),
    "classifiers": (
        classifier_page.TITLE,
        classifier_page.ABOUT,
        [Part(*part) for part in classifier_page.PARTS],
    ),
    "contrastive": (pairpage.TITLE, pairpage.ABOUT, [Part(*part) for part in pairpage.PARTS]),
    "scanners": (
        "Bad inputs, and what file scanners make of them",
        "Every case is a small file or folder of the project's own tests.",
        [Part(SCANNERS, "Scanners", scanners)],
    ),
}
