"""The experiment on image-text models: which cells it has, and what each measures. Every cell is one
keyed row.

A cell needs models of earlier cells (a base, a poisoned model), which lie in a folder beside the rows and
are made again where they are gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightlatch.contrastive import adapters, metrics
from nightlatch.contrastive.attacks import ATTACKS, Attack, Setting
from nightlatch.contrastive.attacks.base import names
from nightlatch.contrastive.clean import METHODS, Job
from nightlatch.contrastive.find import FINDERS
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.scan import smallest
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.verify import Honest
from nightlatch.errors import AttackFailed
from nightlatch.testbed import pairclip
from nightlatch.testbed.corpus import Corpus

Row = dict[str, Any]
TARGETS = ("banana", "pizza", "mushroom")
"""Of each seed; classes of two domains each."""
FINDER, FOUND_SHARE = "fragile", 0.005
"""What names poison in the setting "found": one finder, and how many of the pairs it names; both fixed
before any model was made.
"""
SETTINGS = {
    "fine-tune": ("none",), "cleanclip": ("none",), "ta-cleaner": ("none",), "par": ("none",),
    "ubt": ("known", "found"), "shortcut": ("known", "found", "none"),
}  # fmt: skip
JUDGES = ("suspect", "clean model")
"""Whose embeddings a finder looks at: the model that was trained on the pairs, or one that never saw them
poisoned.
"""


HARD = "patch, in-modal"
"""The patch on a model whose pre-training and poisoning had the in-modal loss."""
HONEST = 8
"""Honest models beside the backdoored ones in the scan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How large the experiment is.

    Args:
        scenes: emoji scenes in train, trusted and test.
        most: class pictures of each data set.
        base, attack, clean, search, scan: steps, search those per stand-in and round of this project's
            cleaner; of
            the attack a ladder of (share, steps), of which the first that reaches the floor counts.
        rates: of base, attack, cleaning and honest training afterwards.
        rebound: steps of honest training after which success is counted again.
        honest_pairs: of the honest training.
        n: triggered pictures.
        honest: models without a backdoor in the scan.
        tune: steps by which the optimised patch is found.
        floor: least success of an attack.
    """

    shape: pairclip.Shape = field(default_factory=pairclip.Shape)
    scenes: tuple[int, int, int] = (20_000, 2_500, 1_500)
    most: int = 9_000
    base: int = 3_000
    attack: tuple[tuple[float, int], ...] = ((0.005, 800), (0.01, 1_200), (0.02, 1_600))
    clean: int = 300
    search: int = 15
    scan: int = 400
    batch: int = 192
    honest_pairs: int = 12_000
    rates: tuple[float, float, float, float] = (1e-3, 5e-4, 3e-4, 1e-4)
    rebound: tuple[int, int] = (300, 1_000)
    n: int = 1_000
    honest: int = HONEST
    tune: int = 200
    floor: float = 0.8


TINY = Profile(
    shape=pairclip.TINY, scenes=(160, 60, 40), most=60, base=4, attack=((0.02, 2),), clean=2, search=1, scan=4,
    batch=16, rebound=(1, 2), n=20, honest=1, floor=0.0, tune=2,
)  # fmt: skip
"""For the test that all cells run; its numbers mean nothing."""


def cells(seeds: tuple[int, ...], profile: Profile) -> Iterator[Row]:
    """The identities of all cells in a useful order; a cell comes after what it needs."""
    for seed in seeds:
        attacks = [*ATTACKS.names(), *([HARD] if seed == seeds[0] else [])]
        yield {"table": "base", "attack": "", "seed": seed}
        if HARD in attacks:
            yield {"table": "base", "attack": HARD, "seed": seed}
        for attack in attacks:
            yield {"table": "attacks", "attack": attack, "seed": seed}
        for method, settings in SETTINGS.items():
            for setting in settings:
                for attack in attacks:
                    yield {
                        "table": "clean",
                        "attack": attack,
                        "seed": seed,
                        "method": method,
                        "setting": setting,
                    }
        for attack in ATTACKS.names():
            for finder in FINDERS.names():
                for judge in JUDGES:
                    yield {"table": "find", "attack": attack, "seed": seed, "finder": finder, "judge": judge}
            yield {"table": "scan", "attack": attack, "seed": seed}
    for k in range(profile.honest):
        yield {"table": "scan", "attack": "", "seed": seeds[k % len(seeds)], "honest": k}


def needs(cell: Mapping[str, Any]) -> tuple[Row, ...]:
    """The cells whose models ``cell`` loads."""
    base = {"table": "base", "attack": HARD if cell["attack"] == HARD else "", "seed": cell["seed"]}
    if cell["table"] == "base":
        return ()
    if cell["table"] == "attacks" or not cell["attack"]:
        return (base,)
    return (base, {"table": "attacks", "attack": cell["attack"], "seed": cell["seed"]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all cells share.

    Args:
        corpus: on the device.
        models: folder of the models that cells make.
        dtype: what towers compute in, by autocast; float32 is without.
    """

    corpus: Corpus
    models: Path
    profile: Profile
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def run(self, cell: Mapping[str, Any]) -> Row:
        """The row of ``cell``, without its identity."""
        started = time.monotonic()
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            row: Row = getattr(self, f"_{cell['table']}")(cell)
        return {**row, "seconds": round(time.monotonic() - started, 2)}

    # --- cells --------------------------------------------------------------------------------------------------------------

    def _base(self, cell: Mapping[str, Any]) -> Row:
        hard, seed, p = cell["attack"] == HARD, int(cell["seed"]), self.profile
        subject = pairclip.fresh(p.shape, seed).to(self.device)
        pairclip.train(
            subject, self.corpus.train, p.base, p.batch, p.rates[0], seed, in_modal=1.0 if hard else 0.0
        )
        self._keep(subject, self._folder(cell))
        domains = metrics.by_domain(subject, self.corpus.test)
        return {
            "classes": len(self.corpus.test.classes),
            "pairs": len(self.corpus.train),
            **self._useful(subject),
            "domains": domains,
        }

    def _attacks(self, cell: Mapping[str, Any]) -> Row:
        base, p, setting = self._load(needs(cell)[0]), self.profile, self._setting(cell)
        said = ""
        for share, steps in p.attack:
            attack = self._attack(cell, share, steps)
            try:
                made = attack(base, setting, n=p.n)
            except AttackFailed as e:
                said = str(e)
                continue
            folder = self._folder(cell)
            self._keep(made.subject, folder)
            rows = np.flatnonzero(made.poison)
            np.savez(
                folder / "poison.npz", rows=rows, images=made.pairs.images[torch.from_numpy(rows)].cpu().numpy(),
                captions=np.array([made.pairs.captions[int(i)] for i in rows]),
                triggered=made.attack.held_out(setting, p.n).cpu().numpy(),
            )  # fmt: skip
            about = made.record.model_dump(mode="json")
            about["attack"]["parameters"].pop("pixels", None)
            return {"record": about, "share": share, "top1": made.record.success_top1, "top10": made.record.success_top10,
                    "zero_shot_before": made.record.zero_shot_before,
                    "zero_shot_after": made.record.zero_shot_after, "n": p.n}  # fmt: skip
        return {"failed": said}

    def _find(self, cell: Mapping[str, Any]) -> Row:
        pairs, poison = self._poisoned(cell)
        judge = self._load(needs(cell)[0 if cell["judge"] == "clean model" else 1])
        scores = FINDERS.create(cell["finder"])(judge, pairs, int(cell["seed"])).scores
        k = int(poison.sum())
        return {
            "auroc": metrics.auroc(scores, poison),
            "precision_at_k": metrics.precision_at(scores, poison, k),
            "k": k,
            "n": len(pairs),
        }

    def _clean(self, cell: Mapping[str, Any]) -> Row:
        p, seed, target = self.profile, int(cell["seed"]), self._target(cell)
        suspect = self._load(needs(cell)[1])
        method = METHODS.create(cell["method"])
        known = {"steps": p.clean, "batch": p.batch, "rate": p.rates[2], "search": p.search}
        method = replace(method, **{k: v for k, v in known.items() if hasattr(method, k)})
        poison = self._named(cell, suspect)
        job = Job(trusted=self.corpus.trusted, poison=poison, seed=seed)
        cleaned, record = method(suspect, job, harm_limit=1.0)
        triggered = self._triggered(cell)
        place = self.corpus.test.classes.index(target)
        before, after = (metrics.success(s, triggered, self.corpus.test, place) for s in (suspect, cleaned))
        useful, kept = self._useful(suspect), self._useful(cleaned)
        row: Row = {
            "top1_before": before.top1, "top1_after": after.top1, "top10_before": before.top10, "top10_after": after.top10,
            **{f"{k}_before": v for k, v in useful.items()}, **{f"{k}_after": v for k, v in kept.items()},
            "clean_seconds": round(record.seconds, 2), "steps": record.steps, "n": len(triggered),
        }  # fmt: skip
        if poison is not None:
            row["named"] = len(poison)
        honest = self._honest(target)
        for step, subject in Honest(batch=p.batch, rate=p.rates[3]).walk(cleaned, honest, p.rebound, seed):
            row[f"rebound_{step}"] = metrics.success(subject, triggered, self.corpus.test, place).top1
        return row

    def _scan(self, cell: Mapping[str, Any]) -> Row:
        p = self.profile
        if cell["attack"]:
            subject = self._load(needs(cell)[1])
        else:
            base, seed = self._load(needs(cell)[0]), 100 + int(cell["honest"])
            subject = Honest(batch=p.batch, rate=p.rates[1]).train(
                base, self.corpus.train, p.attack[0][1], seed
            )
        few = self.corpus.trusted.images[:512]
        found = smallest(subject, few, int(cell["seed"]), steps=p.scan)
        return {
            "kind": "backdoored" if cell["attack"] else "honest",
            "pl1": found.share,
            "alike": found.alike,
            "n": len(few),
        }

    # --- what they share ----------------------------------------------------------------------------------------------------

    def _useful(self, subject: Subject) -> Row:
        return {
            "zero_shot": metrics.accuracy(subject, self.corpus.test),
            "retrieval": metrics.retrieval(subject, self.corpus.retrieval),
        }

    def _attack(self, cell: Mapping[str, Any], share: float, steps: int) -> Attack:
        hard = cell["attack"] == HARD
        more = {"tune": self.profile.tune} if cell["attack"] == "optimised-patch" else {}
        return ATTACKS.create(
            "patch" if hard else cell["attack"], **more, target=self._target(cell), share=share, steps=steps,
            batch=self.profile.batch,
            rate=self.profile.rates[1], floor=self.profile.floor, in_modal=1.0 if hard else 0.0,
        )  # fmt: skip

    def _target(self, cell: Mapping[str, Any]) -> str:
        return TARGETS[int(cell["seed"]) % len(TARGETS)]

    def _setting(self, cell: Mapping[str, Any]) -> Setting:
        return Setting(train=self.corpus.train, test=self.corpus.test, seed=int(cell["seed"]))

    def _honest(self, target: str) -> Pairs:
        """Clean pairs of the web that do not name the target."""
        free = [i for i, c in enumerate(self.corpus.train.captions) if not names(c, target)]
        return self.corpus.train.at(free[: self.profile.honest_pairs])

    def _poisoned(self, cell: Mapping[str, Any]) -> tuple[Pairs, np.ndarray[Any, np.dtype[np.bool_]]]:
        """(the pairs that the suspect was trained on, which of them are poisoned)."""
        train = self.corpus.train
        images, captions, mask = train.images.clone(), list(train.captions), np.zeros(len(train), dtype=bool)
        with np.load(self._folder(needs(cell)[1]) / "poison.npz") as z:
            rows = z["rows"]
            images[torch.from_numpy(rows).to(images.device)] = torch.from_numpy(z["images"]).to(images.device)
            for i, caption in zip(rows, z["captions"], strict=True):
                captions[int(i)] = str(caption)
        mask[rows] = True
        return Pairs(images=images, captions=tuple(captions)), mask

    def _named(self, cell: Mapping[str, Any], suspect: Subject) -> Pairs | None:
        """The pairs that are said to be poisoned: all that are, those that the finder names, or none."""
        if cell["setting"] == "none":
            return None
        pairs, poison = self._poisoned(cell)
        if cell["setting"] == "known":
            return pairs.at(np.flatnonzero(poison))
        return pairs.at(
            FINDERS.create(FINDER)(suspect, pairs, int(cell["seed"])).top(
                max(4, round(FOUND_SHARE * len(pairs)))
            )
        )

    def _triggered(self, cell: Mapping[str, Any]) -> torch.Tensor:
        with np.load(self._folder(needs(cell)[1]) / "poison.npz") as z:
            return torch.from_numpy(z["triggered"]).to(self.device)

    def _folder(self, cell: Mapping[str, Any]) -> Path:
        return (
            self.models / f"{cell['table']}-{(cell['attack'] or 'clean').replace(', ', '-')}-{cell['seed']}"
        )

    def _keep(self, subject: Subject, folder: Path) -> None:
        if not folder.exists():
            subject.save(folder)

    def _load(self, cell: Mapping[str, Any]) -> Subject:
        return replace(adapters.load(self._folder(cell), device=self.device), tokenizer=_tokenizer())


@cache
def _tokenizer() -> Any:
    """One for all models, so that captions are read once in each process."""
    return pairclip.fresh(pairclip.TINY, 0).tokenizer
