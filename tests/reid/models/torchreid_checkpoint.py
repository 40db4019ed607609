"""A checkpoint that torchreid saved, and its own embeddings from it."""

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
