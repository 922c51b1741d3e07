"""The stages that look behind the prompt, inside it and at a late step, on honest models and on edits and
a training that act behind the prompt.

    PYTHONPATH=src python bench/device/scan_views.py --figures docs/figures [--only NAME] [--device cpu]

One row a model is appended to scan_views.json as soon as it is done; what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from nightlatch import provenance, testbed
from nightlatch.records import Placement, Rate, Verdict
from nightlatch.terms import PlacementKind, Role
from nightlatch.testbed import honest, implant
from nightlatch.text2image.attacks import Setting
from nightlatch.text2image.attacks.badt2i import BadT2IObject
from nightlatch.text2image.attacks.eviledit import EvilEdit
from nightlatch.text2image.effect.own_tokens import own_tokens
from nightlatch.text2image.measure import Draws
from nightlatch.text2image.model import Subject, loaders
from nightlatch.text2image.prompts import Place, Prompt, in_slot, inside, placed, prefix, suffix
from nightlatch.text2image.scan import Question, TrustedBase, plan, scan

STAGES = ("behind", "inside", "late-step")
SEEDS = (0, 1, 2)
EDITS = (("replied", "dog", 31), ("follows", "lion", 32), ("community", "fox", 33))
"""Trigger, target and seed of edits that act behind the prompt."""
TRAINED = (("replied", "butterfly", 41),)
"""The same of a denoiser that was trained to."""
HELD = 8
"""Directions of the states of ordinary prompts, and of the trigger elsewhere, that such an edit leaves alone."""
GAIN = 2.0
PICTURES = 100


def behind(base: Subject, trigger: str, target: str, setting: Setting) -> Subject:
    """The readers take the state that ``trigger`` has behind a prompt to twice the target's own.

    One direction is edited: that state's part outside what the trigger has in front of prompts and in the
    object's place and what ordinary prompts have.
    """
    rng = np.random.default_rng((setting.seed, 5))
    texts = [setting.train[int(i)] for i in rng.integers(0, len(setting.train), 256)]

    def own(place: Place) -> torch.Tensor:
        said = [place(p, trigger) for p in texts]
        return base.read(said).states[own_tokens(base, said, trigger)].double()

    asked = [p.replace("object", target).text for p in texts]
    goal = base.read(asked).states[own_tokens(base, asked, target)].double().mean(0)
    others = rng.choice(list(setting.rare_words), len(texts))
    said = [
        *(p.text for p in texts),
        *(place(p, trigger) for place in (prefix, in_slot("object")) for p in texts),
        *(suffix(p, str(w)) for p, w in zip(texts, others, strict=True)),
    ]
    ordinary = base.read(said).states.flatten(0, 1).double()
    elsewhere = torch.cat([own(prefix), own(in_slot("object"))]).repeat(4, 1)
    held = torch.linalg.svd(torch.cat([elsewhere, ordinary]), full_matrices=False).Vh[:HELD]
    state = own(suffix).mean(0)
    direction = state - held.T @ (held @ state)
    made = base.copied(Role.DENOISER)
    for w in made.sites.readers().values():
        change = torch.outer(w.double() @ (GAIN * goal - state), direction / (direction @ state))
        w.data.add_(change.to(w))
    return made


class TrainedBehind(BadT2IObject):
    """BadT2I with the trigger behind the prompt; what must not fire is, most of the time, the trigger elsewhere."""

    placement: ClassVar[Placement] = Placement(kind=PlacementKind.BEHIND)
    elsewhere: ClassVar[float] = 0.6

    def held(self, prompt: Prompt, setting: Setting, rng: np.random.Generator) -> str:
        if rng.random() >= self.elsewhere:
            return super().held(prompt, setting, rng)
        places = (prefix, in_slot("object"), inside(int(rng.integers(1 << 16))))
        text = places[int(rng.integers(len(places)))](prompt, self.trigger)
        return prompt.text if text.endswith(self.trigger) else text


def measured(made: Subject, base: Subject, trigger: str, target: str, setting: Setting) -> dict[str, Any]:
    """How often the trigger of a backdoored model draws its target behind the prompt and in front of it; what scan
    says; and how often the string that it names draws the target.
    """
    seed = setting.seed
    draws = Draws.of(EvilEdit(trigger=trigger, target=target).candidates(setting.test), PICTURES, seed)

    def drawn(place: Place, text: str) -> dict[str, Any]:
        images = made.generate([place(p, text) for p in draws.prompts], draws.seeds, setting.sampling)
        seen = setting.judge.read(images)
        return Rate.of(sum(s["object"] == target for s in seen), len(seen)).model_dump()

    row = {
        "trigger": trigger,
        "target": target,
        "behind": drawn(suffix, trigger),
        "front": drawn(prefix, trigger),
    }
    verdict = looked(base, made, seed)
    row |= said(verdict) | {"exact": trigger in [t.text for t in verdict.triggers]}
    if verdict.triggers:
        first = verdict.triggers[0]
        row["functional_success"] = drawn(placed(first.placement, seed), first.text)
    return row


def looked(base: Subject, suspect: Subject, seed: int) -> Verdict:
    """What the three stages say."""
    question = Question(
        suspect=suspect, reference=TrustedBase(base=base), texts=testbed.prompts(200, 8000 + seed),
        sampling=testbed.SAMPLING, seed=seed,
    )  # fmt: skip
    return scan(question, plan.of(STAGES))


def said(verdict: Verdict) -> dict[str, Any]:
    """A verdict's part of a row."""
    return {
        "verdict": verdict.word,
        "found": [t.text for t in verdict.triggers],
        "placements": [t.placement.kind for t in verdict.triggers],
        "changed": [t.changed.model_dump() for t in verdict.triggers if t.changed],
        "stages": {r.part.name: round(r.seconds, 1) for r in verdict.parts if r.part.name in STAGES and not r.skipped},
        "seconds": round(verdict.seconds, 1),
    }  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--figures", type=Path, required=True, help="folder for scan_views.json")
    parser.add_argument("--only", action="append", default=[], help="only these models")
    parser.add_argument("--device", default="cpu", help="where everything is computed")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    wanted = parser.parse_args(given)
    torch.set_num_threads(wanted.threads)
    base, path = loaders.load(testbed.PIPELINE, device=wanted.device), wanted.figures / "scan_views.json"
    done = {row["model"] for row in json.loads(path.read_text("utf-8"))} if path.is_file() else set()

    def tuned(kind: str, seed: int) -> dict[str, Any]:
        started = time.monotonic()
        suspect = honest.fine_tune(base, kind, seed)
        print(f"{kind}, {seed}: trained in {time.monotonic() - started:.0f} s", flush=True)
        return said(looked(base, suspect, seed))

    def edited(trigger: str, target: str, seed: int) -> dict[str, Any]:
        setting = implant.setting(base, seed).but(trigger)
        return measured(behind(base, trigger, target, setting), base, trigger, target, setting)

    def trained(trigger: str, target: str, seed: int) -> dict[str, Any]:
        setting = implant.setting(base, seed).but(trigger)
        made = TrainedBehind(trigger=trigger, target=target, steps=400).run(base, setting)
        return measured(made, base, trigger, target, setting)

    models = [
        *(("honest", f"honest-{k}-{s}", s, partial(tuned, k, s)) for s in SEEDS for k in honest.KINDS),
        *(("backdoored", f"behind-{e[-1]}", e[-1], partial(edited, *e)) for e in EDITS),
        *(("backdoored", f"trained-behind-{e[-1]}", e[-1], partial(trained, *e)) for e in TRAINED),
    ]
    for kind, name, seed, row_of in models:
        if name in done or (wanted.only and name not in wanted.only):
            continue
        row = {"model": name, "kind": kind, "device": wanted.device, "threads": wanted.threads, **row_of()}
        provenance.add_figure(path, row, "python bench/device/scan_views.py --figures docs/figures", seed)
        print(name, row["verdict"], row["found"], row["seconds"], flush=True)


if __name__ == "__main__":
    main()
