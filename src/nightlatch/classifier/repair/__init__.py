"""Repairs of classifiers."""

from nightlatch.classifier.repair import pruning
from nightlatch.classifier.repair.base import METHODS, ClassifierRepair, Job, Method, flips

__all__ = ["METHODS", "ClassifierRepair", "Job", "Method", "flips", "pruning"]
