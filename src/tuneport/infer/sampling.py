"""One token for each row, each row by its own options and its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

DEFAULT_MAX_TOKENS = 512


@dataclass(frozen=True)
class SamplingOptions:
    """OpenAI's options of these names. `temperature` 0 takes the likeliest token; `seed` makes sampling repeatable."""

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


def make_sampling_generator(options: SamplingOptions, device: torch.device) -> torch.Generator | None:
    """Return a row's own random number generator, so that its neighbours change nothing, or None if it needs none."""
    if options.temperature == 0:
        return None
    # Elsewhere than on CUDA they are drawn on the CPU, where every version of PyTorch can.
    generator = torch.Generator(device if device.type == "cuda" else "cpu")
    if options.seed is None:
        generator.seed()
    else:
        generator.manual_seed(options.seed)
    return generator


def sample_next_tokens(
    logits: torch.Tensor, options: Sequence[SamplingOptions], generators: Sequence[torch.Generator | None]
) -> torch.Tensor:
    """Return one token for each row of `logits` (rows, vocabulary), on the CPU."""
    tokens = logits.argmax(-1)
    drawn = [row for row, generator in enumerate(generators) if generator is not None]
    if not drawn:
        return tokens.cpu()
    device = logits.device
    chosen = torch.tensor(drawn, device=device)
    temperatures = torch.tensor([options[row].temperature for row in drawn], device=device)
    probabilities = (logits[chosen] / temperatures[:, None]).softmax(-1)
    if any(options[row].top_p < 1 for row in drawn):
        top_p = torch.tensor([options[row].top_p for row in drawn], device=device)
        probabilities = _likeliest(probabilities, top_p)
    # The likeliest of p / e, e exponential, is a draw from p: what torch.multinomial does, here a row at a time.
    noise = torch.empty(probabilities.shape)
    if device.type == "cuda":
        noise = torch.empty_like(probabilities)
    for row, number in enumerate(drawn):
        noise[row].exponential_(generator=generators[number])
    tokens[chosen] = (probabilities / noise.to(device)).argmax(-1)
    return tokens.cpu()


def _likeliest(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Return the smallest set of tokens whose probabilities reach `top_p`, the others at 0."""
    ordered, order = probabilities.sort(descending=True)
    beyond = ordered.cumsum(-1) - ordered >= top_p[:, None]
    beyond &= (top_p < 1)[:, None]
    beyond[:, 0] = False  # something must remain, also at top_p 0
    return torch.zeros_like(probabilities).scatter(1, order, ordered.masked_fill(beyond, 0.0))
