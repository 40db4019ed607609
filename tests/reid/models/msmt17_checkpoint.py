"""A checkpoint of torchreid's with trained weights: OSNet x0.25 of MSMT17, out of the ONNX file that lies
with the shared models.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torchreid.reid.models import build_model
from torchreid.reid.utils.torchtools import save_checkpoint

__all__ = ["PEOPLE", "msmt17_checkpoint"]

PEOPLE = 4101  # of MSMT17, all of whom it was trained on: rows of the classifier, which the file lacks


def msmt17_checkpoint(source: Path, folder: Path) -> Path:
    """Save what the file calculates as torchreid does.

    The file's convolutions have their BatchNorms folded in. They are put into the network's convolutions, and
    the norm behind each is left with a bias alone, so that both calculate the same.
    """
    graph = onnx.load(source).graph
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    net = build_model("osnet_x0_25", num_classes=PEOPLE, pretrained=False, use_gpu=False).eval()
    ran: list[nn.Module] = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda own, *_: ran.append(own))
    with torch.no_grad():
        net(torch.zeros(1, 3, 256, 128))
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        places = [place for place, module in enumerate(ran) if isinstance(module, nn.Conv2d)]
        for node, place in zip(convolutions, places, strict=True):
            own, behind = ran[place], ran[place + 1] if place + 1 < len(ran) else None
            assert isinstance(own, nn.Conv2d)
            own.weight.copy_(weights[node.input[1]])
            bias = weights[node.input[2]] if len(node.input) > 2 else None
            if own.bias is not None:
                assert bias is not None
                own.bias.copy_(bias)
            elif bias is not None:
                assert isinstance(behind, nn.BatchNorm2d)
                nn.init.constant_(behind.running_var, 1 - behind.eps)
                behind.bias.copy_(bias)
        named = {name: value for name, value in weights.items() if name.startswith("fc.")}
        assert set(net.state_dict()) >= set(named)
        net.load_state_dict(named, strict=False)
    state = {"state_dict": net.state_dict(), "epoch": 60, "rank1": np.float64(0.6)}
    save_checkpoint(state, str(folder))
    return folder / "model.pth.tar-60"
