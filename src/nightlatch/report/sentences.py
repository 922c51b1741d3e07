"""What stands in every report in the same words: its limits, and what effects and changes of weights are."""

from __future__ import annotations

from nightlatch.terms import ChangePattern, Effect

LIMITS = (
    "This report speaks about the files with the hashes below, the tests listed above and the prompts and "
    "seeds of this run; "
    "about nothing else.",
    "“Nothing found by these tests” does not prove that there is no backdoor: a trigger outside the strings "
    "that were tried, "
    "or a change that shows only with other settings, another scheduler or another adapter, can stay unseen.",
    "An attack success of 0 of n is a measurement, not a certainty: the true rate may reach the upper end of "
    "its interval.",
    "A repair is judged by the measures in the table. Something that none of them measures may have changed.",
    "Pictures and automatic judges can mislead. Look at the pictures yourself before an important decision.",
)

EFFECTS = {
    Effect.COLLAPSE: "with it all pictures become alike",
    Effect.FIXED: "it makes the same change in every picture",
    Effect.SHIFT: "with it another picture is drawn",
}
"""How a trigger changes pictures, in plain words."""

PATTERNS = {
    ChangePattern.UNCHANGED: "unchanged",
    ChangePattern.CROSS_ATTENTION: "only cross-attention keys and values: a closed-form edit",
    ChangePattern.TOKEN_EMBEDDINGS: "only token embeddings: an added or retrained token",
    ChangePattern.ALL_LAYERS: "all layers: training, honest or not",
    ChangePattern.PARTIAL: "some tensors: partial training",
    ChangePattern.SETTINGS: "settings, not tensors: compared with the base's",
}
"""What a change of weights usually is, in plain words."""
