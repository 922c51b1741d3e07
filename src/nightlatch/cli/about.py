"""What is here, and what works on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from nightlatch.cli.common import app, echo, fail, reported, tell


@app.command("ls")
def list_parts(
    kind: Annotated[str, typer.Argument(help="attacks, repairs, ...; all kinds by default")] = "",
) -> None:
    """What is here, parts of other packages included."""
    with reported():
        from nightlatch import families
        from nightlatch.registry import describe, plug_ins

        kinds = families.registries()
        if kind and kind not in kinds:
            fail(f"There are no {kind}.", f"Known: {', '.join(kinds)}.")
        for name in [kind] if kind else kinds:
            if not kind:
                echo(f"{name}:")
            for part in kinds[name]:
                echo(describe(part))
        for failure in plug_ins():
            tell(failure, style="bold")


@app.command()
def doctor() -> None:
    """What works on this machine?"""
    from importlib.util import find_spec

    import torch

    from nightlatch import provenance
    from nightlatch.text2image.model.precision import computes_in

    devices = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count())),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    rows = {
        **provenance.versions(),
        "devices": ", ".join(devices),
        "bfloat16": ", ".join(d for d in devices if computes_in("auto", d) == torch.bfloat16)
        or "on no device natively: fp32 is used",
        "LoRA files": "yes" if find_spec("peft") else "no: install nightlatch[lora]",
        "hub": "offline" if os.environ.get("HF_HUB_OFFLINE") else "online",
    }
    for name, value in rows.items():
        echo(f"{name:16}{value}")
