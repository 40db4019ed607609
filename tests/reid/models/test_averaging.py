import torch

from reid.models.averaging import AveragedWeights
from reid.models.embedder import ModelSpec, build_model


def test_the_average_starts_at_the_first_weights_and_follows_with_the_decay_that_the_beginning_allows():
    model = build_model(ModelSpec("mobilenet_v2", "none", 64, 32))
    averaged = AveragedWeights(model, decay=0.5)
    weight = next(model.parameters())
    statistics = next(buffer for name, buffer in model.named_buffers() if name.endswith("running_mean"))
    expected = None
    for count, value in enumerate((1.0, 2.0, 7.0, -3.0, 4.0, 4.0)):
        weight.data.fill_(value)
        statistics.fill_(value)
        averaged.update()
        keep = min(0.5, (1 + count) / (10 + count))
        expected = value if expected is None else keep * expected + (1 - keep) * value
        followed = next(averaged.module.parameters())
        torch.testing.assert_close(followed, torch.full_like(followed, expected))
    name = next(name for name, _ in model.named_buffers() if name.endswith("running_mean"))
    followed = dict(averaged.module.named_buffers())[name]
    torch.testing.assert_close(followed, torch.full_like(followed, expected))
    assert int(averaged.n_averaged) == 6


def test_counters_are_copied_and_the_state_can_be_loaded_back():
    model = build_model(ModelSpec("mobilenet_v2", "none", 64, 32))
    averaged = AveragedWeights(model, decay=0.9)
    model.train()(torch.rand(2, 3, 64, 32))
    averaged.update()
    counters = [
        buffer for name, buffer in averaged.module.named_buffers() if name.endswith("num_batches_tracked")
    ]
    assert any(int(counter) == 1 for counter in counters)
    other = AveragedWeights(build_model(ModelSpec("mobilenet_v2", "none", 64, 32)), decay=0.9)
    other.load_state_dict(averaged.state_dict())
    assert int(other.n_averaged) == 1
    for a, b in zip(other.module.state_dict().values(), averaged.module.state_dict().values(), strict=True):
        assert torch.equal(a, b)
