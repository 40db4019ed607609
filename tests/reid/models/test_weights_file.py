"""Weights of other programs: what is in them arrives, and nothing in them is executed."""

import argparse
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from reid.errors import ReidError, UsageError
from reid.models.weights_file import conversion_command, load_weights, read_weights


class Touch:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {shlex.quote(str(self.path))}",)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def training(net: nn.Module, prefix: str = "module.") -> dict[str, Any]:
    """A checkpoint as torchreid's engine saves it: rank-1 is a NumPy number, the optimizer has a state."""
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return {
        "state_dict": {f"{prefix}{key}": value for key, value in net.state_dict().items()},
        "epoch": 60,
        "rank1": np.float64(0.914),
        "best": np.bool_(True),
        "count": np.int64(7),
        "mean_ap": np.float32(0.7),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40]).state_dict(),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_training_checkpoint_gives_its_network(tmp_path: Path, zipped: bool, prefix: str) -> None:
    net = network()
    path = tmp_path / "model.pth.tar-60"
    torch.save(training(net, prefix), path, _use_new_zipfile_serialization=zipped)
    found = read_weights(path)
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in net.state_dict().items())


def test_numpy_numbers_of_before_numpy_2_are_read(tmp_path: Path) -> None:
    """They name the module ``numpy.core``, which those of today name ``numpy._core``."""
    now, before = tmp_path / "now.pth", tmp_path / "before.pth"
    torch.save(training(network()), now)
    with zipfile.ZipFile(now) as given, zipfile.ZipFile(before, "w") as older:
        for one in given.namelist():
            older.writestr(
                one, given.read(one).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            )
    assert before.read_bytes().count(b"cnumpy.core.multiarray\n")
    assert read_weights(before).keys() == read_weights(now).keys()


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
def test_the_network_is_found_under_the_keys_of_other_programs(tmp_path: Path, key: str) -> None:
    net = network()
    torch.save({key: net.state_dict(), "iteration": 90}, tmp_path / "one.pth")
    save_file(net.state_dict(), tmp_path / "two.safetensors")
    assert (
        read_weights(tmp_path / "one.pth").keys()
        == read_weights(tmp_path / "two.safetensors").keys()
        == net.state_dict().keys()
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_executed_and_the_way_out_is_said(tmp_path: Path, zipped: bool) -> None:
    touched, path = tmp_path / "touched", tmp_path / "model.pth.tar"
    torch.save(training(network()) | {"args": Touch(touched)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ReidError, match=r"hold more than tensors and numbers \(posix\.system\), which was not loaded"
    ) as caught:
        read_weights(path)
    assert not touched.exists()
    assert str(caught.value).endswith(conversion_command(path))
    assert "\n" not in str(caught.value)
    # That it would have been made shows that the test can fail.
    torch.load(path, weights_only=False)
    assert touched.exists()


def test_the_command_that_is_said_converts(tmp_path: Path) -> None:
    net = network()
    path = tmp_path / "the model's.pth.tar"
    torch.save(training(net) | {"args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(ReidError, match=r"argparse\.Namespace") as caught:
        read_weights(path)
    command = str(caught.value).partition("saved it: ")[2]
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, check=True, capture_output=True)
    assert read_weights(Path(f"{path}.plain.pth")).keys() == net.state_dict().keys()


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(training(network()), whole)
    older = tmp_path / "older.pth"
    torch.save(training(network()), older, _use_new_zipfile_serialization=False)
    torn = {name: tmp_path / name for name in ("torn.pth", "cut.pth", "end.pth", "page.pth", "empty.pth")}
    torn["torn.pth"].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    torn["cut.pth"].write_bytes(older.read_bytes()[: older.stat().st_size // 2])
    torn["end.pth"].write_bytes(older.read_bytes()[:-9])
    torn["page.pth"].write_text("<!doctype html><title>404</title>")
    torn["empty.pth"].touch()
    for path in torn.values():
        with pytest.raises(ReidError, match=f"{re.escape(str(path))} are damaged.*fetch or save") as caught:
            read_weights(path)
        assert "\n" not in str(caught.value)
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(ReidError, match="hold no network: none of the keys state_dict, model"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(UsageError, match="does not exist"):
        read_weights(tmp_path / "absent.pth")


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"are a folder: name a \.safetensors or \.pth file"):
        read_weights(tmp_path)


def test_what_differs_is_named_by_kind() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    given = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(4)).state_dict() | {
        "extra.weight": torch.zeros(1)
    }
    del given["1.num_batches_tracked"]  # as old files lack it
    with pytest.raises(ReidError) as caught:
        load_weights(net, given, ("none.",), "weights x are not of y")
    assert str(caught.value) == (
        "weights x are not of y: 2 of 8 tensors of another shape: 0.weight (8x3x3x3 instead of "
        "4x3x3x3), 0.bias (8 instead of 4); "
        "2 of 8 tensors missing: 2.weight, 2.bias; 1 of 8 tensors unknown to it: extra.weight"
    )
    load_weights(net, net.state_dict() | {"classifier.weight": torch.zeros(751, 4)}, ("classifier",), "")


def test_numbers_that_are_not_finite_are_said(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, tmp_path / "w.pth")
    with pytest.raises(ReidError, match=r"not finite, in 1 of 2 tensors: b: .*an earlier checkpoint"):
        read_weights(tmp_path / "w.pth")
