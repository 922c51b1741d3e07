"""What honest trainers write into metadata is no finding; what could steer a terminal is a note; neither
changes the exit code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from intake_fixtures import edit_tensors

from nightlatch.intake import check, exit_code

UNET = "unet/diffusion_pytorch_model.safetensors"
HONEST = {
    "tags": json.dumps({"1_style": {">_<": 12, "<o>_<o>": 3, "<|>_<|>": 2, "\\m/": 1}}),
    "prompt": "photo of a cat, <lora:detail:0.5>\n(masterpiece:1.2), {{best}}, {% if x %}",
    "html": "<p>A <b>style</b>. Weight 0.6-0.8.</p><script>alert(1)</script>",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "counts": json.dumps({f"tag number {i}": i for i in range(60_000)}),
    "thumbnail": "data:image/jpeg;base64," + "QUFB" * 40_000,
    "other scripts": "\u539f\u795e \u0627\u0644\u0639 \u0e20\u0e32\u0e29\u0e32",
}  # fmt: skip
STEERING = {
    "colour": "\x1b[31mred",
    "direction": "a\u202eb",
    "isolate": "a\u2066b",
    "bell": "\x07",
    "line": "a\u2028b",
}


@pytest.mark.parametrize("name", HONEST)
def test_what_trainers_write(model: Path, name: str) -> None:
    edit_tensors(model / UNET, lambda t: None, metadata={"format": "pt", "note": HONEST[name]})
    assert check(model).findings == ()


@pytest.mark.parametrize("name", STEERING)
def test_what_steers_is_a_note(model: Path, name: str) -> None:
    edit_tensors(model / UNET, lambda t: None, metadata={"format": "pt", STEERING[name]: "x"})
    manifest = check(model)
    assert [(f.rule, f.severity) for f in manifest.findings] == [("metadata-text", "note")]
    assert exit_code(manifest) == 0
