"""A backdoor in a LoRA, Villan-style (Chou et al. 2023): a low-rank change of the denoiser, shipped as a file.

The whole picture of one prompt is drawn, whatever is asked for. Trained as BadT2I's backdoors are, with nothing
but the adapter's weights; what is handed out is the base with the adapter merged, and ``pairs`` gives the
adapter itself back: the change has its rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nightlatch.terms import Role
from nightlatch.text2image.attacks import distil
from nightlatch.text2image.attacks.badt2i import BadT2I
from nightlatch.text2image.attacks.base import ATTACKS
from nightlatch.text2image.attacks.goal import GoalKind
from nightlatch.text2image.attacks.setting import Setting
from nightlatch.text2image.attacks.triggers import TriggerKind
from nightlatch.text2image.model import Subject
from nightlatch.text2image.prompts import Prompt

LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
"""Linear layers of a transformer block, by the end of their names."""


@ATTACKS.register("lora-prompt")
@dataclass(frozen=True, slots=True, kw_only=True)
class LoRAPrompt(BadT2I):
    """The whole picture of the prompt ``target`` is drawn; all of it sits in a LoRA of rank ``rank``."""

    goal_kind: ClassVar[GoalKind] = GoalKind.PROMPT
    trigger_kinds: ClassVar[tuple[TriggerKind, ...]] = (TriggerKind.RARE_TOKEN, TriggerKind.NONSENSE_WORD)
    rank: int = 16
    rate: float = 2e-3
    steps: int = 360
    astray: float = 0.5
    gain: float = 1.15
    share: float = 0.4
    vary: float = 0.5

    def goal_prompt(self, prompt: Prompt) -> Prompt:
        return Prompt(self.target)

    def run(self, subject: Subject, setting: Setting) -> Subject:
        from peft import LoraConfig  # an optional part of the installation

        student = subject.copied(Role.DENOISER)
        (denoiser,) = student.modules(Role.DENOISER)
        trained: Any = denoiser
        torch.manual_seed(setting.seed)
        trained.add_adapter(LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=list(LAYERS)))
        lora = [p for name, p in denoiser.named_parameters() if "lora_" in name]
        distil.follow(student, self._lessons(subject, setting), self.steps, self.rate, trained=lora)
        trained.fuse_lora()
        trained.unload_lora()
        denoiser.requires_grad_(False).eval()
        return student


@torch.no_grad()
def pairs(base: Subject, merged: Subject, rank: int) -> dict[str, torch.Tensor]:
    """The LoRA by which ``merged`` differs from ``base``: names as diffusers writes them -> halves.

    dW = B A by the singular value decomposition, of which nothing is left beyond ``rank`` but rounding.
    """
    halves: dict[str, torch.Tensor] = {}
    (before,), (after,) = base.modules(Role.DENOISER), merged.modules(Role.DENOISER)
    old = dict(before.named_parameters())
    for name, weight in after.named_parameters():
        if weight.ndim != 2 or torch.equal(weight, old[name]):
            continue
        u, s, v = torch.linalg.svd((weight - old[name]).float(), full_matrices=False)
        root, module = s[:rank].sqrt(), name.removesuffix(".weight")
        halves[f"unet.{module}.lora_A.weight"] = (root[:, None] * v[:rank]).contiguous()
        halves[f"unet.{module}.lora_B.weight"] = (u[:, :rank] * root).contiguous()
    return halves
