from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tuneport.train.speed import token_loss as module
from tuneport.train.speed.token_loss import token_loss


@pytest.mark.parametrize("trains_head", [False, True])
def test_the_loss_in_tiles_is_cross_entropy_forwards_and_backwards(
    trains_head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE_TOKENS", 5)  # 12 tokens: two whole tiles and a part
    torch.manual_seed(0)
    hidden = torch.randn(12, 8, requires_grad=True)
    head = torch.randn(30, 8, requires_grad=trains_head)
    targets, shares = torch.randint(0, 30, (12,)), torch.rand(12)
    logits = hidden @ head.T
    expected = F.cross_entropy(logits, targets, reduction="none")

    total, losses, correct = token_loss(hidden, head, targets, shares)
    assert torch.allclose(losses, expected, atol=1e-5) and torch.allclose(total, (expected * shares).sum())
    assert torch.equal(correct, logits.argmax(-1) == targets)

    inputs = [hidden, head] if trains_head else [hidden]
    wanted = torch.autograd.grad(3 * (expected * shares).sum(), inputs)
    found = torch.autograd.grad(3 * total, inputs)
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_a_hopeless_target_has_a_finite_loss_and_a_sure_one_keeps_its_gradient() -> None:
    head = torch.tensor([[1.0], [0.0]], dtype=torch.bfloat16)
    hopeless = torch.tensor([[200.0]], dtype=torch.bfloat16)  # its probability is 0 in fp32
    assert token_loss(hopeless, head, torch.tensor([1]), torch.ones(1))[1].item() == 200

    sure = torch.tensor([[7.0]], dtype=torch.bfloat16, requires_grad=True)  # 0.99909, which is 1 in bf16
    token_loss(sure, head, torch.tensor([0]), torch.ones(1))[0].backward()
    assert sure.grad is not None and sure.grad.item() == pytest.approx(-0.000911, rel=0.02)
