"""Networks at random weights that tell pictures apart."""

import torch

from reid.models.embedder import normalise
from tests.reid.export.conftest import smooth_crops


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
