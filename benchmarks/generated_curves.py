"""Loss curves with a known truth, made of formulas and noise; shares no code with the detector that they test.

Each is told in the way of one of the backends: as a local run's points, as the CSV of an OpenAI job, as the lines of a
Together job (both read by the very code that reads the real ones), or as a few points an epoch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuneport.backends.openai.jobs import parse_openai_metrics_csv
from tuneport.backends.together.jobs import parse_together_metrics
from tuneport.types import MetricPoint

Losses = Callable[[float], tuple[float, float]]
"""From the share of the run that is done to its training and its validation loss, without noise."""


@dataclass(frozen=True)
class Generated:
    """`turn`: of an overfitted one, the share of the run at which validation is lowest."""

    name: str
    truth: str
    points: list[MetricPoint]
    turn: float | None = None


@dataclass(frozen=True)
class Noise:
    train: float
    valid: float
    batch: float
    odd_one_out: bool = False


def curves(seed: int, per_kind: int = 12) -> Iterator[Generated]:
    for kind, make in KINDS.items():
        for index in range(per_kind):
            draw = random.Random(f"{seed} {kind} {index}")
            shape = SHAPES[index % len(SHAPES)]
            yield make(draw, shape, f"{kind}-{shape}-{index}")


# --- the losses of a run ----------------------------------------------------------------------------------------------


def settling(draw: random.Random) -> tuple[Losses, float]:
    start, floor, pace = draw.uniform(1.4, 4.0), draw.uniform(0.35, 1.1), draw.uniform(0.07, 0.2)
    gap, rise = draw.uniform(1.02, 1.2), draw.uniform(0.0, 0.08)

    def losses(x: float) -> tuple[float, float]:
        fallen = (start - floor) * math.exp(-x / pace)
        return floor * (1 - rise * x) + fallen, floor * gap + fallen

    return losses, start


def healthy(draw: random.Random, shape: str, name: str) -> Generated:
    losses, _ = settling(draw)
    return told(draw, shape, name, "healthy", losses, usual(draw))


def healthy_but_odd(draw: random.Random, shape: str, name: str) -> Generated:
    """A rise that passes, a spike of the training loss that recovers, or one evaluation that is far off."""
    losses, start = settling(draw)
    oddity = draw.choice(("bump", "spike", "outlier"))
    at = draw.uniform(0.35, 0.55)

    def odd(x: float) -> tuple[float, float]:
        train, valid = losses(x)
        near = math.exp(-(((x - at) / 0.05) ** 2))
        if oddity == "bump":
            return train, valid * (1 + 0.2 * near)
        return (train + start * near, valid) if oddity == "spike" else (train, valid)

    noise = usual(draw)
    return told(
        draw, shape, name, "healthy", odd, Noise(noise.train, noise.valid, noise.batch, odd_one_out=oddity == "outlier")
    )


def still_learning(draw: random.Random, shape: str, name: str) -> Generated:
    start, floor, pace = draw.uniform(1.5, 3.5), draw.uniform(0.2, 0.6), draw.uniform(0.8, 2.0)

    def losses(x: float) -> tuple[float, float]:
        fallen = (start - floor) * math.exp(-x / pace)
        return floor + fallen, floor * 1.05 + fallen

    return told(draw, shape, name, "still_learning", losses, usual(draw))


def overfitting(draw: random.Random, shape: str, name: str) -> Generated:
    start, low, turn = draw.uniform(1.5, 4.0), draw.uniform(0.5, 1.5), draw.uniform(0.15, 0.5)
    rise, bend, end = draw.uniform(0.2, 1.2), draw.choice((0.6, 1.0, 1.5)), draw.uniform(0.005, 0.2)

    def losses(x: float) -> tuple[float, float]:
        train = end + (start - end) * math.exp(-x / (turn * 0.8))
        down = (start - low) * max(0.0, 1 - x / turn) ** 2
        up = low * rise * (max(0.0, x - turn) / (1 - turn)) ** bend
        return train, low + down + up

    return told(draw, shape, name, "overfitting", losses, usual(draw), turn=turn)


def memorising(draw: random.Random, shape: str, name: str) -> Generated:
    start, low, turn = draw.uniform(1.5, 3.5), draw.uniform(0.6, 1.3), draw.uniform(0.2, 0.4)
    end = low * draw.uniform(0.15, 0.45)

    def losses(x: float) -> tuple[float, float]:
        common = (start - low) * max(0.0, 1 - x / turn) ** 2
        return low + common - (low - end) * max(0.0, x - turn) / (1 - turn), low * 1.03 + common

    return told(draw, shape, name, "memorising", losses, usual(draw))


def memorised(draw: random.Random, shape: str, name: str) -> Generated:
    start, low, turn = draw.uniform(1.5, 3.5), draw.uniform(0.5, 1.3), draw.uniform(0.1, 0.2)

    def losses(x: float) -> tuple[float, float]:
        common = (start - low) * max(0.0, 1 - x / turn) ** 2
        return 0.003 + start * math.exp(-x / (turn * 0.6)), low + common

    return told(draw, shape, name, "memorised", losses, usual(draw))


def diverged(draw: random.Random, shape: str, name: str) -> Generated:
    losses, start = settling(draw)
    at, jump = draw.uniform(0.05, 0.6), draw.uniform(1.4, 4.0)
    no_number = draw.random() < 0.25

    def wrecked(x: float) -> tuple[float, float]:
        train, valid = losses(x)
        if x < at:
            return train, valid
        if no_number and x > at + 0.1:
            return math.nan, math.nan
        share = min(1.0, (x - at) / 0.05)
        return train + (start * jump - train) * share, valid + (start * jump - valid) * share

    return told(draw, shape, name, "diverged", wrecked, usual(draw))


def unclear(draw: random.Random, shape: str, name: str) -> Generated:
    """Too few evaluations, or so much noise in a handful of them that none says anything."""
    losses, _ = settling(draw)
    if draw.random() < 0.5:
        found = told(draw, "few", name, "unclear", losses, usual(draw))
        kept = draw.randrange(0, 3)
        evaluated = [point.step for point in found.points if point.valid_loss is not None][kept:]
        points = [
            point.model_copy(update={"valid_loss": None, "valid_accuracy": None}) if point.step in evaluated else point
            for point in found.points
        ]
        return Generated(name, "unclear", points)
    noisy = Noise(0.3, draw.uniform(0.5, 0.8), 0.8)
    return told(draw, "few", name, "unclear", losses, noisy)


KINDS: dict[str, Callable[[random.Random, str, str], Generated]] = {
    "healthy": healthy,
    "healthy-but-odd": healthy_but_odd,
    "still-learning": still_learning,
    "overfitting": overfitting,
    "memorising": memorising,
    "memorised": memorised,
    "diverged": diverged,
    "unclear": unclear,
}


# --- how a backend tells it -------------------------------------------------------------------------------------------

SHAPES = ("local", "openai", "together", "few")


def usual(draw: random.Random) -> Noise:
    """Of a step's batch, of the whole validation file, and of a batch of that, as shares."""
    return Noise(draw.uniform(0.05, 0.25), draw.uniform(0.003, 0.02), draw.uniform(0.08, 0.25))


def told(
    draw: random.Random,
    shape: str,
    name: str,
    truth: str,
    losses: Losses,
    noise: Noise,
    *,
    turn: float | None = None,
) -> Generated:
    tell = {"local": as_local, "openai": as_openai, "together": as_together, "few": as_few}[shape]
    return Generated(name, truth, tell(draw, losses, noise), turn)


def noisy(draw: random.Random, value: float, share: float) -> float:
    return value * math.exp(draw.gauss(0.0, share) - share**2 / 2)


def right(loss: float) -> float:
    """A share of right tokens that goes with a loss."""
    return math.exp(-0.8 * loss) if math.isfinite(loss) else 0.0


def cosine(x: float, top: float = 2e-4) -> float:
    return top * x / 0.05 if x < 0.05 else top * (1 + math.cos(math.pi * (x - 0.05) / 0.95)) / 2


def as_local(draw: random.Random, losses: Losses, noise: Noise) -> list[MetricPoint]:
    """A point a step, an evaluation an epoch."""
    epochs, each = draw.randint(8, 30), draw.randint(3, 12)
    odd = draw.randint(epochs // 2, epochs) if noise.odd_one_out else None
    points = []
    for step in range(1, epochs * each + 1):
        x = step / (epochs * each)
        train, valid = losses(x)
        seen = noisy(draw, train, noise.train)
        point = MetricPoint(
            step=step,
            epoch=step / each,
            train_loss=seen,
            train_accuracy=min(1.0, right(seen)),
            learning_rate=cosine(x),
        )
        if step % each == 0:
            seen = noisy(draw, valid, noise.valid) * (1.35 if step // each == odd else 1.0)
            point = point.model_copy(update={"valid_loss": seen, "valid_accuracy": right(seen)})
        points.append(point)
    return points


def as_openai(draw: random.Random, losses: Losses, noise: Noise) -> list[MetricPoint]:
    """The result file: every step has the losses of its batches, the end of an epoch that of the whole file."""
    epochs, each = draw.randint(3, 6), draw.randint(30, 90)
    odd = draw.randint(epochs * each // 2, epochs * each) if noise.odd_one_out else None
    lines = [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,train_mean_reward,full_validation_mean_reward,"
        "full_valid_loss,full_valid_mean_token_accuracy"
    ]
    for step in range(1, epochs * each + 1):
        train, valid = losses(step / (epochs * each))
        seen, batch = noisy(draw, train, noise.train), noisy(draw, valid, noise.batch)
        batch *= 3.0 if step == odd else 1.0
        whole = noisy(draw, valid, noise.valid) if step % each == 0 else None
        cells = [
            step,
            seen,
            right(seen),
            batch,
            right(batch),
            None,
            None,
            whole,
            None if whole is None else right(whole),
        ]
        lines.append(
            ",".join("" if cell is None else f"{cell:.5f}" if isinstance(cell, float) else str(cell) for cell in cells)
        )
    return parse_openai_metrics_csv("\n".join(lines).encode())


def as_together(draw: random.Random, losses: Losses, noise: Noise) -> list[MetricPoint]:
    """A line every few steps, and one for each of a handful of evaluations."""
    steps, evaluations = draw.randint(60, 300), draw.randint(6, 12)
    odd = draw.randint(evaluations // 2, evaluations) if noise.odd_one_out else None
    lines: list[dict[str, float]] = []
    for step in range(5, steps + 1, 5):
        train, _ = losses(step / steps)
        lines.append(
            {
                "train/global_step": step,
                "train/loss": noisy(draw, train, noise.train),
                "train/learning_rate": cosine(step / steps),
                "train/epoch": 3 * step / steps,
            }
        )
    for number in range(1, evaluations + 1):
        step = max(1, round(number * steps / evaluations))
        _, valid = losses(step / steps)
        seen = noisy(draw, valid, noise.valid) * (1.35 if number == odd and number < evaluations else 1.0)
        lines.append({"eval/global_step": step, "eval/loss": seen})
    return parse_together_metrics(lines)


def as_few(draw: random.Random, losses: Losses, noise: Noise) -> list[MetricPoint]:
    """Little more than an evaluation an epoch."""
    epochs = draw.randint(6, 9)
    points = []
    for step in range(1, 2 * epochs + 1):
        train, valid = losses(step / (2 * epochs))
        valid = noisy(draw, valid, noise.valid)
        points.append(
            MetricPoint(
                step=step * 10,
                epoch=step / 2,
                train_loss=noisy(draw, train, noise.train / 3),
                valid_loss=valid if step % 2 == 0 else None,
            )
        )
    return points
