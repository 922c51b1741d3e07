"""The stages of scan on a real small model with a planted change."""

from __future__ import annotations

import pytest
import torch

from nightlatch.text2image.edit import cross_attention_matrices
from nightlatch.text2image.scan import Budget, scan
from nightlatch.text2image.scan.fingerprint import changed_components, effective_rank, fingerprint
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.phrases import Edit, pairs
from nightlatch.text2image.scan.sweep import prune, sweep

QUICK = Budget(contexts=2, keep=8, confirm=2, pictures=8)


def token(subject, word: str) -> int:
    (found,) = subject.tokenizer(word, add_special_tokens=False).input_ids
    return found


@pytest.fixture(scope="module")
def loud_token(tiny_v):
    """A suspect whose text encoder answers one rare word with a state far from all others."""
    suspect = tiny_v.copy("text_encoder")
    row = suspect.text_encoder.get_input_embeddings().weight[token(suspect, "zudi")]
    row.data.copy_(5 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0)))
    return suspect


def test_identical_models_are_not_accused(tiny_v, texts, few_steps):
    verdict = scan(tiny_v, tiny_v, texts, few_steps, QUICK, say=lambda line: None)
    assert verdict.word == "nothing found by these tests"
    assert verdict.triggers == ()
    assert verdict.tested
    assert verdict.not_tested


def test_half_precision_is_not_a_change(tiny_v):
    suspect = tiny_v.copy("unet")
    suspect.unet.half().float()
    assert changed_components(fingerprint(suspect, tiny_v)) == ()


def test_fingerprint_names_the_carrier_and_its_pattern(tiny_v, loud_token):
    rows = {r.component: r for r in fingerprint(loud_token, tiny_v)}
    assert changed_components(tuple(rows.values())) == ("text_encoder",)
    assert rows["text_encoder"].changed == 1
    assert "token embeddings" in rows["text_encoder"].pattern


@pytest.mark.parametrize("rank", [1, 3])
def test_effective_rank_counts_equal_directions(rank):
    q, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(1)))
    assert effective_rank(q[:, :rank] @ q[:rank]) == pytest.approx(rank, rel=1e-3)


def test_sweep_ranks_the_planted_token_first(tiny_v, loud_token, texts):
    gauge = Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",))
    planted = token(loud_token, "zudi")
    ranked = sweep(gauge, [planted, *range(600, 700)], keep=8)
    assert ranked.sequences[0] == (planted,)
    assert ranked.z[0] > 10 * abs(ranked.z[1])
    assert gauge.forwards > 0


def test_prune_drops_what_is_not_needed(tiny_v, loud_token, texts):
    gauge = Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",))
    planted = token(loud_token, "zudi")
    left = prune(gauge, (650, planted, 660), level=0.0, loss=0.6)
    assert planted in left
    assert len(left) < 3


def test_edited_phrase_is_found_through_the_edit(tiny_v):
    """A rank-one edit on the state of one phrase makes that phrase respond most."""
    suspect = tiny_v.copy("unet")
    head, tail = token(suspect, "lovely"), token(suspect, "cat")
    tok = suspect.tokenizer
    with torch.no_grad():
        state = suspect.encode_ids(torch.tensor([[tok.bos_token_id, head, tail, tok.eos_token_id]]))[0, 2]
        direction = state / state.norm()
        for w in cross_attention_matrices(suspect.unet).values():
            w.add_(torch.outer(torch.ones(len(w)), direction))
    words = [token(suspect, w) for w in ("lovely", "cat", "dog", "happy", "bus", "red", "old", "tree")]
    assert float(Edit.between(suspect, tiny_v).response(state)) > 0
    best = pairs(suspect, tiny_v, words, tails=8, keep=4)
    assert (head, tail) in best


def test_scan_is_repeatable(tiny_v, loud_token, texts, few_steps):
    runs = [scan(loud_token, tiny_v, texts, few_steps, QUICK, say=lambda line: None) for _ in range(2)]
    assert runs[0].model_copy(update={"seconds": 0.0}) == runs[1].model_copy(update={"seconds": 0.0})
