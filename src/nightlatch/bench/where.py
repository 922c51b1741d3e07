"""What a process of the experiment computes with, said in a few words that can be sent to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from nightlatch import testbed
from nightlatch.bench.measures import Measures
from nightlatch.bench.rows import Rows, Say, Store
from nightlatch.bench.setup import Setup, base_hash, device_name, rare_words
from nightlatch.bench.suspects import Suspects
from nightlatch.text2image.model import loaders
from nightlatch.text2image.model.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What a process needs to make its own setup.

    Args:
        models: folder for the suspects.
        device: a torch device name; all processes share it.
        make_device: where suspects are made and honest models trained; '' is ``device``.
        precision: what denoiser and decoder compute in.
        n: pictures per rate.
        n_clean: pictures for clean agreement and distances.
        threads: processor threads of each process; 0 leaves them as they are.
        extra: what is said in every row, beside the device.
    """

    models: Path
    device: str = "cpu"
    make_device: str = ""
    precision: Precision = "auto"
    n: int = 300
    threads: int = 0
    n_clean: int = 600
    extra: Mapping[str, Any] = field(default_factory=dict)

    def sharing(self, jobs: int) -> Where:
        """The same for so many processes at once, each with its share of the processor, unless a number of
        threads is given.
        """
        return self if self.threads else replace(self, threads=max(1, (os.cpu_count() or 1) // jobs))

    def begun(self, store: Store, say: Say) -> tuple[Measures, Rows]:
        """The measures of a setup of its own, and the rows in ``store``."""
        if self.threads:
            torch.set_num_threads(self.threads)
        folder = self.models / base_hash()
        folder.mkdir(parents=True, exist_ok=True)
        base = loaders.load(testbed.PIPELINE, device=self.device, precision=self.precision)
        apart = self.make_device not in ("", self.device)
        setup = Setup(
            base=base,
            maker=loaders.load(testbed.PIPELINE, device=self.make_device, precision=self.precision)
            if apart
            else base,
            base_hash=base_hash(),
            rare=rare_words(),
            judge=testbed.load_judge(),
            models=folder,
            n=self.n,
            n_clean=self.n_clean,
            say=say,
            precision=self.precision,
        )
        extra = {"threads": torch.get_num_threads(), "device": device_name(self.device), **self.extra}
        return Measures(Suspects(setup)), Rows(store=store, about=setup.about, say=say, extra=extra)
