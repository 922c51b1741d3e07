"""Repairs: SAU, and the rivals it is measured against."""

from nightlatch.text2image.repair import baselines, sau
from nightlatch.text2image.repair.base import METHODS, Job, Method

__all__ = ["METHODS", "Job", "Method", "baselines", "sau"]
