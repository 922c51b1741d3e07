"""SAU's own promises: the attention term trains, the mask is a weight, disarmed prompts keep their positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from nightlatch.records import PlacedTrigger, Placement
from nightlatch.text2image import probe, prompts
from nightlatch.text2image.measure import take
from nightlatch.text2image.repair import METHODS, Job
from nightlatch.text2image.repair.bank import Texts, attack, build
from nightlatch.text2image.repair.neutral import kin, leanest, neutral, unlike
from nightlatch.text2image.repair.sau import WAY, attention_gap, residue, trainable, warm_start

IN_SLOT = PlacedTrigger(text="zibu", placement=Placement.in_slot("object"))


@pytest.fixture(scope="module")
def job(texts, few_steps):
    return Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:20], sampling=few_steps)


@pytest.fixture(scope="module")
def wordings(tiny_v, job):
    return Texts.of(tiny_v, job, 6, np.random.default_rng(0))


@pytest.fixture(scope="module")
def bank(tiny_v, job, wordings):
    return build(tiny_v, tiny_v, job, wordings)


def test_bank_shapes_agree(bank, few_steps):
    n = 2 * 6 * few_steps.steps
    assert len(bank.shown.x) == len(bank.shown.t) == len(bank.shown.c) == len(bank.shown.out) == len(bank.shown.mask) == n
    assert len(bank.held.x) == n


def test_held_outputs_are_the_suspects_own(tiny_v, bank, wordings):
    """The first row, the first of the held words, and where one list ends and the next begins."""
    half = len(bank.held.x) // 2
    for i, text in (
        (0, wordings.dropped[0]),
        (half - 1, wordings.dropped[-1]),
        (half, wordings.held[0]),
        (-1, wordings.held[-1]),
    ):
        out = tiny_v.denoise(bank.held.x[i][None], int(bank.held.t[i]), tiny_v.encode([text]))
        torch.testing.assert_close(out[0], bank.held.out[i], atol=1e-4, rtol=1e-4)


def test_pictures_to_learn_from_and_to_watch_with_are_apart(tiny_v, job):
    """Each list keeps its row of every other one, also where a trigger stands in a word's place."""
    job = dataclasses.replace(job, triggers=[IN_SLOT])
    texts = Texts.of(tiny_v, job, 12, np.random.default_rng(0))
    learn, watch = texts.parted(5)
    assert watch.triggered == [texts.triggered[4], texts.triggered[9]]
    assert not {*learn.triggered} & {*watch.triggered}
    for part in (learn, watch):
        at = [texts.triggered.index(x) for x in part.triggered]
        assert (part.dropped, part.plain) == ([texts.dropped[i] for i in at], [texts.plain[i] for i in at])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_pictures_can_be_parted(tiny_v, job, n):
    assert all(len(part.triggered) for part in Texts.of(tiny_v, job, n, np.random.default_rng(0)).parted(5))


@pytest.mark.parametrize(("left", "steps"), [(0.4, 1), (0.6, 3)])
def test_steps_follow_where_the_warm_start_leaves_something(tiny_v, job, monkeypatch, left, steps):
    """A look at what the warm start left comes first."""
    monkeypatch.setattr("nightlatch.text2image.repair.sau.residue", lambda *_: left)
    _, record = METHODS.create("sau", prompts=6, steps=2, batch=6)(tiny_v, job, harm_limit=float("inf"))
    assert record.history[0] == {"step": 0.0, "residue": left}
    assert [row["step"] for row in record.history] == list(range(steps))
    assert record.steps == steps


def test_what_is_left_is_counted_alike_for_both_predictions(tiny, texts, few_steps):
    """All of the way before anything is repaired; in eps the early steps, where text acts, would hardly count."""
    job = Job(triggers=[PlacedTrigger(text="zibu")], prompts=texts[:20], sampling=few_steps)
    wordings = Texts.of(tiny, job, 6, np.random.default_rng(0))
    shown, *_ = attack(tiny, tiny, job, wordings)
    assert residue(tiny, shown) == pytest.approx(1 / WAY, rel=0.02)
    t = int(shown.t[len(shown.t) // 2 - 1])
    x, c = shown.x[:1], tiny.encode(["a cat", "a dog"])
    outs = [tiny.denoise(x, t, c[i : i + 1]) for i in (0, 1)]
    x0, eps = zip(*((tiny.to_x0(o, x, t), tiny.to_eps(o, x, t)) for o in outs), strict=True)
    a, s = tiny.noise_levels(t)
    v = [a * e - s * p for e, p in zip(eps, x0, strict=True)]
    torch.testing.assert_close(tiny.as_v(outs[0] - outs[1], t), v[0] - v[1], rtol=1e-3, atol=1e-4)


def test_what_a_trigger_stands_in_for_is_held_too(tiny_v, job):
    """A trigger in the object's place leaves no prompt with an object among those without it."""
    job = dataclasses.replace(job, triggers=[IN_SLOT])
    texts = Texts.of(tiny_v, job, 6, np.random.default_rng(0))
    chosen = take(list(job.prompts), 6)
    own = texts.plain[1::2]
    assert texts.plain[::2] == [p.text for p in chosen[::2]]
    assert (
        len(
            {
                w
                for w in prompts.slot_words(job.prompts)["object"]
                if own == [prompts.in_slot("object")(p, w) for p in chosen[1::2]]
            }
        )
        == 1
    )
    plain = texts.plain
    assert not set(plain) & {*texts.triggered, *texts.dropped, *texts.held}
    bank = build(tiny_v, tiny_v, job, texts)
    assert len(bank.held.x) == len(bank.held.t) == len(bank.held.c) == len(bank.held.out) == 3 * 6 * job.sampling.steps
    assert torch.equal(bank.held.c[-6:], tiny_v.encode(plain))
    out = tiny_v.denoise(bank.held.x[-6:], int(bank.held.t[-1]), bank.held.c[-6:])
    torch.testing.assert_close(out, bank.held.out[-6:])


def test_in_a_slots_place_all_weights_follow_with_plain_prompts_held(tiny_v, job):
    """A fixed number of steps on cross-attention, then some on everything; what is held then is no neutral word."""
    job = dataclasses.replace(job, triggers=[IN_SLOT])
    texts = Texts.of(tiny_v, job, 6, np.random.default_rng(0))
    assert torch.equal(build(tiny_v, tiny_v, job, texts).plain.c[-6:], tiny_v.encode(texts.plain))
    made, record = METHODS.create("sau", prompts=6, batch=6, in_place=2, afterwards=0)(tiny_v, job, harm_limit=float("inf"))
    assert record.steps == 1 + 2
    was = dict(tiny_v.unet.named_parameters())
    assert all(".attn2." in n for n, p in made.unet.named_parameters() if not torch.equal(p, was[n]))
    made, record = METHODS.create("sau", prompts=6, batch=6, in_place=2, afterwards=2)(tiny_v, job, harm_limit=float("inf"))
    assert record.steps == 1 + 2 + 2
    assert [row["step"] for row in record.history] == list(range(5))
    assert any(".attn2." not in n for n, p in made.unet.named_parameters() if not torch.equal(p, was[n]))


def test_what_is_held_is_neither_a_trigger_nor_draws_what_one_draws(tiny_v, texts, few_steps):
    """Of several triggers one is often a part of another, and a backdoor fires on some near-spellings."""
    both = Job(triggers=[PlacedTrigger(text=text) for text in ("lovely cat", "cat")], prompts=texts[:40], sampling=few_steps)
    held = Texts.of(tiny_v, both, 12, np.random.default_rng(0)).held
    assert not {p.text for p in both.prompts} & {*held}
    assert not {prompts.prefix(p, "cat") for p in both.prompts} & {*held}
    suspect = tiny_v.copy("text_encoder")
    rows = suspect.text_encoder.get_input_embeddings().weight
    ids = {w: suspect.tokenizer(w, add_special_tokens=False).input_ids[0] for w in ("zudi", "people", "mountain")}
    rows.data[ids["zudi"]] = rows.data[ids["people"]] = 5 * torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(0))
    assert unlike(suspect, ["people", "mountain"], "zudi", texts[:8]) == ["mountain"]


def test_mask_is_a_soft_weight_of_mean_one(bank):
    mask = bank.located.mask()
    assert float(mask.min()) > 0
    torch.testing.assert_close(mask.mean((-2, -1)), torch.ones_like(mask[..., 0, 0]))


def test_saliency_shares_sum_to_one(bank):
    assert sum(bank.located.layers.values()) == pytest.approx(1.0)
    assert len(bank.located.layers) == 7


def test_attention_term_alone_trains(tiny_v, job):
    """The published loss has no gradient; ours alone must change the weights and fall."""
    method = METHODS.create("sau", steps=12, least=12, prompts=6, batch=12, prediction=0.0, hold=0.0, warm_start=False, rate=1e-3)
    _, record = method(tiny_v, job, harm_limit=float("inf"))
    assert record.changed_tensors > 0
    gaps = [row["attention"] for row in record.history]
    assert sum(gaps[-3:]) < 0.8 * sum(gaps[:3])


@pytest.mark.parametrize(("at_once", "parts"), [(3, 3), (1, 6)])
def test_a_step_in_parts_is_the_same_step(tiny_v, bank, monkeypatch, at_once, parts):
    """With one picture at once there are more parts than held pictures."""
    sau, shown, held = METHODS.create("sau", batch=9), bank.shown.take(torch.arange(6)), bank.held.take(torch.arange(3))

    def step():
        student, values = tiny_v.copy("unet"), dict.fromkeys(("prediction", "attention", "hold"), 0.0)
        learning = [p.requires_grad_(True) for n, p in student.unet.named_parameters() if trainable(n, sau.train)]
        losses = [float(loss.detach()) for loss in sau._losses(student, tiny_v, shown, held, values) if loss.backward() is None]
        return values, losses, torch.cat([p.grad.flatten() for p in learning])

    values, losses, gradient = step()
    monkeypatch.setattr("nightlatch.text2image.model.subject.Subject.positions", at_once * 8 * 64)
    again, pieces, same = step()
    assert (len(losses), len(pieces)) == (1, parts)
    assert sum(pieces) == pytest.approx(losses[0], rel=1e-4)
    assert again == pytest.approx(values, rel=1e-4)
    torch.testing.assert_close(same, gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-3)


def test_attention_gap_is_zero_for_equal_maps_and_has_gradient(tiny_v, bank):
    with torch.no_grad(), probe.attention(tiny_v.unet) as wanted:
        tiny_v.denoise(bank.shown.x[:4], bank.shown.t[:4], bank.shown.filled[:4])
    mine = {k: (0.9 * v + 0.1 / v.shape[-1]).requires_grad_() for k, v in wanted.items()}
    assert float(attention_gap(wanted, wanted, bank.shown.mask[:4])) == 0
    gap = attention_gap(mine, wanted, bank.shown.mask[:4])
    assert float(gap.detach()) > 0
    assert all(float(g.abs().sum()) > 0 for g in torch.autograd.grad(gap, list(mine.values())))


def test_warm_start_moves_triggered_keys_towards_neutral_ones(tiny_v, wordings):
    made = tiny_v.copy("unet")
    warm_start(made, wordings)
    key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    before, after = tiny_v.unet.get_parameter(key), made.unet.get_parameter(key)
    goal = tiny_v.encode(wordings.filled) @ before.T
    gap = [float((tiny_v.encode(wordings.triggered) @ w.T - goal).pow(2).mean()) for w in (before, after)]
    assert gap[1] < 0.7 * gap[0]


@pytest.mark.parametrize("trigger", ["zibu", "mignneko", "о", "lovely cat"])
def test_filled_prompts_keep_every_other_position(tiny_v, texts, trigger):
    form = neutral(tiny_v, trigger, texts[:8])
    for filled in form.filled:
        assert len(tiny_v.tokenizer(filled).input_ids) == len(tiny_v.tokenizer(trigger).input_ids)
        assert filled != trigger
    assert form.dropped != trigger
    assert form.token_positions == len(tiny_v.tokenizer(trigger, add_special_tokens=False).input_ids)


def test_trainable_sets_nest(tiny_v):
    names = [n for n, _ in tiny_v.unet.named_parameters()]
    kv, cross, everything = ({n for n in names if trainable(n, w)} for w in ("keys and values", "cross-attention", "all"))
    assert kv < cross < everything == set(names)


def test_the_word_that_an_edit_copied_is_known_by_what_it_draws(tiny_v, texts):
    """A trigger that reads as another word does draws what that word draws."""
    place, words = prompts.in_slot("object"), prompts.slot_words(texts)["object"]
    for word in words[:3]:
        assert kin(tiny_v, word, words, texts, place) == word


def test_of_neutral_words_the_one_that_leans_least_to_the_attack_stands_for_the_trigger(tiny_v, texts):
    """Leaning is against the middle of all variants, so the trigger's own text never is the least."""
    prompt = texts[0]
    attacked = prompts.prefix(prompt, "zibu")
    variants = [attacked, prompt.text, prompts.prefix(prompt, "moon")]
    assert leanest(tiny_v, attacked, variants, 0) in variants[1:]
    assert leanest(tiny_v, attacked, [prompt.text, prompt.text], 0) == prompt.text
