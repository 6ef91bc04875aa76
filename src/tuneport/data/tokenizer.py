"""A base model's tokenizer and limits, for all who render records with it: training, preview and the checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.records import Graded, Preference, Record
from tuneport.data.rendering import Renderer
from tuneport.data.tokens import LengthCounter, TokenCounter
from tuneport.errors import ConfigError, DatasetError, UnsupportedError
from tuneport.types import LossOn


class RenderedCounter(LengthCounter):
    """Counts what a base model is trained on, rendered as the trainer does it; of a pair, the prompt once with the
    longer answer; of a question to be graded, the question. What cannot be rendered counts as nothing, and is told."""

    def __init__(self, folder: Path, name: str, *, context: int | None = None) -> None:
        super().__init__(name, context=context)
        self._folder = folder
        self._renderer: Renderer | None = None

    def add(self, line: int, record: Record) -> None:
        if self._renderer is None:
            self._renderer = Renderer(load_tokenizer(self._folder))
        length = 0
        try:
            if isinstance(record, Preference):
                [pair] = self._renderer.render_preferences([(line, record)])
                length = len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))
            elif isinstance(record, Graded):
                length = len(self._renderer.prompt_ids(record.messages, record.tools))
            else:
                length = len(self._renderer.render(record).input_ids)
        except (DatasetError, UnsupportedError) as error:
            self._tell(f"what cannot be rendered is not counted: {error}", line)
        self.lengths.append(length)
        self.lines.append(line)


@dataclass(frozen=True)
class Vocabulary:
    """What tokens are counted with: an encoding of OpenAI's by `name`, or the tokenizer of a base model in `folder`.

    `context` is the tokens of one example that the model trains on, where that is known.
    """

    name: str = "o200k_base"
    folder: Path | None = None
    context: int | None = None

    def counter(self) -> LengthCounter:
        if self.folder is None:
            return TokenCounter(self.name, context=self.context)
        return RenderedCounter(self.folder, self.name, context=self.context)


def training_renderer(
    folder: Path, max_length: int | None, loss_on: LossOn = "assistant", *, trust_remote_code: bool = False
) -> Renderer:
    """What a training run renders its records with: `max_length` tokens at most, and what the model reads at most.

    ConfigError where the folder holds no usable tokenizer or config.
    """
    context = context_length(folder, trust_remote_code=trust_remote_code)
    limits = [limit for limit in (max_length, context) if limit is not None]
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    return Renderer(tokenizer, max_length=min(limits, default=None), loss_on=loss_on)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """ConfigError where there is none. One that pads with nothing pads with its end of sequence."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        refuse_remote_code(folder, error)
        raise ConfigError(f"{folder} holds no usable tokenizer: {_first_line(error)}; fetch the model again") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_length(folder: Path, *, trust_remote_code: bool = False) -> int | None:
    """The model's limit in tokens, or None where its config names none. ConfigError where it cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code).get_text_config()
    except (OSError, ValueError) as error:
        refuse_remote_code(folder, error)
        raise ConfigError(f"{folder} holds no usable config: {_first_line(error)}; fetch the model again") from error
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def refuse_remote_code(folder: Path, error: Exception) -> None:
    """ConfigError that says how to allow it, where `error` is transformers' refusal to run code of the model's own."""
    if "trust_remote_code" in str(error):
        raise ConfigError(
            f"the model in {folder} needs Python code of its own; read the code there, and if you trust it, allow it "
            "with --option trust_remote_code=true"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
