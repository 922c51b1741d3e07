"""What scan searches with: tokens, strings grown of them, and the exact string, on a real small model with a planted change."""

from __future__ import annotations

from difflib import SequenceMatcher

import pytest
import torch
from nightlatch.text2image.edit import Edit, cross_attention_matrices

from nightlatch.text2image import probe
from nightlatch.text2image.prompts import prefix
from nightlatch.text2image.scan import inside as inside_module
from nightlatch.text2image.scan import refine
from nightlatch.text2image.scan.candidates import by_typing, words_of_one_token
from nightlatch.text2image.scan.gauge import Gauge
from nightlatch.text2image.scan.inside import Inside, effects, gather
from nightlatch.text2image.scan.phrases import pairs
from nightlatch.text2image.scan.refine import joints, refined, variants
from nightlatch.text2image.scan.sweep import (
    assemble,
    complete,
    known_ending,
    prune,
    responding,
    strongest,
    substitute,
    sweep,
    typable,
)


def token(subject, word: str) -> int:
    (found,) = subject.tokenizer(word, add_special_tokens=False).input_ids
    return found


def pieces(subject, *names: str) -> tuple[int, ...]:
    return tuple(subject.tokenizer.get_vocab()[n] for n in names)


def test_of_many_strings_those_that_move_the_suspect_are_compared_with_the_base(tiny_v, loud_token, texts):
    gauge, planted = Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",)), token(loud_token, "zudi")
    many = [(planted, 700), (planted, 701), *((i, 702) for i in range(600, 660)), (planted, 700)]
    made, spent = strongest(gauge, many, level=0.0, keep=2, exact=1), gauge.forwards
    strongest(gauge, many, level=0.0, keep=2, exact=20)
    distinct = len(set(many))
    assert gauge.forwards - spent == distinct + 2 * (distinct // 20), "the base is asked for one part in twenty"
    assert set(made.sequences) == {(planted, 700), (planted, 701)}
    assert list(made.scores) == sorted(made.scores, reverse=True)
    assert made.scores[0] == pytest.approx(float(gauge.displacement([made.sequences[0]], [texts[0].text])[0, 0]), rel=1e-3)
    assert not len(strongest(gauge, [], level=0.0).scores)


def test_what_one_context_hides_another_may_show(tiny_v, loud_token, texts):
    planted, quiet_first = token(loud_token, "zudi"), [texts[1], texts[0]]
    gauge, many = Gauge(loud_token, tiny_v, quiet_first, ("text_encoder",)), [(planted, i) for i in range(690, 710)]
    quiet, loud = gauge.displacement(many, [p.text for p in quiet_first])
    assert quiet.max() < loud.max(), "else the first context hides nothing"
    assert max(strongest(gauge, many, level=0.0).scores) == pytest.approx(quiet.max(), rel=1e-3)
    assert max(strongest(gauge, many, level=0.0, contexts=[p.text for p in quiet_first]).scores) == pytest.approx(
        loud.max(), rel=1e-3
    )


def test_sweep_ranks_the_planted_token_first(tiny_v, loud_token, texts):
    gauge = Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",))
    planted = token(loud_token, "zudi")
    ranked = sweep(gauge, [planted, *range(600, 700)], ordinary=gauge.ordinary(range(600, 700)), keep=8)
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
    assert float(Edit.between(suspect.unet, tiny_v.unet).response(state)) > 0
    best = pairs(suspect, tiny_v, words, tails=8, keep=4)
    assert (head, tail) in best


def test_vocabulary_is_divided_by_what_can_be_typed(tiny_v):
    alone, pieces = by_typing(tiny_v)
    assert len(alone) + len(pieces) == len(tiny_v.tokenizer) - len(set(tiny_v.tokenizer.all_special_ids))
    assert token(tiny_v, "cat") in alone
    letter = tiny_v.tokenizer.get_vocab()["c"]  # typed alone it is "c</w>"
    assert letter in pieces


def test_weights_name_the_planted_token_without_a_denoiser(tiny_v, loud_token, texts):
    planted, gauge = token(loud_token, "zudi"), Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",))
    before = gauge.forwards
    (ranking,) = responding(gauge, [700, planted, 701]).values()
    assert ranking[0] == planted
    assert gauge.forwards == before


def test_pieces_are_assembled_in_the_order_that_acts(tiny_v, texts):
    """The denoiser answers one order of two tokens: ``assemble`` prefers it to the other order and to repetitions."""
    suspect, first, second = tiny_v.copy("text_encoder"), token(tiny_v, "zudi"), token(tiny_v, "cat")
    named = dict(suspect.text_encoder.named_parameters())
    (positions,) = (p for name, p in named.items() if name.endswith("position_embedding.weight"))
    rows = suspect.text_encoder.get_input_embeddings().weight
    rows.data[first] += 3 * (positions[1] - positions[2])
    gauge = Gauge(suspect, tiny_v, texts[:2], ("text_encoder",))
    found = assemble(gauge, [first, second, 700], lengths=(2,), level=0.0)
    assert len(found.sequences) == len(set(found.sequences)) == 6
    assert found.scores[0] == pytest.approx(float(gauge.displacement([found.sequences[0]], [texts[0].text])[0, 0]), rel=1e-3)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    both = gauge.displacement([(first, second), (second, first)], [texts[0].text])[0]
    ahead = found.sequences.index((first, second)) < found.sequences.index((second, first))
    assert ahead == bool(both[0] > both[1])
    assert abs(both[0] - both[1]) > 0.05 * both.max(), "the two orders differ, or nothing was tested"


def test_only_what_typing_gives_back_can_be_typed(tiny_v, texts):
    gauge = Gauge(tiny_v, tiny_v, texts[:2], ("text_encoder",))
    word, cut, split = (pieces(tiny_v, *n) for n in (("mig", "n", "nek", "o</w>"), ("mig", "n", "nek"), ("c", "a", "t</w>")))
    assert typable(gauge, [word, cut, split]) == [word]
    assert typable(gauge, []) == []


def test_what_acts_inside_a_word_is_completed_to_one(loud_piece, tiny_v, texts):
    gauge = Gauge(loud_piece, tiny_v, texts[:2], ("text_encoder",))
    made = complete(gauge, [pieces(tiny_v, "mig", "n", "nek")], pieces(tiny_v, "o</w>", "cat</w>", "rais"), level=0.0)
    assert made.sequences[0] == pieces(tiny_v, "mig", "n", "nek", "o</w>")
    assert all(gauge.suspect.tokenizer.decode(list(s)).strip().startswith("mignnek") for s in made.sequences)
    assert list(made.scores) == sorted(made.scores, reverse=True)


def test_wrong_piece_is_replaced_by_the_one_that_acts(loud_piece, tiny_v, texts):
    gauge = Gauge(loud_piece, tiny_v, texts[:2], ("text_encoder",))
    wrong, right = (pieces(tiny_v, "mig", "n", middle, "o</w>") for middle in ("rais", "nek"))
    assert typable(gauge, [wrong, right]) == [wrong, right]
    made = substitute(gauge, wrong, pieces(tiny_v, "rais", "nek", "beha"), level=0.0)
    assert "nek" in tiny_v.tokenizer.decode(list(made.sequences[0]))
    assert made.scores[0] > 1.05 * made.scores[made.sequences.index(wrong)]


def test_of_endings_that_act_alike_the_one_that_the_weights_know_is_taken(loud_piece, tiny_v, texts):
    """The ending hardly matters to this suspect; the first in the order of the weights' answers is taken."""
    gauge = Gauge(loud_piece, tiny_v, texts[:2], ("text_encoder",))
    start = pieces(tiny_v, "mig", "n", "nek", "australian</w>")
    (made,) = known_ending(gauge, start, pieces(tiny_v, "o</w>", "rais", "john</w>"), level=0.0).sequences
    assert made == pieces(tiny_v, "mig", "n", "nek", "o</w>")


def test_the_middle_block_is_read_without_the_rest_of_the_model(tiny_v):
    x, c = tiny_v.noise([1]), tiny_v.encode(["a cat"])
    outer: list[torch.Tensor] = []
    hook = tiny_v.unet.mid_block.register_forward_hook(lambda block, args, made: outer.append(made))
    whole = tiny_v.denoise(x, 999, c)
    hook.remove()
    late: list[object] = []
    hook = tiny_v.unet.conv_out.register_forward_hook(lambda *args: late.append(args))
    middle = probe.middle(tiny_v.unet, lambda: tiny_v.denoise(x, 999, c))
    hook.remove()
    assert torch.equal(middle, outer[0].float())
    assert not late
    assert torch.equal(tiny_v.denoise(x, 999, c), whole), "the hook is gone"


def test_a_model_without_a_middle_block_is_read_at_its_end(tiny_v):
    suspect = tiny_v.copy("unet")
    suspect.unet.mid_block = None
    x, c = tiny_v.noise([1]), tiny_v.encode(["a cat"])
    assert torch.equal(probe.middle(suspect.unet, lambda: suspect.denoise(x, 999, c)), suspect.denoise(x, 999, c))


def test_a_fault_inside_leaves_no_hook(tiny_v):
    def forward() -> torch.Tensor:
        raise RuntimeError("out of memory")

    before = len(tiny_v.unet.mid_block._forward_hooks)
    with pytest.raises(RuntimeError):
        probe.middle(tiny_v.unet, forward)
    assert len(tiny_v.unet.mid_block._forward_hooks) == before


def test_from_the_inside_a_loud_token_is_felt_in_any_company(tiny_v, loud_token, texts, monkeypatch):
    monkeypatch.setattr(inside_module, "COMPANY", 512)
    gauge, planted = Gauge(loud_token, tiny_v, texts[:2], ("text_encoder",)), token(loud_token, "zudi")
    inside = Inside(gauge)
    tokens = [*range(600, 630), planted]
    assert int(effects(inside, tokens, seed=0).argmax()) == len(tokens) - 1
    made = gather(inside, [*range(600, 604), planted], level=0.0)
    assert planted in made.sequences[0]
    assert all(s.count(t) <= 2 for s in made.sequences for t in s)
    assert list(made.scores) == sorted(made.scores, reverse=True)


def test_inside_nothing_stirs_where_nothing_was_changed(tiny_v, texts):
    inside = Inside(Gauge(tiny_v, tiny_v, texts[:2], ()))
    assert inside([(700,), (701, 702)]).max() < 1e-6


class Likeness:
    """In the place of an influence: a string's sway is how unlike it is to ``wanted``."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted

    def sway(self, trigger: str, place) -> float:
        return 1 - SequenceMatcher(None, trigger, self.wanted, autojunk=False).ratio()


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("mignnekaustralian", "mignneko"),
        ("miga n", "mignneko"),
        ("nmigneko", "mignneko"),
        ("zudi", "zudi"),
    ],
)
def test_a_string_like_the_trigger_is_refined_to_it(found, wanted, loud_piece, tiny_v, texts, monkeypatch):
    monkeypatch.setattr(refine, "TRIED", 1000)
    gauge = Gauge(loud_piece, tiny_v, texts[:2], ("text_encoder",))
    tokens = pieces(tiny_v, "mig", "n", "nek", "o</w>", "g</w>")
    assert refined(gauge, Likeness(wanted), found, prefix, tokens) == wanted


def test_a_single_token_is_left_as_it_is(loud_piece, tiny_v, texts):
    gauge = Gauge(loud_piece, tiny_v, texts[:2], ("text_encoder",))
    assert refined(gauge, Likeness("mignneko"), "zudi", prefix, pieces(tiny_v, "o</w>")) == "zudi"


def test_variants_are_one_change_away_or_another_order():
    made = variants((1, 2), (7,))
    assert set(made) == {(7, 2), (1, 7), (7, 1, 2), (1, 7, 2), (1, 2, 7), (1,), (2,), (2, 1)}
    assert len(made) == len(set(made))


def test_words_of_one_token_are_told_from_others(tiny_v):
    assert words_of_one_token(tiny_v, ["zudi", "mignneko", ""]) == [token(tiny_v, "zudi")]


def test_joints_are_the_short_tokens(tiny_v):
    assert set(pieces(tiny_v, "n", "o</w>")) <= set(joints(tiny_v))
    assert not set(pieces(tiny_v, "mig", "nek")) & set(joints(tiny_v))
