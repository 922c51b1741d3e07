"""What is repaired, and how: decided by what the weights and the scan show, one rule after another.

A rule reads the evidence and names a repair for the components that it is about, with its reason in a
sentence. The first rule of a role that fits decides; one that an earlier round tried in vain gives way to the
next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from nightlatch.records import Choice, ComponentChange, PlacedTrigger
from nightlatch.terms import ChangePattern, Role
from nightlatch.text2image.effect.gain import Gains, share_above
from nightlatch.text2image.effect.twins import Level, Words
from nightlatch.text2image.model import Subject
from nightlatch.text2image.scan.fingerprint import Fingerprint
from nightlatch.text2image.scan.reference import WeightDelta

FAR_BEYOND = 5e-3
"""Share of ordinary tokens that may have as much gain as a trigger that counts as edited in. The planted tokens of
the two edited models that were looked at were the first of 8,641; a closed-form repair that is tried in vain costs
one round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of how the trigger was planted.

    Args:
        roles: what the components do through which it acts.
        patterns: which tensors of a role's components differ from the base's, where that is known.
        rows: ids of the tokens, of those that the trigger is made of, whose embeddings differ from the
            base's; without a base all of them, where nothing but embeddings differs.
        added: those that the base has no row for.
        edited: whether nearly all that differs in the denoiser are the matrices that read text; without
            weights to compare, whether those answer to the trigger far beyond its neighbourhood.
        twin: cosine of the keys and values of the trigger, or of one of its tokens, with those of a word that means
            something else; None where nobody has looked.
        beyond: share of ordinary tokens that those matrices amplify as much as the trigger; None where nobody
            has looked.
        based: whether a trusted base is at hand.
    """

    roles: frozenset[Role]
    patterns: Mapping[Role, ChangePattern] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    edited: bool = False
    beyond: float | None = None
    twin: float | None = None
    based: bool = False

    @property
    def only_rows(self) -> bool:
        """Whether of the text encoder nothing but embeddings differs."""
        return self.patterns.get(Role.TEXT) is ChangePattern.TOKEN_EMBEDDINGS

    @property
    def goes_with_tokenizer(self) -> bool:
        """Whether the base's tokenizer takes all of the trigger's tokens away that differ."""
        return self.based and bool(self.added) and not self.rows and self.only_rows


def evidence(
    suspect: Subject,
    base: Subject | None,
    roles: Collection[Role],
    triggers: Sequence[PlacedTrigger],
    changes: Sequence[ComponentChange] = (),
) -> Evidence:
    """What ``suspect`` shows of ``triggers``.

    Args:
        base: a trusted model, if there is one.
        roles: what the components do through which they act, by the scan.
        changes: the scan's weight differences, for when there is no base at hand.
    """
    rows = Fingerprint(largest=0)(suspect, base) if base is not None else tuple(changes)
    patterns = {r.role: r.pattern for r in rows if r.role is not None and r.pattern and r.changed}
    tokens = suspect.vocabulary.typed([t.text for t in triggers])
    ids = list(dict.fromkeys(i for s in tokens for i in s))
    differing, added = rows_of(suspect, base, ids, patterns.get(Role.TEXT))
    edited, beyond, twin = False, None, None
    if base is None and suspect.sites.readers() and Role.DENOISER in roles:
        twin = Words.of(suspect).alike(suspect.sites.readers(), Level(), set(ids))
    if base is not None:
        edited = Role.DENOISER in patterns and WeightDelta(suspect, base, rows).edits_readers
    elif rows:
        edited = patterns.get(Role.DENOISER) is ChangePattern.CROSS_ATTENTION
    elif suspect.sites.readers():
        gains, ordinary = Gains(suspect, "").of([s for s in tokens if s])
        beyond = share_above(gains, ordinary)
        edited = beyond < FAR_BEYOND
    return Evidence(
        roles=frozenset(roles),
        patterns=patterns,
        rows=differing,
        added=added,
        edited=edited,
        beyond=beyond,
        twin=twin,
        based=base is not None,
    )


def rows_of(
    suspect: Subject, base: Subject | None, ids: Sequence[int], pattern: ChangePattern | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(ids whose embeddings differ from the base's, ids that the base has no row for)."""
    if base is None:
        return (tuple(ids), ()) if pattern is ChangePattern.TOKEN_EMBEDDINGS else ((), ())
    differing, added = dict[int, None](), dict[int, None]()
    for name in suspect.named(Role.TEXT):
        mine, theirs = (embeddings(s.parts[name].module) for s in (suspect, base))
        for i in ids:
            if i >= len(theirs):
                added[i] = None
            elif not torch.equal(mine[i].cpu(), theirs[i].cpu()):
                differing[i] = None
    return tuple(differing), tuple(added)


def embeddings(text_encoder: torch.nn.Module) -> torch.Tensor:
    """The table with one row a token, (tokens, width)."""
    table: torch.Tensor = text_encoder.get_input_embeddings().weight  # type: ignore[operator]
    return table


Rule = Callable[[Evidence], str]
"""The reason why a method is the one for this evidence, '' where it is not."""


def _other_tokenizer(e: Evidence) -> str:
    if not (e.based and (Role.TOKENIZER in e.roles or e.added)):
        return ""
    if e.added:
        return (
            "The trigger is a token that was added to the vocabulary, so the base's tokenizer takes the "
            "place of this one and the added rows go."
        )
    return "The tokenizer reads texts in its own way, so the base's takes its place."


def _rows(e: Evidence) -> str:
    if Role.TEXT not in e.roles or not e.rows or not e.only_rows:
        return ""
    what = "restored from the base's" if e.based else "replaced by what the pieces of its text mean"
    return (
        "Of the text encoder nothing but token embeddings differs, and the trigger's are among them, so "
        f"they alone are {what}."
    )


def _text_training(e: Evidence) -> str:
    if Role.TEXT not in e.roles:
        return ""
    whole = (
        "layers of the text encoder differ"
        if Role.TEXT in e.patterns
        else "the trigger acts in the text encoder"
    )
    return f"{whole[0].upper()}{whole[1:]}, so it is trained to read the trigger as {_goal(e)}."


def _edit(e: Evidence) -> str:
    if Role.DENOISER not in e.roles or not e.edited or not e.based:
        return ""
    return (
        "Nearly all that differs in the denoiser are the matrices that read text: a closed-form edit. What "
        "ordinary prompts do not need of that difference goes."
    )


def _twins(e: Evidence) -> str:
    if Role.DENOISER not in e.roles or e.based or e.twin is None or e.twin < Level().alike:
        return ""
    return (
        f"Keys and values of the trigger are those of a word that means something else (cosine {e.twin:.2f}): a closed-form "
        "edit. What sends words there and ordinary prompts do not need goes."
    )


def _denoiser_training(e: Evidence) -> str:
    if Role.DENOISER not in e.roles:
        return ""
    trained = f"it is trained to draw with it {_goal(e)}"
    if e.edited and not e.based:
        return (
            f"{_seen(e)}: a closed-form edit. It is edited back and, since no base says how far, {trained}."
        )
    return f"The trigger acts in the denoiser, so {trained}."


def _seen(e: Evidence) -> str:
    """What shows an edit without a base."""
    if e.beyond is None:
        return "Of the denoiser only the matrices that read text differ"
    return (
        "The matrices that read text answer to the trigger more than to "
        f"{100 * (1 - e.beyond):.2f} % of ordinary tokens, far beyond its neighbourhood"
    )


def _goal(e: Evidence) -> str:
    return "as the base does" if e.based else "as without it"


RULES: Mapping[Role, Sequence[tuple[str, Rule]]] = {
    Role.TEXT: (("token-rows", _rows), ("sau", _text_training)),
    Role.DENOISER: (("edit-removal", _edit), ("twin-removal", _twins), ("sau", _denoiser_training)),
    Role.TOKENIZER: (("base-tokenizer", _other_tokenizer),),
}
"""Role -> (method, rule), the narrowest repair first; the tokenizer last, since it takes rows away that the
others ask for.
"""


def choose(
    found: Evidence, names: Mapping[Role, Sequence[str]], tried: Collection[tuple[Role, str]] = ()
) -> tuple[tuple[Role, Choice], ...]:
    """The repairs for ``found``, one for each role through which the trigger acts.

    Args:
        names: role -> the names of its components.
        tried: what earlier rounds did in vain; the last rule of a role stays.
    """
    made = []
    for role, rules in RULES.items():
        fitting = [(method, why) for method, rule in rules if (why := rule(found))]
        left = [pair for pair in fitting if (role, pair[0]) not in tried] or fitting[-1:]
        if left and not (role is Role.TEXT and found.goes_with_tokenizer):
            method, why = left[0]
            if method == "sau" and found.based:
                method = "sau-base"
            made.append((role, Choice(method=method, components=tuple(names.get(role, ())), reason=why)))
    return tuple(made)
