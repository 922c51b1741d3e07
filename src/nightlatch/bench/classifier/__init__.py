"""The experiments on image classifiers: every row of docs/figures/classifier_*.json is made here."""
