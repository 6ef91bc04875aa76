"""A base model's tokenizer and limits, for all who render records with it: training, preview and the checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.rows.records import Graded, Preference, Record
from tuneport.data.templates.rendering import TemplateRenderer
from tuneport.data.tokens.tokens import TokenCounter, TokenLengthCounter
from tuneport.errors import ConfigError, DatasetError, TuneportError, UnsupportedError
from tuneport.openai_encodings import fetch_openai_vocabulary
from tuneport.types import LossOn


class RenderedCounter(TokenLengthCounter):
    """Counts what a base model is trained on, rendered as the trainer does it; of a pair, the prompt once with the
    longer answer; of a question to be graded, the question. What cannot be rendered counts as nothing, and is told."""

    def __init__(self, folder: Path, name: str, *, context: int | None = None) -> None:
        super().__init__(name, context=context)
        self._folder = folder
        self._renderer: TemplateRenderer | None = None

    def add(self, line: int, record: Record) -> None:
        if self._renderer is None:
            self._renderer = TemplateRenderer(load_dataset_tokenizer(self._folder))
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
class TokenizerVocabulary:
    """The vocabulary that tokens are counted with: an encoding of OpenAI's by `name`, or the tokenizer of a base model
    in `folder`.

    `context` is the tokens of one example that the model trains on, if that is known.
    """

    name: str = "o200k_base"
    folder: Path | None = None
    context: int | None = None

    def counter(self) -> TokenLengthCounter:
        if self.folder is None:
            return TokenCounter(self.name, context=self.context)
        return RenderedCounter(self.folder, self.name, context=self.context)

    def why_unavailable(self) -> str:
        """Return why no tokens can be counted with it, and what to do, or an empty string. It downloads an encoding
        that is not on this machine."""
        if self.folder is None:
            try:
                fetch_openai_vocabulary(self.name)
            except ConfigError as error:
                return str(error)
        return ""


def training_template_renderer(
    folder: Path, max_length: int | None, loss_on: LossOn = "assistant", *, trust_remote_code: bool = False
) -> TemplateRenderer:
    """Return the renderer of a training run: `max_length` tokens at most, and no more than the model reads.

    Raises ConfigError if the folder holds no usable tokenizer or config.
    """
    context = tokenizer_context_length(folder, trust_remote_code=trust_remote_code)
    limits = [limit for limit in (max_length, context) if limit is not None]
    tokenizer = load_dataset_tokenizer(folder, trust_remote_code=trust_remote_code)
    return TemplateRenderer(tokenizer, max_length=min(limits, default=None), loss_on=loss_on)


def load_dataset_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer. Raises ConfigError if there is none. One without a padding token pads with its end of
    sequence."""
    from transformers import AutoTokenizer

    with wrap_tokenizer_errors(folder, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_context_length(folder: Path, *, trust_remote_code: bool = False) -> int | None:
    """Return the model's limit in tokens, or None if its config names none. Raises ConfigError if it cannot be read."""
    from transformers import AutoConfig

    with wrap_tokenizer_errors(folder, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code).get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        return int(limit) if limit else None


@contextmanager
def wrap_tokenizer_errors(folder: Path, what: str) -> Iterator[None]:
    """Raise ConfigError for any error of transformers and tokenizers within the block.

    Damaged files make them raise TypeError, KeyError, RecursionError, bare Exceptions, and Rust's panics, which are
    BaseExceptions.
    """
    try:
        yield
    except (TuneportError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        refuse_tokenizer_remote_code(folder, error)
        raise ConfigError(f"{folder} holds no usable {what}: {_first_line(error)}; fetch the model again") from error


def refuse_tokenizer_remote_code(folder: Path, error: BaseException) -> None:
    """Raise ConfigError that says how to allow it, if `error` is transformers' refusal to run code of the model's
    own."""
    if "trust_remote_code" in str(error):
        raise ConfigError(
            f"the model in {folder} needs Python code of its own; read the code there, and if you trust it, allow it "
            "with --option trust_remote_code=true"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0][:300]
