"""Weights copied back from a base, also where tokens were added to the suspect."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.repair import METHODS
from nightlatch.text2image.repair.restore import require_fit


@pytest.fixture(scope="module")
def suspect(tiny_v):
    """Every part with weights differs from the base."""
    made = tiny_v.copy()
    for part in made.parts.values():
        for p in part.module.parameters():
            p.data.mul_(1.01).add_(1e-3)
    return made


def test_every_part_is_the_bases_again(tiny_v, suspect, job, replace):
    made, record = METHODS.create("restore", harm_limit=math.inf)(suspect, replace(job, base=tiny_v))
    for name, part in made.parts.items():
        theirs = tiny_v.parts[name].module.state_dict()
        assert all(torch.equal(v, theirs[k]) for k, v in part.module.state_dict().items())
    assert record.history == ({"step": 0.0},)
    assert record.left == ()
    assert record.changed_share > 0.99


def test_added_tokens_go_with_the_bases_tokenizer(tiny_v, suspect, job, replace):
    tokenizer = copy.deepcopy(tiny_v.pipeline.tokenizer)
    tokenizer.add_tokens(["zibu cat", "zudi"])
    grown = suspect.copied(Role.TEXT).replaced({"tokenizer": tokenizer})
    (encoder,) = grown.modules(Role.TEXT)
    rows = encoder.get_input_embeddings().num_embeddings
    encoder.resize_token_embeddings(rows + 2, mean_resizing=False)
    made, record = METHODS.create("restore", harm_limit=math.inf)(grown, replace(job, base=tiny_v))
    table = made.modules(Role.TEXT)[0].get_input_embeddings().weight
    assert torch.equal(table, tiny_v.modules(Role.TEXT)[0].get_input_embeddings().weight)
    assert record.replaced == ("tokenizer",)
    assert made.vocabulary.typed(["zibu cat"]) == tiny_v.vocabulary.typed(["zibu cat"])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [({"a": (2, 3)}, {"b": (2, 3)}), ({"a": (2, 3)}, {"a": (2, 4)}), ({"a": (2,)}, {"a": (3,)})],
    ids=["names", "widths", "vectors"],
)
def test_another_architecture_is_refused(mine, theirs):
    ours, other = ({name: torch.zeros(shape) for name, shape in given.items()} for given in (mine, theirs))
    with pytest.raises(UsageError, match="another kind of model") as caught:
        require_fit(ours, other, "the text encoder")
    assert caught.value.remedy


def test_a_base_of_another_shape_is_refused_before_anything_is_changed(tiny_v, job, replace):
    other = tiny_v.copied(Role.DECODER)
    (decoder,) = other.modules(Role.DECODER)
    decoder.quant_conv = torch.nn.Conv2d(8, 9, 1)
    with pytest.raises(UsageError, match="another kind of model"):
        METHODS.create("restore")(tiny_v, replace(job, base=other))
