"""An adapter that diffusers has no loader for (LoHa, LoKr, IA3, full, Tucker, OFT, BOFT, GLoRA, DoRA's
lengths, biases), merged
by the definition of its kind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from nightlatch.errors import NotScanned, UnreadableModel
from nightlatch.intake.adapters import merge
from nightlatch.intake.adapters.fit import Array, NoFit
from nightlatch.safetext import show
from nightlatch.terms import Role
from nightlatch.text2image.model.lora import TOO_LITTLE
from nightlatch.text2image.model.precision import first_line, quiet
from nightlatch.text2image.model.stable_diffusion import StableDiffusion

_REMEDY = "Name the model it was made for with --base."


@torch.no_grad()
def with_adapter(base: StableDiffusion, file: Path, name: str) -> StableDiffusion:
    """A copy of ``base`` with every layer of the adapter in ``file`` added to its weights and biases at
    strength 1, and with the words of the embeddings that are bundled with it.

    Raises:
        UnreadableModel: a layer has no place in the base, or does not fit it.
        NotScanned: it makes numbers that are not finite, or changes too little to be judged.
    """
    made = base.copied(Role.TEXT, Role.DENOISER)
    parts = {key: part.module for key, part in made.parts.items() if part.role is not Role.DECODER}
    named = {key: dict(module.named_modules()) for key, module in parts.items()}
    modules = {
        key: [n for n, m in inner.items() if isinstance(getattr(m, "weight", None), torch.Tensor)]
        for key, inner in named.items()
    }

    def weight(place: merge.Place) -> Array:
        found: Array = named[place.component][place.module].weight.detach().float().cpu().numpy()
        return found

    largest = 0.0
    try:
        words = merge.embeddings(file)
        for change in merge.changes(file, modules, weight):
            module = named[change.place.component][change.place.module]
            for tensor, delta in ((module.weight, change.delta.weight), (module.bias, change.delta.bias)):
                if delta is None:
                    continue
                if not isinstance(tensor, torch.Tensor):
                    raise NoFit(f"The module {change.place.module} has no bias to change.")
                if not np.isfinite(delta).all():
                    raise NotScanned(
                        f"{name} makes weights that are not finite numbers.", "Do not load it anywhere."
                    )
                step = torch.from_numpy(np.ascontiguousarray(delta)).reshape(tensor.shape).to(tensor)
                largest = max(largest, float(step.norm()) / (float(tensor.norm()) or 1.0))
                tensor += step
        if words:
            add_words(made, words)
    except NoFit as e:
        raise UnreadableModel(f"{name} does not go on this base: {e}", _REMEDY) from e
    if largest <= TOO_LITTLE and not words:
        raise NotScanned(f"{name} changes the base too little at strength 1 to be judged.", _REMEDY)
    for module in made.modules(Role.TEXT, Role.DENOISER):
        module.eval().requires_grad_(False)
    made.name = name
    return made


def add_words(made: StableDiffusion, words: Mapping[str, Array]) -> None:
    """Give ``made``, whose text encoder is its own, a tokenizer of its own with ``words``, and their rows.

    diffusers' own loader does both; a word of several vectors becomes 'word word_1 ...' in a prompt.

    Raises:
        NoFit: the rows are of another width, or a word is in the vocabulary already.
    """
    encoder = made.pipeline.text_encoder
    width = encoder.get_input_embeddings().weight.shape[-1]
    if odd := [word for word, rows in words.items() if rows.shape[-1] != width]:
        raise NoFit(
            f"The embedding of '{show(odd[0], 60)}' is of another width than the text encoder's {width}."
        )
    if not all(np.isfinite(rows).all() for rows in words.values()):
        raise NoFit("An embedding holds numbers that are not finite.")
    with tempfile.TemporaryDirectory() as folder, quiet():
        made.pipeline.tokenizer.save_pretrained(folder)
        tokenizer = type(made.pipeline.tokenizer).from_pretrained(folder, local_files_only=True)
        try:
            made.pipeline.load_textual_inversion(
                [torch.from_numpy(rows.copy()).to(made.device) for rows in words.values()],
                token=list(words),
                tokenizer=tokenizer,
                text_encoder=encoder,
            )
        except ValueError as e:
            raise NoFit(f"Its bundled embeddings: {first_line(e)}") from e
    made.pipeline.tokenizer = tokenizer
