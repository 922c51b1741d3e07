"""A known trigger is removed from a pipeline in memory, and the removal is measured on prompts that the
repair has not seen.

Here the base's tensors are put back, since the base is at hand and nothing else was trained; without ``base``
and ``method`` the backdoor is unlearned.
"""

from __future__ import annotations

from tampered import DRAWING, TRIGGER, tampered

import nightlatch
from nightlatch import testbed
from nightlatch.terms import Role


def main() -> None:
    suspect = nightlatch.load(tampered())
    verdict = nightlatch.Verdict(
        word="backdoor found",
        triggers=(nightlatch.Trigger(text=TRIGGER),),
        carriers=({"component": "text_encoder", "role": Role.TEXT},),
        seed=1,
    )
    repaired, repair = nightlatch.clean(
        suspect, verdict, base=str(testbed.PIPELINE), method="restore", **DRAWING
    )
    print(f"{repair.method.name}: {repair.steps} steps, {repair.changed_tensors} tensors changed")
    card = nightlatch.verify(suspect, repaired, verdict, n=48, regrowth_steps=0, **DRAWING)
    print(card.verdict)
    for pair in card.pairs:
        print(
            f"  {pair.name}: {pair.before.hits if pair.before else '-'} -> {pair.after.hits} of {pair.after.n}"
        )


if __name__ == "__main__":
    main()
