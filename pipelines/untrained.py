"""Stage ``untrained``: the network with the weights of ``model.weights`` -> ``models/untrained``.

Objectives that start from these weights depend on it, and the evaluation sets every objective beside it.
"""

from pipelines.stage.console import run_stage, say
from pipelines.stage.places import MODELS
from reid.config import UNTRAINED, load_params
from reid.files import atomic_directory
from reid.model_files import WEIGHTS

OUT = MODELS / UNTRAINED


def main() -> None:
    """Write ``models/untrained/model.safetensors``."""
    import torch

    from reid.models.embedder import ModelSpec, build_model, save_model

    params = load_params()
    torch.manual_seed(params.seed)
    spec = ModelSpec(**params.model.model_dump())
    model = build_model(spec)
    with atomic_directory(OUT) as temporary:
        save_model(model, spec, temporary / WEIGHTS)
    say(f"{spec.backbone}, weights {spec.weights}: {OUT}")


if __name__ == "__main__":
    run_stage(main)
