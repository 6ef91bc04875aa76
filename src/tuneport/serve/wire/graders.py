"""The graders of the method `reinforcement`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tuneport.serve.wire.base import Integer, RequestModel


class CacheBreakpoint(RequestModel):
    mode: Literal["explicit"] = "explicit"


class InputText(RequestModel):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class OutputText(RequestModel):
    type: Literal["output_text"]
    text: str


class InputImage(RequestModel):
    type: Literal["input_image"]
    image_url: str
    detail: str | None = None


class Audio(RequestModel):
    data: str
    format: Literal["mp3", "wav"]


class InputAudio(RequestModel):
    type: Literal["input_audio"]
    input_audio: Audio


EvalPart = str | Annotated[InputText | OutputText | InputImage | InputAudio, Field(discriminator="type")]


class EvalItem(RequestModel):
    role: Literal["user", "assistant", "system", "developer"]
    content: EvalPart | list[EvalPart]
    type: Literal["message"] | None = None


class StringCheck(RequestModel):
    type: Literal["string_check"]
    name: str
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(RequestModel):
    type: Literal["text_similarity"]
    name: str
    input: str
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip


class PythonGrader(RequestModel):
    type: Literal["python"]
    name: str
    source: str
    image_tag: str | None = None


class SamplingParams(RequestModel):
    seed: Integer | None = None
    top_p: float | None = None
    temperature: float | None = None
    max_completions_tokens: Integer | None = Field(default=None, ge=1)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class ScoreModel(RequestModel):
    type: Literal["score_model"]
    name: str
    model: str
    input: list[EvalItem]
    sampling_params: SamplingParams | None = None
    range: list[float] | None = Field(default=None, min_length=2, max_length=2)


class LabelModel(RequestModel):
    type: Literal["label_model"]
    name: str
    model: str
    input: list[EvalItem]
    labels: list[str]
    passing_labels: list[str]


OneGrader = Annotated[
    StringCheck | TextSimilarity | PythonGrader | ScoreModel | LabelModel, Field(discriminator="type")
]


class MultiGrader(RequestModel):
    """A combination of graders. `graders` is one grader in the published document, and one by each name in OpenAI's
    service and clients."""

    type: Literal["multi"]
    name: str
    graders: OneGrader | dict[str, OneGrader]
    calculate_output: str


Grader = Annotated[StringCheck | TextSimilarity | PythonGrader | ScoreModel | MultiGrader, Field(discriminator="type")]
