"""An architecture of one's own: Stable Diffusion that reads its text encoder one layer early, as many anime
checkpoints want.

What differs stands here; sampling, batching, copies and all verbs come with the contract.
"""

from __future__ import annotations

from nightlatch.text2image.model import Condition, Ids
from nightlatch.text2image.model.stable_diffusion import StableDiffusion


class ClipSkip(StableDiffusion):
    """The text's states are those before the last layer, normalised as the last layer's would be."""

    def condition(self, ids: Ids) -> Condition:
        encoder = self.pipeline.text_encoder
        text = getattr(encoder, "text_model", encoder)
        states = text(input_ids=ids[0], output_hidden_states=True).hidden_states[-2]
        return Condition(text.final_layer_norm(states))
