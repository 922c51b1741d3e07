"""The verbs as functions over a run folder: each writes its record as soon as it exists, and the next one
starts from that file.
"""

from nightlatch.verbs.check import check
from nightlatch.verbs.clean import clean
from nightlatch.verbs.data import scan_data
from nightlatch.verbs.report import report
from nightlatch.verbs.scan import scan
from nightlatch.verbs.verify import verify

__all__ = ["check", "clean", "report", "scan", "scan_data", "verify"]
