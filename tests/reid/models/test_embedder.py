"""The embedding model: what it computes, and that a saved model is the same model."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reid.errors import ReidError, UsageError
from reid.models.embedder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EmbeddingModel,
    GeneralisedMeanPooling,
    ModelSpec,
    build_model,
    load_model,
    normalise,
    save_model,
)
from reid.models.inference import embed_blocks, embed_images

SPEC = ModelSpec(backbone="osnet_x0_25", weights="none", height=64, width=32)


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(SPEC, embedding_dim=24, pooling="gem"))
    with torch.no_grad():
        model.bn.running_mean.normal_()
        model.bn.running_var.uniform_(0.5, 2)
    return model.eval()


def test_embed_is_the_normalised_feature_of_the_neck(model: EmbeddingModel) -> None:
    images = torch.randn(3, 3, 64, 32)
    with torch.inference_mode():
        features = model(images)
        after = (
            (features - model.bn.running_mean)
            / (model.bn.running_var + model.bn.eps).sqrt()
            * model.bn.weight
        )
        torch.testing.assert_close(model.neck(features), after)
        torch.testing.assert_close(model.embed(images), after / after.norm(dim=1, keepdim=True))
    assert features.shape == (3, 24)


def test_neck_feature_before_bn_is_retrieved_when_asked() -> None:
    torch.manual_seed(0)
    model = build_model(dataclasses.replace(SPEC, neck_feature="before_bn")).eval()
    model.bn.running_mean.fill_(5.0)
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        features = model(images)
        torch.testing.assert_close(model.embed(images), features / features.norm(dim=1, keepdim=True))


def test_flip_averages_an_image_and_its_mirror_image(model: EmbeddingModel) -> None:
    images = torch.randn(3, 3, 64, 32)
    with torch.inference_mode():
        plain, mirrored = model.embed(images), model.embed(images.flip(3))
        assert (plain - mirrored).abs().max() > 1e-3
        model.flip = True
        try:
            both, turned = model.embed(images), model.embed(images.flip(3))
        finally:
            model.flip = False
    mean = (plain + mirrored) / 2
    torch.testing.assert_close(both, mean / mean.norm(dim=1, keepdim=True))
    torch.testing.assert_close(both, turned)


def test_the_neck_has_no_trainable_bias_and_the_default_dim_is_the_backbone_s() -> None:
    model = build_model(SPEC)
    assert model.dim == 128
    assert not model.bn.bias.requires_grad
    assert model.bn.bias.abs().sum() == 0
    assert model.bn.weight.requires_grad


def test_generalised_mean_lies_between_mean_and_maximum_and_reaches_the_mean() -> None:
    maps = torch.rand(2, 5, 4, 3) * 300
    pooled = GeneralisedMeanPooling()(maps)
    assert (pooled > maps.mean(dim=(2, 3))).all()
    assert (pooled < maps.amax(dim=(2, 3))).all()
    torch.testing.assert_close(GeneralisedMeanPooling(p=1.0)(maps), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(GeneralisedMeanPooling()(maps.half()), pooled, rtol=1e-3, atol=0)


def test_normalise_agrees_with_a_pixel_worked_by_hand_in_both_layouts() -> None:
    batch = torch.zeros(1, 4, 5, 3, dtype=torch.uint8)
    batch[0, 2, 1] = torch.tensor([255, 128, 0])
    out = normalise(batch)
    want = [
        (1 - IMAGENET_MEAN[0]) / IMAGENET_STD[0],
        (128 / 255 - IMAGENET_MEAN[1]) / IMAGENET_STD[1],
        -IMAGENET_MEAN[2] / IMAGENET_STD[2],
    ]
    torch.testing.assert_close(out[0, :, 2, 1], torch.tensor(want))
    assert out.shape == (1, 3, 4, 5)
    torch.testing.assert_close(normalise(batch.permute(0, 3, 1, 2)), out)
    for wrong in (batch.float(), batch[0], batch[..., :2]):
        with pytest.raises(ReidError, match="a batch of images is"):
            normalise(wrong)


def test_a_saved_model_is_the_same_model(model: EmbeddingModel, tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, embedding_dim=24, pooling="gem")
    save_model(model, spec, tmp_path / "model.safetensors")
    loaded, loaded_spec = load_model(tmp_path / "model.safetensors")
    assert loaded_spec == spec
    assert not loaded.training
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        assert torch.equal(loaded.embed(images), model.embed(images))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_bad_model_files_are_one_line_that_names_them(model: EmbeddingModel, tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_model(model, dataclasses.replace(SPEC, embedding_dim=24, pooling="gem"), good)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    wrong_key = tmp_path / "key.safetensors"
    save_file(
        {"a": torch.zeros(2)},
        wrong_key,
        metadata={"reid.model_spec": json.dumps({"backbone": "resnet18", "hight": 2})},
    )
    wrong_tensors = tmp_path / "tensors.safetensors"
    save_model(model, SPEC, wrong_tensors)
    for path in (torn, empty, foreign, wrong_key, wrong_tensors):
        with pytest.raises(ReidError, match=re.escape(str(path))) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="does not exist"):
        load_model(tmp_path / "absent.safetensors")


def test_unknown_choices_are_usage_errors() -> None:
    for change in ({"pooling": "max"}, {"neck_feature": "middle"}):
        with pytest.raises(UsageError, match="choose one of"):
            build_model(dataclasses.replace(SPEC, **change))


def test_several_models_embed_blocks_as_each_embeds_all() -> None:
    torch.manual_seed(1)
    models = [build_model(dataclasses.replace(SPEC, embedding_dim=dim)) for dim in (8, 12)]
    images = np.random.default_rng(0).integers(0, 255, (130, 64, 32, 3), np.uint8)
    found = embed_blocks(
        models, ((start, images[start : start + 64]) for start in range(0, 130, 64)), len(images)
    )
    for model, rows in zip(models, found, strict=True):
        np.testing.assert_array_equal(rows, embed_images(model, images))
        assert rows.shape == (130, model.dim)
