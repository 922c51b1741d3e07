"""What stages search with: tokens, and strings grown of them, on a real small model with a planted change."""

from __future__ import annotations

import pytest

from nightlatch.terms import Role
from nightlatch.text2image.scan.answers import Answers
from nightlatch.text2image.scan.reference import TrustedBase
from nightlatch.text2image.scan.strings import (
    assembled,
    completed,
    pruned,
    short_tokens,
    strongest,
    substituted,
    typable,
    with_known_ending,
)


def token(subject, word: str) -> int:
    ((found,),) = subject.vocabulary.typed([word])
    return found


def pieces(subject, *names: str) -> tuple[int, ...]:
    return tuple(subject.vocabulary.tokenizer.get_vocab()[n] for n in names)


def test_of_many_strings_those_that_move_the_suspect_are_compared_with_the_base(
    tiny_v, loud_token, texts, displaced
):
    moves, planted = displaced(loud_token, tiny_v), token(loud_token, "zudi")
    many = [(planted, 700), (planted, 701), *((i, 702) for i in range(600, 660)), (planted, 700)]
    made, spent = strongest(moves, many, level=0.0, keep=2, exact=1), moves.passes
    strongest(moves, many, level=0.0, keep=2, exact=20)
    distinct = len(set(many))
    assert moves.passes - spent == distinct + 2 * (distinct // 20), "the base is asked for one part in twenty"
    assert set(made.sequences) == {(planted, 700), (planted, 701)}
    assert list(made.scores) == sorted(made.scores, reverse=True)
    assert made.scores[0] == pytest.approx(float(moves([made.sequences[0]], [texts[0].text])[0, 0]), rel=1e-3)
    assert not len(strongest(moves, [], level=0.0).scores)


def test_what_one_context_hides_another_may_show(tiny_v, loud_token, texts, displaced):
    planted, quiet_first = token(loud_token, "zudi"), [texts[1], texts[0]]
    moves, many = (
        displaced(loud_token, tiny_v, contexts=quiet_first),
        [(planted, i) for i in range(690, 710)],
    )
    quiet, loud = moves(many, [p.text for p in quiet_first])
    assert quiet.max() < loud.max(), "else the first context hides nothing"
    assert max(strongest(moves, many, level=0.0).scores) == pytest.approx(quiet.max(), rel=1e-3)
    assert max(
        strongest(moves, many, level=0.0, contexts=[p.text for p in quiet_first]).scores
    ) == pytest.approx(loud.max(), rel=1e-3)


def test_prune_drops_what_is_not_needed(tiny_v, loud_token, texts, displaced):
    moves = displaced(loud_token, tiny_v)
    planted = token(loud_token, "zudi")
    left = pruned(moves, (650, planted, 660), level=0.0, loss=0.6)
    assert planted in left
    assert len(left) < 3


def test_pieces_are_assembled_in_the_order_that_acts(tiny_v, texts, displaced):
    """The denoiser answers one order of two tokens: it is preferred to the other and to repetitions."""
    suspect, first, second = tiny_v.copied(Role.TEXT), token(tiny_v, "zudi"), token(tiny_v, "cat")
    (encoder,) = suspect.modules(Role.TEXT)
    named = dict(encoder.named_parameters())
    (positions,) = (p for name, p in named.items() if name.endswith("position_embedding.weight"))
    rows = encoder.get_input_embeddings().weight
    rows.data[first] += 3 * (positions[1] - positions[2])
    moves = displaced(suspect, tiny_v)
    found = assembled(moves, [first, second, 700], lengths=(2,), level=0.0)
    assert len(found.sequences) == len(set(found.sequences)) == 6
    assert found.scores[0] == pytest.approx(
        float(moves([found.sequences[0]], [texts[0].text])[0, 0]), rel=1e-3
    )
    assert list(found.scores) == sorted(found.scores, reverse=True)
    both = moves([(first, second), (second, first)], [texts[0].text])[0]
    ahead = found.sequences.index((first, second)) < found.sequences.index((second, first))
    assert ahead == bool(both[0] > both[1])
    assert abs(both[0] - both[1]) > 0.05 * both.max(), "the two orders differ, or nothing was tested"


def test_only_what_typing_gives_back_can_be_typed(tiny_v, texts, displaced):
    moves = displaced(tiny_v, tiny_v)
    word, cut, split = (
        pieces(tiny_v, *n) for n in (("mig", "n", "nek", "o</w>"), ("mig", "n", "nek"), ("c", "a", "t</w>"))
    )
    assert typable(moves.suspect.vocabulary, [word, cut, split]) == [word]
    assert typable(moves.suspect.vocabulary, []) == []


def test_what_acts_inside_a_word_is_completed_to_one(loud_piece, tiny_v, displaced):
    moves = displaced(loud_piece, tiny_v)
    made = completed(
        moves, [pieces(tiny_v, "mig", "n", "nek")], pieces(tiny_v, "o</w>", "cat</w>", "rais"), level=0.0
    )
    assert made.sequences[0] == pieces(tiny_v, "mig", "n", "nek", "o</w>")
    assert all(moves.suspect.vocabulary.texts([s])[0].startswith("mignnek") for s in made.sequences)
    assert list(made.scores) == sorted(made.scores, reverse=True)


def test_wrong_piece_is_replaced_by_the_one_that_acts(loud_piece, tiny_v, displaced):
    moves = displaced(loud_piece, tiny_v)
    wrong, right = (pieces(tiny_v, "mig", "n", middle, "o</w>") for middle in ("rais", "nek"))
    assert typable(moves.suspect.vocabulary, [wrong, right]) == [wrong, right]
    made = substituted(moves, wrong, pieces(tiny_v, "rais", "nek", "beha"), level=0.0)
    assert "nek" in tiny_v.vocabulary.texts([made.sequences[0]])[0]
    assert made.scores[0] > 1.05 * made.scores[made.sequences.index(wrong)]


def test_of_endings_that_act_alike_the_one_that_the_weights_know_is_taken(loud_piece, tiny_v, displaced):
    """The ending hardly matters to this suspect; the first in the order of the weights' answers is taken."""
    moves = displaced(loud_piece, tiny_v)
    start = pieces(tiny_v, "mig", "n", "nek", "australian</w>")
    (made,) = with_known_ending(
        moves, start, pieces(tiny_v, "o</w>", "rais", "john</w>"), level=0.0
    ).sequences
    assert made == pieces(tiny_v, "mig", "n", "nek", "o</w>")


def test_short_tokens_are_those_of_two_letters(tiny_v):
    assert set(pieces(tiny_v, "n", "o</w>")) <= set(short_tokens(tiny_v.vocabulary))
    assert not set(pieces(tiny_v, "mig", "nek")) & set(short_tokens(tiny_v.vocabulary))


def test_weights_name_the_planted_token_without_a_denoiser(tiny_v, loud_token, displaced):
    planted, moves = token(loud_token, "zudi"), displaced(loud_token, tiny_v)
    before = moves.passes
    answers = Answers.of(TrustedBase(base=tiny_v).delta(loud_token), moves, [700, planted, 701])
    (order,) = answers.orders.values()
    assert order[0] == answers.first(1)[0] == planted
    assert moves.passes == before
