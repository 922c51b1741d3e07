"""The vocabulary of the whole project: frozen, JSON-serialisable records.

Every verb writes them, every later verb reads them.
"""

from nightlatch.records.files import FileEntry, Finding, Hint, Manifest, Severity
from nightlatch.records.ranking import Ranking, Suspicion
from nightlatch.records.reports import Computed, Environment, Images, Report
from nightlatch.records.results import (
    Candidate,
    Carrier,
    Choice,
    ComponentChange,
    Leak,
    Pair,
    Part,
    PictureTrigger,
    PlacedTrigger,
    Placement,
    Ran,
    Rate,
    Repair,
    RepairRound,
    Scorecard,
    ScorecardWord,
    SecondSearch,
    Trigger,
    Verdict,
    VerdictWord,
    acted,
)
from nightlatch.schema import SCHEMA_VERSION, Record

__all__ = [
    "SCHEMA_VERSION",
    "Candidate",
    "Carrier",
    "Choice",
    "ComponentChange",
    "Computed",
    "Environment",
    "FileEntry",
    "Finding",
    "Hint",
    "Images",
    "Leak",
    "Manifest",
    "Pair",
    "Part",
    "PictureTrigger",
    "PlacedTrigger",
    "Placement",
    "Ran",
    "Ranking",
    "Rate",
    "Record",
    "Repair",
    "RepairRound",
    "Report",
    "Scorecard",
    "ScorecardWord",
    "SecondSearch",
    "Severity",
    "Suspicion",
    "Trigger",
    "Verdict",
    "VerdictWord",
    "acted",
]
