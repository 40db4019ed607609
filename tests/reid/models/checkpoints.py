"""Checkpoints as other programs save them, of networks at random weights, and what those programs embed."""

from pathlib import Path

import numpy as np
import torch
from torchreid.reid.models import build_model as of_torchreid
from torchreid.reid.utils import FeatureExtractor
from torchreid.reid.utils.torchtools import save_checkpoint

from reid.models.embedder import normalise
from tests.reid.export.conftest import smooth_crops


def trained(name: str, folder: Path, height: int, width: int, people: int = 751) -> Path:
    """A checkpoint of torchreid's own, of a network whose BatchNorms have seen pictures."""
    torch.manual_seed(0)
    net = of_torchreid(name, num_classes=people, pretrained=False, use_gpu=False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for seed in range(2):
            net(normalise(torch.from_numpy(smooth_crops(4, height, width, seed))))
    save_checkpoint({"state_dict": net.state_dict(), "epoch": 60, "rank1": np.float64(0.9)}, str(folder))
    torch.save(net.state_dict(), folder / "plain.pth")
    return folder / "model.pth.tar-60"


def by_torchreid(name: str, folder: Path, images: np.ndarray) -> np.ndarray:
    """Rows of length 1 from its own extractor, which cannot read its own checkpoints since PyTorch 2.6: from
    the plain weights.
    """
    extract = FeatureExtractor(
        name, str(folder / "plain.pth"), image_size=images.shape[1:3], device="cpu", verbose=False
    )
    rows = extract(list(images)).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def with_statistics(net: torch.nn.Module, height: int = 64, width: int = 32) -> torch.nn.Module:
    """The same network in evaluation mode, whose norms have scales and shifts unlike fresh ones, and
    BatchNorms the statistics of pictures: with others, all pictures come out alike.
    """
    draw = torch.Generator().manual_seed(0)
    norms = (torch.nn.BatchNorm2d, torch.nn.InstanceNorm2d, torch.nn.LayerNorm)
    batch_norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, norms):
                module.weight.copy_(torch.rand(module.weight.shape, generator=draw) * 0.4 + 0.8)
                module.bias.copy_(torch.rand(module.bias.shape, generator=draw) * 0.2 - 0.1)
        for module in batch_norms:
            module.momentum = None  # the mean of what they see
        if batch_norms:
            net.train()(normalise(torch.from_numpy(smooth_crops(8, height, width, seed=5))))
    return net.eval()
