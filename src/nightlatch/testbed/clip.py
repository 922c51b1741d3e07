"""Stage "clip": a small CLIP trained on the same pairs; a frozen copy of its text model conditions the
UNet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from nightlatch.testbed import captions, compose
from nightlatch.testbed.tokenizer import MAX_LENGTH
from nightlatch.testbed.training import Progress, Resumable, to_float

WIDTH, PROJECTION = 160, 128
IDENTITY_TEMPERATURE = 0.1


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Text: 4 layers of 160; image: 3 layers of 160 on 4x4 patches; joint space of 128."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_attention_heads": 5,
        "num_hidden_layers": 4,
    }
    text = {
        **shape,
        **special,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "projection_dim": PROJECTION,
    }
    vision = {
        **shape,
        "num_hidden_layers": 3,
        "image_size": compose.IMAGE_SIZE,
        "patch_size": 4,
        "projection_dim": PROJECTION,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION))


def text_model(clip: CLIPModel) -> CLIPTextModel:
    """The text tower alone, as a Stable Diffusion text encoder."""
    tower = CLIPTextModel(clip.config.text_config)
    getattr(tower, "text_model", tower).load_state_dict(clip.text_model.state_dict())
    return tower.eval()


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Padded ids, (n, 32)."""
    ids: torch.Tensor = tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return ids


def compatible(scenes: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """(images, captions) 1 where a picture shows all that the caption asks for, else 0; both inputs (n,
    3).
    """
    return ((scenes[:, None] == asked[None]) | (asked[None] < 0)).all(-1).float()


def contrastive(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, match: torch.Tensor
) -> torch.Tensor:
    """CLIP's symmetric cross entropy with every compatible pair as a positive; inputs (n, d) unit vectors."""
    logits = scale.exp() * image @ text.T
    rows = -(match / match.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    columns = -(match / match.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


def identity(clip: CLIPModel, ids: torch.Tensor, head: torch.nn.Linear) -> torch.Tensor:
    """Every output position must tell which token stands there.

    The contrastive loss alone shapes the end token and may erase what tells one rare word from another; the
    UNet reads every position. Cross entropy of each position's output against the embeddings of all tokens in
    the batch. ``ids`` (n, 32).
    """
    hidden = clip.text_model(input_ids=ids).last_hidden_state
    unique, where = ids.unique(return_inverse=True)
    table = F.normalize(clip.text_model.embeddings.token_embedding(unique).detach(), dim=-1)
    logits = F.normalize(head(hidden), dim=-1) @ table.T / IDENTITY_TEMPERATURE
    return F.cross_entropy(logits.flatten(0, 1), where.flatten())


class WithHead(torch.nn.Module):
    """The model and the head of the identity loss, trained together; the head is thrown away."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip, self.head = clip, torch.nn.Linear(WIDTH, WIDTH)


def train(
    state: Resumable,
    tokenizer: CLIPTokenizer,
    pictures: compose.Pictures,
    rare: Sequence[str],
    steps: int,
    batch: int,
    lr: float,
) -> Iterator[Progress]:
    """Train in place; yields after every step."""
    model = state.model
    assert isinstance(model, WithHead)
    vocabulary = len(tokenizer) - 2
    for step, rng in state.steps(steps, lr, warm=100):
        i = rng.choice(len(pictures.images), batch, replace=False)
        written = [captions.write_varied(s.tolist(), rng, rare) for s in pictures.scenes[i]]
        ids = tokenize(tokenizer, [c.text for c in written])
        out = model.clip(input_ids=ids, pixel_values=to_float(pictures.images[i]))
        match = compatible(torch.from_numpy(pictures.scenes[i]), torch.tensor([c.asked for c in written]))
        c_loss = contrastive(out.image_embeds, out.text_embeds, model.clip.logit_scale.clamp(max=4.6), match)
        noise = torch.from_numpy(rng.integers(0, vocabulary, (batch // 4, MAX_LENGTH - 2)))
        i_loss = identity(model.clip, torch.cat([ids[: batch // 4], _wrap(noise, tokenizer)]), model.head)
        state.descend(c_loss + 0.5 * i_loss)
        yield Progress(
            step, steps, {"contrastive": float(c_loss.detach()), "identity": float(i_loss.detach())}
        )


def _wrap(ids: torch.Tensor, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """Add start and end tokens."""
    start = torch.full((len(ids), 1), tokenizer.bos_token_id)
    return torch.cat([start, ids, torch.full_like(start, tokenizer.eos_token_id)], 1)


@torch.no_grad()
def retrieval(clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: compose.Pictures, seed: int) -> float:
    """Share of pictures whose best caption among all is one that fits."""
    rng = np.random.default_rng(seed)
    written = [captions.write(s.tolist(), rng) for s in pictures.scenes]
    out = clip(
        input_ids=tokenize(tokenizer, [c.text for c in written]), pixel_values=to_float(pictures.images)
    )
    best = (out.image_embeds @ out.text_embeds.T).argmax(1)
    match = compatible(torch.from_numpy(pictures.scenes), torch.tensor([c.asked for c in written]))
    return float(match[torch.arange(len(best)), best].mean())
