"""scan: from a suspect and a trusted base to carrier and trigger string."""

from nightlatch.text2image.scan.pipeline import Budget, scan

__all__ = ["Budget", "scan"]
