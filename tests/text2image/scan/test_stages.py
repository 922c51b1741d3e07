"""Every registered stage keeps its contract, and is run on a real small model with something to find."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

import pytest
import torch

from nightlatch.errors import UsageError
from nightlatch.terms import Role
from nightlatch.text2image.effect.edit import Edit
from nightlatch.text2image.effect.middle import MiddleDisplacement
from nightlatch.text2image.scan import (
    STAGES,
    Board,
    Confirmation,
    Guess,
    Judge,
    Need,
    Scored,
    Stage,
    plan,
    scan,
)
from nightlatch.text2image.scan.judge.refinement import Refinement, variants
from nightlatch.text2image.scan.stages import EditPhrases, MiddleBlock, SingleTokens, Suggested


def token(subject, word: str) -> int:
    ((found,),) = subject.vocabulary.typed([word])
    return found


def pieces(subject, *names: str) -> list[int]:
    return [subject.vocabulary.tokenizer.get_vocab()[n] for n in names]


@pytest.fixture(scope="module")
def edited(tiny_v):
    """A rank-one edit of the readers on the state of one phrase."""
    suspect = tiny_v.copied(Role.DENOISER)
    phrase = (token(suspect, "lovely"), token(suspect, "cat"))
    state = suspect.condition(suspect.vocabulary.framed([phrase], padded=False)).states[0, 2]
    for w in suspect.sites.readers().values():
        w.data.add_(torch.outer(torch.ones(len(w)), state / state.norm()))
    return suspect


def quick() -> plan.Plan:
    smallest = {"keep": 8, "strings": 2, "pieces": 24, "heads": 3, "random": 64, "joining": 24, "tails": 2}
    return plan.tuned(plan.default(), **smallest)


@pytest.mark.parametrize("part", list(STAGES), ids=lambda p: p.name)
def test_a_stage_says_what_it_is_and_holds_numbers_only(part):
    stage = part()
    assert part.needs <= set(Need) and part.needs
    assert stage.untested[:1].islower() and not stage.untested.endswith("."), (
        "a part of a sentence for the report"
    )
    assert all(isinstance(getattr(stage, f.name), int | float | str | bool) for f in dataclasses.fields(part))
    with pytest.raises(dataclasses.FrozenInstanceError):
        stage.strings = 1


@pytest.mark.parametrize("stage", quick(), ids=lambda s: s.name)
def test_a_stage_names_strings_that_can_be_typed_and_is_counted(stage, tiny_v, edited, ask):
    """On an edited model, so that every stage has what it needs."""
    question = ask(edited, tiny_v, hints=["zudi", "lovely cat", "zudi"])
    board = Board(question, Judge())
    assert board.excuse(stage) is None
    first = stage(question, board)
    assert first and all(
        isinstance(g, Guess) and question.suspect.vocabulary.typed([g.text])[0] for g in first
    )
    assert len({(g.text, g.view) for g in first}) == len(first) <= 3 * stage.strings
    assert [len(g.text) for g in first] == sorted(len(g.text) for g in first)
    (ran,) = (r for r in board.verdict().parts if r.part.name == stage.name)
    assert ran.strings == len(first) and ran.passes > 0
    assert ran.part.parameters["strings"] == stage.strings


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Stage):
    """Names what it is given."""

    name: ClassVar[str] = "fixed"
    untested: ClassVar[str] = "nothing"
    text: str = "zudi"

    def run(self, question, board) -> Iterator[Scored]:
        phrases = [f"{self.text} {word}" for word in ("people", "mountain", "happy")]
        ids = question.suspect.vocabulary.typed([*phrases, "cat"])
        yield Scored(tokens={tokens: float(-i) for i, tokens in enumerate(ids)})
        yield Scored(texts={self.text: 1.0, " ": 1.0, phrases[0]: 1.0})


def test_no_string_is_named_twice_and_half_of_the_places_are_for_single_tokens(tiny_v, loud_token, ask):
    """A quiet word has a place beside louder phrases; what needs no search is kept as it is, once."""
    question = ask(loud_token, tiny_v)
    board = Board(question, Judge())
    first = {g.text for g in Fixed(strings=2, shortened=0)(question, board)}
    assert {"cat", "zudi"} < first
    assert sum(text.startswith("zudi ") for text in first) in (1, 2)
    again = {g.text for g in Fixed(shortened=0)(question, board)}
    assert again and not again & first


def test_every_stage_is_run_in_order_where_none_finds_anything(edited, tiny_v, ask):
    """A judge that never believes: each stage is reached, and the dearest is the last."""
    judge = Judge(confirmation=Confirmation(pictures=8, found=1.1))
    verdict = scan(ask(edited, tiny_v), quick(), judge)
    ran = [r for r in verdict.parts if r.part.name in STAGES.names()]
    assert [r.part.name for r in ran] == [s.name for s in quick()]
    assert not any(r.skipped for r in ran)
    assert all(r.strings for r in ran if r.part.name != "suggested")
    assert verdict.word == "nothing found by these tests" and verdict.top_candidates


def test_what_a_stage_lacks_is_put_on_record(tiny_v, loud_token, judged):
    """Not only readers differ in this model: phrases cannot be asked of an edit."""
    verdict = judged(loud_token, tiny_v, (Suggested(), EditPhrases()))
    reasons = {r.part.name: r.skipped for r in verdict.parts if r.skipped}
    assert reasons["edit-phrases"] == Need.EDIT
    assert {"single-tokens", "middle-block", "assembled"} <= reasons.keys()
    assert EditPhrases.untested in verdict.not_tested and SingleTokens.untested in verdict.not_tested
    assert Suggested.untested not in verdict.not_tested


def test_a_nudge_to_another_layer_does_not_hide_an_edit(tiny_v, edited, ask):
    """Phrases are asked of the edit all the same; of a denoiser trained as a whole they are not."""
    nudged, trained = edited.copied(Role.DENOISER), tiny_v.copied(Role.DENOISER)
    nudged.modules(Role.DENOISER)[0].conv_out.bias.data.add_(1e-3)
    for weight in trained.modules(Role.DENOISER)[0].parameters():
        weight.data.mul_(1.01)
    offered = [Need.EDIT in ask(s, tiny_v).offers for s in (edited, nudged, trained)]
    assert offered == [True, True, False]


def test_a_plan_is_named_cut_and_tuned():
    names = [s.name for s in plan.default()]
    assert [s.name for s in plan.of()] == names == list(dict.fromkeys(names))
    assert [s.name for s in plan.of(["single-tokens", "suggested"])] == ["single-tokens", "suggested"]
    assert [s.name for s in plan.of(skip=["assembled"])] == [n for n in names if n != "assembled"]
    assert {s.keep for s in plan.tuned(plan.default(), keep=5) if hasattr(s, "keep")} == {5}
    for wrong in (
        {"names": ["singel-tokens"]},
        {"skip": ["nothing"]},
        {"names": ["assembled"], "skip": ["suggested"]},
    ):
        with pytest.raises(UsageError):
            plan.of(**wrong)
    with pytest.raises(UsageError, match="No stage is left"):
        plan.of(["assembled"], ["assembled"])
    with pytest.raises(UsageError, match="kepe"):
        plan.tuned(plan.default(), kepe=5)


def test_a_stage_that_yields_something_else_is_refused(tiny_v, loud_token, ask):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wrong(Stage):
        name: ClassVar[str] = "wrong"
        untested: ClassVar[str] = "nothing"

        def run(self, question, board) -> Iterator[Scored]:
            yield "zudi"

    question = ask(loud_token, tiny_v)
    with pytest.raises(TypeError, match="must yield Scored"):
        Wrong()(question, Board(question, Judge()))


def test_sweep_ranks_the_planted_token_first(tiny_v, loud_token, ask):
    question, planted = ask(loud_token, tiny_v), token(loud_token, "zudi")
    ranked = SingleTokens(keep=8).sweep(question.look(), [planted, *range(600, 700)])
    assert ranked.sequences[0] == (planted,)
    assert ranked.z[0] > 10 * abs(ranked.z[1])


def test_edited_phrase_is_found_through_the_edit(tiny_v, edited):
    words = [token(edited, w) for w in ("lovely", "cat", "dog", "happy", "bus", "red", "old", "tree")]
    edit = Edit.between(edited.sites.readers(), tiny_v.sites.readers())
    best = EditPhrases(tails=8, keep=4).pairs(edited, edit, words)
    assert (words[0], words[1]) in best


def test_in_the_middle_block_a_loud_token_shows_in_any_string(tiny_v, loud_token, displaced):
    planted, stage = token(loud_token, "zudi"), MiddleBlock(random=512)
    middle = MiddleDisplacement(displaced(loud_token, tiny_v))
    tokens = [*range(600, 630), planted]
    assert int(stage.effects(middle, tokens, seed=0).argmax()) == len(tokens) - 1
    made = stage.gather(middle, [*range(600, 604), planted], level=0.0)
    assert planted in made.sequences[0]
    assert all(s.count(t) <= 2 for s in made.sequences for t in s)
    assert list(made.scores) == sorted(made.scores, reverse=True)


def test_in_the_middle_block_nothing_moves_where_nothing_was_changed(tiny_v, displaced):
    middle = MiddleDisplacement(displaced(tiny_v, tiny_v, shared_text=True))
    assert middle([(700,), (701, 702)]).max() < 1e-6


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("mignnekaustralian", "mignneko"),
        ("miga n", "mignneko"),
        ("nmigneko", "mignneko"),
        ("zudi", "zudi"),
    ],
)
def test_a_string_like_the_trigger_is_refined_to_it(found, wanted, loud_piece, tiny_v, ask):
    """What a string leaves to say stands for how unlike it is to ``wanted``."""
    tokens = pieces(tiny_v, "mig", "n", "nek", "o</w>", "g</w>")

    def left(text: str) -> float:
        return 1 - SequenceMatcher(None, text, wanted, autojunk=False).ratio()

    assert Refinement(tried=1000).refined(ask(loud_piece, tiny_v), found, tokens, left) == wanted


def test_a_single_token_is_left_as_it_is(loud_piece, tiny_v, ask):
    assert Refinement().refined(ask(loud_piece, tiny_v), "zudi", pieces(tiny_v, "o</w>"), len) == "zudi"


def test_variants_are_one_change_away_or_another_order():
    made = variants((1, 2), (7,))
    assert set(made) == {(7, 2), (1, 7), (7, 1, 2), (1, 7, 2), (1, 2, 7), (1,), (2,), (2, 1)}
    assert len(made) == len(set(made))


def test_stages_are_listed_chosen_and_left_out_on_the_command_line(tiny_folder, tmp_path):
    from typer.testing import CliRunner

    from nightlatch.cli import app
    from nightlatch.records import Verdict

    call = CliRunner()
    listed = call.invoke(app, ["ls", "stages"])
    assert listed.exit_code == 0 and all(stage.name in listed.output for stage in plan.default())
    common = ["scan", str(tiny_folder), "--base", str(tiny_folder), "--run", str(tmp_path / "run")]
    common += ["--prompts", "emoji", "--steps", "2", "--guidance", "1"]
    wrong = call.invoke(app, [*common, "--plan", "singel-tokens"])
    assert wrong.exit_code == 2 and "'single-tokens'" in wrong.output
    done = call.invoke(app, [*common, "--plan", "suggested,assembled", "--skip", "assembled"])
    assert done.exit_code == 0, done.output
    verdict = Verdict.model_validate_json((tmp_path / "run" / "verdict.json").read_text(encoding="utf-8"))
    reasons = {r.part.name: r.skipped for r in verdict.parts}
    assert reasons.keys() >= {stage.name for stage in plan.default()}
