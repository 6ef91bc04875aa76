from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tuneport.train.speed.lora_linear import dropout_keep_mask, fuse_training_lora_layers


def network(**options: Any) -> Any:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5, bias=False))
    wrapped = get_peft_model(layers, LoraConfig(r=3, lora_alpha=7, target_modules=["0", "2"], **options))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return wrapped


def outputs_and_gradients(model: Any) -> list[torch.Tensor]:
    torch.manual_seed(2)
    x = torch.randn(4, 6, 12, requires_grad=True)
    y = model(x)
    (y**2).sum().backward()
    assert x.grad is not None
    return [y, x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


def test_the_fused_layer_is_pefts_forwards_and_backwards() -> None:
    plain, fused = network(), network()
    assert fuse_training_lora_layers(fused) == 2

    for expected, found in zip(outputs_and_gradients(plain), outputs_and_gradients(fused), strict=True):
        assert torch.allclose(expected, found, rtol=1e-4, atol=1e-4)


def test_the_adapter_can_still_be_switched_off() -> None:
    plain, fused = network(), network()
    fuse_training_lora_layers(fused)
    x = torch.ones(2, 12)
    with plain.disable_adapter(), fused.disable_adapter():
        assert torch.equal(plain(x), fused(x))
    assert not torch.allclose(fused(x), plain.get_base_model()(x) * 0)


@pytest.mark.parametrize("options", [{"use_dora": True}])
def test_what_is_not_plain_lora_is_left_to_peft(options: dict[str, Any]) -> None:
    assert fuse_training_lora_layers(network(**options)) == 0


def test_dropout_drops_the_asked_share_before_the_adapter_only() -> None:
    fused = network(lora_dropout=0.25)
    assert fuse_training_lora_layers(fused) == 2
    layer = fused.get_base_model()[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(50, 12, requires_grad=True)

    torch.manual_seed(5)
    found = layer(x)
    found.square().sum().backward()
    assert x.grad is not None
    of_x, of_a, of_b = x.grad.clone(), a.grad.clone(), b.grad.clone()
    x.grad = a.grad = b.grad = None

    torch.manual_seed(5)
    mask = dropout_keep_mask(x, 0.25) != 0
    dropped = torch.where(mask, x, 0) / 0.75
    expected = layer.base_layer(x) + layer.scaling["default"] * (dropped @ a.T) @ b.T
    expected.square().sum().backward()
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    for ours, autograds in ((of_x, x.grad), (of_a, a.grad), (of_b, b.grad)):
        assert autograds is not None and torch.allclose(ours, autograds, rtol=1e-4, atol=1e-4)

    fused.eval()
    assert torch.equal(layer(x), layer(x)), "nothing is dropped when it answers"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_that_is_kept(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = dropout_keep_mask(torch.ones(400, 1001, dtype=dtype), 0.05)
    assert set(mask.unique().tolist()) == {-1, 0}
    assert (mask != 0).float().mean().item() == pytest.approx(0.95, abs=0.002)
    assert not torch.equal(mask, dropout_keep_mask(torch.ones(400, 1001, dtype=dtype), 0.05))
