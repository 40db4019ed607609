"""Names of the files in the folder of a trained model. Torch-free.

No other module spells one of these names. Those of a model directory have owners of their own: its card
``reid.shipped``, its networks ``reid.export.precisions``, its self-test ``reid.self_test``.
"""

__all__ = [
    "CHECKPOINT",
    "HISTORY",
    "KEPT",
    "OBJECTIVE",
    "PAIR_METRIC",
    "RECORD",
    "SUMMARY",
    "TREE",
    "WEIGHTS",
]

WEIGHTS = "model.safetensors"
OBJECTIVE = "objective.safetensors"  # the losses' own parameters
TREE = "tree.npz"  # where the objective has a class tree
PAIR_METRIC = "pair_metric.safetensors"  # where it has a learned metric; in a model directory too
KEPT = (WEIGHTS, OBJECTIVE, TREE, PAIR_METRIC)
"""Of a trial's files, those that are the model."""

HISTORY = "history.json"  # the figures of all epochs
SUMMARY = "summary.json"  # written last: with it the trial is over
CHECKPOINT = "checkpoint.safetensors"  # while it trains
RECORD = "training.json"
"""Beside a model that was kept: what it was trained on and by which run, and its figures."""
