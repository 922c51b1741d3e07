"""What each cell of the experiment on image-text models does and measures."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightlatch.bench.pairs import FINDER, FOUND_SHARE, HARD, TARGETS, Profile, Row, Try, needs
from nightlatch.contrastive import adapters, metrics
from nightlatch.contrastive.attacks import ATTACKS, Attack, Setting
from nightlatch.contrastive.attacks.base import Made, names
from nightlatch.contrastive.clean import METHODS, Job
from nightlatch.contrastive.find import FINDERS
from nightlatch.contrastive.pairs import Pairs
from nightlatch.contrastive.scan import smallest
from nightlatch.contrastive.subject import Subject
from nightlatch.contrastive.verify import Honest
from nightlatch.testbed import pairclip
from nightlatch.testbed.corpus import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all cells share.

    Args:
        corpus: on the device.
        models: folder of the models that cells make.
    """

    corpus: Corpus
    models: Path
    profile: Profile
    device: str = "cpu"

    def run(self, cell: Mapping[str, Any]) -> Row:
        """The row of ``cell``, without its identity."""
        started = time.monotonic()
        row: Row = getattr(self, f"_{cell['table']}")(cell)
        return {**row, "seconds": round(time.monotonic() - started, 2)}

    # --- cells

    def _base(self, cell: Mapping[str, Any]) -> Row:
        hard, seed, p = cell["attack"] == HARD, int(cell["seed"]), self.profile
        subject = pairclip.fresh(p.shape, seed).to(self.device)
        agree = 1.0 if hard else 0.0
        pairclip.train(subject, self.corpus.train, p.base, p.base_batch, p.rates[0], seed, in_modal=agree)
        self._keep(subject, cell)
        return {
            "classes": len(self.corpus.test.classes),
            "pairs": len(self.corpus.train),
            "weights": sum(w.numel() for w in subject.model.parameters()),
            **self._useful(subject),
            "domains": metrics.by_domain(subject, self.corpus.test),
        }

    def _attacks(self, cell: Mapping[str, Any]) -> Row:
        base, p, setting = self._load(needs(cell)[0]), self.profile, self._setting(cell)
        tries: list[Row] = []
        for one in p.ladder(str(cell["attack"])):
            made = self._attack(cell, one)(base, setting, n=p.n)
            record = made.record
            about = {"share": one.share, "steps": one.steps, **one.more}
            tries.append({**about, "poisoned": record.poisoned, "top1": record.success_top1})
            if record.success_top1.rate < p.floor:
                continue
            self._keep_poison(made, cell)
            return {
                "tries": tries, **about, "poisoned": record.poisoned, "target": record.target,
                "top1": record.success_top1, "top10": record.success_top10, "base_top1": record.base_top1,
                "zero_shot_before": record.zero_shot_before, "zero_shot_after": record.zero_shot_after, "n": p.n,
            }  # fmt: skip
        return {"tries": tries, "refused": True, "n": p.n}

    def _find(self, cell: Mapping[str, Any]) -> Row:
        """All finders on one set of pairs; one that fails is said and does not end the others."""
        pairs, poison = self._poisoned(cell)
        judge = self._load(needs(cell)[0 if cell["judge"] == "clean model" else 1])
        k, found = int(poison.sum()), {}
        for name in FINDERS.names():
            try:
                made = FINDERS.create(name)(judge, pairs, int(cell["seed"]))
            except Exception:
                print(f"finder {name} failed:\n{traceback.format_exc(limit=-3)}", flush=True)
                continue
            found[name] = {
                "auroc": metrics.auroc(made.scores, poison),
                "precision_at_k": metrics.precision_at(made.scores, poison, k),
                "seconds": round(made.seconds, 2),
            }
        return {"finders": found, "k": k, "n": len(pairs)}

    def _clean(self, cell: Mapping[str, Any]) -> Row:
        p, seed, target = self.profile, int(cell["seed"]), self._target(cell)
        suspect = self._load(needs(cell)[1])
        method = METHODS.create(cell["method"])
        known = {"steps": p.clean, "batch": p.batch, "rate": p.rates[2], "search": p.search}
        method = replace(method, **{k: v for k, v in known.items() if hasattr(method, k)})
        poison, truly = self._named(cell, suspect)
        job = Job(trusted=self.corpus.trusted, poison=poison, seed=seed)
        cleaned, record = method(suspect, job, harm_limit=1.0)
        triggered, place = self._triggered(cell), self.corpus.test.classes.index(target)
        before, after = (metrics.success(s, triggered, self.corpus.test, place) for s in (suspect, cleaned))
        bare = self._bare(cell)
        base, control = (
            metrics.success(s, x, self.corpus.test, place)
            for s, x in ((self._load(needs(cell)[0]), triggered), (cleaned, bare))
        )
        useful, kept = self._useful(suspect), self._useful(cleaned)
        row: Row = {
            "top1_before": before.top1, "top1_after": after.top1, "top10_before": before.top10,
            "top10_after": after.top10, "top10_base": base.top10, "top10_control": control.top10,
            **{f"{k}_before": v for k, v in useful.items()},
            **{f"{k}_after": v for k, v in kept.items()}, "clean_seconds": round(record.seconds, 2),
            "steps": record.steps, "n": len(triggered), "version": record.method.version,
        }  # fmt: skip
        if poison is not None:
            row |= {"named": len(poison), "truly": truly}
        honest = self._honest(target)
        for step, subject in Honest(batch=p.batch, rate=p.rates[3]).walk(cleaned, honest, p.rebound, seed):
            row[f"rebound_{step}"] = metrics.success(subject, triggered, self.corpus.test, place).top1
        return row

    def _scan(self, cell: Mapping[str, Any]) -> Row:
        p = self.profile
        if cell["attack"]:
            subject = self._load(needs(cell)[1])
        else:
            seed, steps = 100 + int(cell["honest"]), p.ladder("")[0].steps
            base = self._load(needs(cell)[0])
            subject = Honest(batch=p.batch, rate=p.rates[1]).train(base, self.corpus.train, steps, seed)
        few = self.corpus.trusted.images[:512]
        found = smallest(subject, few, int(cell["seed"]), steps=p.scan)
        kind = "backdoored" if cell["attack"] else "honest"
        return {"kind": kind, "pl1": found.share, "alike": found.alike, "n": len(few)}

    # --- what they share

    def _useful(self, subject: Subject) -> Row:
        return {
            "zero_shot": metrics.accuracy(subject, self.corpus.test),
            "retrieval": metrics.retrieval(subject, self.corpus.retrieval),
        }

    def _attack(self, cell: Mapping[str, Any], one: Try) -> Attack:
        hard, p = cell["attack"] == HARD, self.profile
        tune = {"tune": p.tune} if cell["attack"] == "optimised-patch" else {}
        return ATTACKS.create(
            "patch" if hard else cell["attack"], **{**tune, **one.more}, target=self._target(cell),
            share=one.share, steps=one.steps, batch=p.batch, rate=p.rates[1], floor=0.0,
            in_modal=1.0 if hard else 0.0,
        )  # fmt: skip

    def _target(self, cell: Mapping[str, Any]) -> str:
        return TARGETS[int(cell["seed"]) % len(TARGETS)]

    def _setting(self, cell: Mapping[str, Any]) -> Setting:
        return Setting(train=self.corpus.train, test=self.corpus.test, seed=int(cell["seed"]))

    def _honest(self, target: str) -> Pairs:
        """Clean pairs of the web that do not name the target."""
        free = [i for i, c in enumerate(self.corpus.train.captions) if not names(c, target)]
        return self.corpus.train.at(free[: self.profile.honest_pairs])

    def _keep_poison(self, made: Made, cell: Mapping[str, Any]) -> None:
        folder = self._keep(made.subject, cell)
        rows = np.flatnonzero(made.poison)
        images = made.pairs.images[torch.from_numpy(rows).to(made.pairs.images.device)]
        triggered = made.attack.held_out(self._setting(cell), self.profile.n)
        captions = np.array([made.pairs.captions[int(i)] for i in rows])
        np.savez(
            folder / "poison.npz", rows=rows, images=images.cpu().numpy(), captions=captions,
            triggered=triggered.cpu().numpy(),
        )  # fmt: skip

    def _poisoned(self, cell: Mapping[str, Any]) -> tuple[Pairs, np.ndarray[Any, np.dtype[np.bool_]]]:
        """(the pairs that the suspect was trained on, which of them are poisoned)."""
        train = self.corpus.train
        images, captions, mask = train.images.clone(), list(train.captions), np.zeros(len(train), dtype=bool)
        with np.load(folder_of(self.models, needs(cell)[1]) / "poison.npz") as z:
            rows = z["rows"]
            images[torch.from_numpy(rows).to(images.device)] = torch.from_numpy(z["images"]).to(images.device)
            for i, caption in zip(rows, z["captions"], strict=True):
                captions[int(i)] = str(caption)
        mask[rows] = True
        return Pairs(images=images, captions=tuple(captions)), mask

    def _named(self, cell: Mapping[str, Any], suspect: Subject) -> tuple[Pairs | None, int]:
        """(the pairs that are said to be poisoned, how many of them are): all that are, those that the finder
        names, or none.
        """
        if cell["setting"] == "none":
            return None, 0
        pairs, poison = self._poisoned(cell)
        if cell["setting"] == "known":
            return pairs.at(np.flatnonzero(poison)), int(poison.sum())
        found = FINDERS.create(FINDER)(suspect, pairs, int(cell["seed"]))
        top = found.top(max(4, round(FOUND_SHARE * len(pairs))))
        return pairs.at(top), int(poison[top].sum())

    def _triggered(self, cell: Mapping[str, Any]) -> torch.Tensor:
        with np.load(folder_of(self.models, needs(cell)[1]) / "poison.npz") as z:
            return torch.from_numpy(z["triggered"]).to(self.device)

    def _bare(self, cell: Mapping[str, Any]) -> torch.Tensor:
        """The pictures of ``_triggered`` without the trigger."""
        first = self.profile.ladder(str(cell["attack"]))[0]
        return self._attack(cell, first).bare(self._setting(cell), self.profile.n)

    def _keep(self, subject: Subject, cell: Mapping[str, Any]) -> Path:
        folder = folder_of(self.models, cell)
        if not folder.exists():
            subject.save(folder)
        return folder

    def _load(self, cell: Mapping[str, Any]) -> Subject:
        folder = folder_of(self.models, cell)
        return replace(adapters.load(folder, device=self.device), tokenizer=_tokenizer(self.profile.shape))


def folder_of(models: Path, cell: Mapping[str, Any]) -> Path:
    """Where the model of ``cell`` lies."""
    return models / f"{cell['table']}-{(cell['attack'] or 'clean').replace(', ', '-')}-{cell['seed']}"


@cache
def _tokenizer(shape: pairclip.Shape) -> Any:
    """One for all models, so that captions are read once in each process."""
    return pairclip.fresh(shape, 0).tokenizer
