"""The gate in front of every model file: check what is there, then stage exactly that. No code of the model
is ever run.
"""

from nightlatch.exits import of_files as exit_code
from nightlatch.intake.gate import check
from nightlatch.intake.hub.source import Located, locate
from nightlatch.intake.rules import RULES, Rule
from nightlatch.intake.staging.departs import Departs, require_alone
from nightlatch.intake.staging.guard import guarded
from nightlatch.intake.staging.private import NotSupported, Refused, Staged, stage

__all__ = [
    "RULES",
    "Departs",
    "Located",
    "NotSupported",
    "Refused",
    "Rule",
    "Staged",
    "check",
    "exit_code",
    "guarded",
    "locate",
    "require_alone",
    "stage",
]
