"""Scanners of classifiers: they get the model and clean pictures, no trigger and no target."""

from nightlatch.classifier.scan import inversion, probe
from nightlatch.classifier.scan.base import SCANNERS, ClassFinding, Found, ModelFinding, Scanner, stand_out

__all__ = ["SCANNERS", "ClassFinding", "Found", "ModelFinding", "Scanner", "inversion", "probe", "stand_out"]
