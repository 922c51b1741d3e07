"""Where a trigger may act that does nothing in front of a prompt at the first step."""

from __future__ import annotations

import pytest
import torch

from nightlatch.records import Placement
from nightlatch.terms import PlacementKind, Role
from nightlatch.text2image.effect.displacement import noise_seed
from nightlatch.text2image.model.vocabulary import begins
from nightlatch.text2image.scan import Guess, Judge
from nightlatch.text2image.scan.judge import Trial
from nightlatch.text2image.scan.look import BEHIND, INSIDE, LATE, USUAL
from nightlatch.text2image.scan.stages import Behind


def token(subject, word: str) -> int:
    ((found,),) = subject.vocabulary.typed([word])
    return found


@pytest.fixture(scope="module")
def behind(tiny_v, texts):
    """Readers that answer what "zudi" behind prompts has that it has not in front of them, nor other words there."""
    suspect, word = tiny_v.copied(Role.DENOISER), "zudi"
    last = [len(suspect.vocabulary.typed([p.text])[0]) + 1 for p in texts]
    after = suspect.read([f"{p.text} {word}" for p in texts]).states[range(len(texts)), last].double()
    others = [suspect.vocabulary.texts([(i,)])[0] for i in suspect.vocabulary.words[::6]]
    held = [f"{word} {p.text}" for p in texts] + [
        f"{texts[i % len(texts)].text} {w}" for i, w in enumerate(others)
    ]
    states = suspect.read(held).states.flatten(0, 1).double()
    spread = states.T @ states / len(states)
    own = torch.linalg.solve(spread + 1e-4 * spread.trace() * torch.eye(len(spread)), after.mean(0))
    for w in suspect.sites.readers().values():
        w.data.add_(torch.outer(torch.ones(len(w)), own / float(own @ after.mean(0))).to(w))
    return suspect


@pytest.mark.parametrize("view", [USUAL, BEHIND, INSIDE])
def test_strings_stand_where_the_view_puts_them(tiny_v, ask, view):
    """The same tokens by their ids and by what a user types."""
    displacement, context = ask(tiny_v, tiny_v).look(view).displacement, "a flat cat on a hill"
    before, after = displacement.around(context)
    assert " ".join(filter(None, (before, after))) == context
    rows = tiny_v.vocabulary.framed([(token(tiny_v, "zudi"),)], after, before=before)[0]
    typed = {USUAL: "zudi a flat cat on a hill", BEHIND: "a flat cat on a hill zudi"}
    assert torch.equal(rows, tiny_v.ids([typed.get(view, "a flat cat zudi on a hill")])[0])
    assert rows[0, displacement.begins(context)] == token(tiny_v, "zudi")
    assert begins(tiny_v.vocabulary) == 1


def test_the_weights_are_asked_about_a_token_where_it_stands(behind, tiny_v, ask):
    """In front the planted word is one of many; behind the prompt it is answered among the first, and moves the picture."""
    question, planted = ask(behind, tiny_v), token(behind, "zudi")
    (order,) = question.look(BEHIND).answers.orders.values()
    (usual,) = question.look(USUAL).answers.orders.values()
    n = len(order)
    assert order.index(planted) < n // 20 and usual.index(planted) > n // 2
    there, front = (
        question.look(v).displacement([(planted,)], [question.part.probe[0].text]) for v in (BEHIND, USUAL)
    )
    assert there.max() > 3 * front.max()


def test_what_was_seen_behind_a_prompt_is_drawn_there_and_named_once_for_each_view(behind, tiny_v, ask):
    question = ask(behind, tiny_v)
    seen = Trial(Judge(), question).seen
    where = {Guess("zudi", 1.0, v).view.spot: v for v in (USUAL, BEHIND)}
    rates = {
        kind: seen(Guess("zudi", 1.0, view), Placement(kind=kind)).changed.rate
        for kind, view in where.items()
    }
    assert rates[PlacementKind.BEHIND] > rates[PlacementKind.FRONT]
    assert Behind.view is BEHIND


def test_a_late_step_starts_from_a_picture_that_is_nearly_done(tiny_v, ask):
    """x = a x0 + s eps, from the base's own picture and the scan's noise, and the same weights' answers."""
    question = ask(tiny_v, tiny_v, seed=3)
    look, levels = question.look(LATE), tiny_v.schedule.at(question.late.t)
    first = question.look().displacement.step
    assert look.displacement.step is question.late and question.late.t < first.t
    text, noise = question.part.probe[0].text, noise_seed(3)
    x0 = tiny_v.latents([text], [noise], question.sampling)
    assert torch.allclose(question.late.x, levels.a * x0 + levels.s * tiny_v.noise([noise]), atol=1e-5)
    assert look.answers is question.answers
