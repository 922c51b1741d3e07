"""verify: is the trigger gone, and is the model unharmed?"""

from nightlatch.text2image.verify.effect_rate import Counting, EffectRate
from nightlatch.text2image.verify.regrowth import Regrowth, regrow
from nightlatch.text2image.verify.scorecard import Bars, Verification, judged, verify

__all__ = ["Bars", "Counting", "EffectRate", "Regrowth", "Verification", "judged", "regrow", "verify"]
