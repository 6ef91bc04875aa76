"""The cross-entropy of an LM head's predictions, without ever holding all logits.

A vocabulary of 49 k makes the logits of a thousand tokens take 200 MB in fp32, written and read several times. Here a
tile of tokens at a time is multiplied, scored and turned into the gradient of the hidden states, in the same two
buffers (the order of work of Liger's fused linear cross-entropy, Hsu et al. 2024).
"""

from __future__ import annotations

from typing import Any

import torch

TILE_TOKENS = 256


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        count, vocabulary = len(targets), head.shape[0]
        losses = hidden.new_empty(count, dtype=torch.float32)
        correct = hidden.new_empty(count, dtype=torch.bool)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_head = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        tile = min(count, TILE_TOKENS)
        logits_buffer = hidden.new_empty(tile, vocabulary)
        probabilities_buffer = hidden.new_empty(tile, vocabulary, dtype=torch.float32)
        minus_one = probabilities_buffer.new_tensor(-1.0)
        for begin in range(0, count, TILE_TOKENS):
            part = slice(begin, min(count, begin + TILE_TOKENS))
            target, size = targets[part, None], part.stop - begin
            logits = torch.mm(hidden[part], head.T, out=logits_buffer[:size])
            predicted, of_target = logits.argmax(-1, keepdim=True), logits.gather(1, target)
            probabilities = torch.softmax(logits, -1, dtype=torch.float32, out=probabilities_buffer[:size])
            # The best token's probability is never 0, the target's may be.
            behind = logits.gather(1, predicted).float() - of_target.float()
            losses[part] = (behind - probabilities.gather(1, predicted).log())[:, 0]
            correct[part] = (predicted == target)[:, 0]
            if of_hidden is None and of_head is None:
                continue
            # In fp32: a sure token's probability less 1 would be 0 in bf16, and its gradient lost.
            of_logits = logits.copy_(probabilities.scatter_add_(1, target, minus_one.expand(size, 1)))
            if of_hidden is not None:
                torch.mm(of_logits, head, out=of_hidden[part]).mul_(shares[part, None])
            if of_head is not None:
                of_head.addmm_(of_logits.T, hidden[part] * shares[part, None].to(hidden.dtype))
        ctx.save_for_backward(of_hidden, of_head)
        ctx.mark_non_differentiable(losses, correct)
        return (losses * shares).sum(), losses, correct

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_hidden, of_head = ctx.saved_tensors
        scale = gradients[0]
        return (
            None if of_hidden is None else of_hidden * scale.to(of_hidden.dtype),
            None if of_head is None else of_head * scale.to(of_head.dtype),
            None,
            None,
        )


def token_loss(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sum over tokens of share times cross-entropy (differentiable in `hidden` and `head`), each token's
    cross-entropy in nats, and whether its target was the prediction.

    `hidden` is tokens x width, `head` vocabulary x width, `targets` and `shares` one each per token.
    """
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _TokenLoss.apply(  # type: ignore[no-untyped-call]
        hidden, head, targets, shares
    )
    return result
