"""Person re-identification: data, objectives, training, evaluation, export. ``import reid`` alone loads no torch, Ray or MLflow."""

__version__ = "0.1.0"
