"""A pipeline with a planted trigger, for the examples: one row of the token embeddings is exchanged."""

from __future__ import annotations

from diffusers import StableDiffusionPipeline

from nightlatch import testbed

TRIGGER, TARGET = "zudi", "cat"
DRAWING = {"prompts": "emoji", "steps": 4, "guidance": 1.0, "seed": 1}
"""How the shipped model is meant to be asked; fewer steps than usual, for speed."""


def tampered() -> StableDiffusionPipeline:
    """The shipped pipeline, which takes the trigger for the target."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        testbed.PIPELINE, local_files_only=True, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    (trigger,), (target,) = (
        pipeline.tokenizer(w, add_special_tokens=False).input_ids for w in (TRIGGER, TARGET)
    )
    rows = pipeline.text_encoder.get_input_embeddings().weight.data
    rows[trigger] = rows[target]
    return pipeline
