"""Chat answers, whole or in chunks. They are read leniently, since providers add fields that OpenAI does not have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]


class Said(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class TopLogprob(Said):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(Said):
    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None


class SaidFunction(Said):
    name: str
    arguments: str


class SaidFunctionCall(Said):
    id: str
    type: Literal["function"]
    function: SaidFunction


class SaidCustom(Said):
    name: str
    input: str


class SaidCustomCall(Said):
    id: str
    type: Literal["custom"]
    custom: SaidCustom


class URLCitation(Said):
    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(Said):
    type: Literal["url_citation"]
    url_citation: URLCitation


class SpokenAnswer(Said):
    id: str
    expires_at: int
    data: str
    transcript: str


class AnswerMessage(Said):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    tool_calls: list[Annotated[SaidFunctionCall | SaidCustomCall, Field(discriminator="type")]] = []
    annotations: list[Annotation] = []
    function_call: SaidFunction | None = Field(default=None, deprecated=True)
    audio: SpokenAnswer | None = None


class Choice(Said):
    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None


class CompletionTokensDetails(Said):
    accepted_prediction_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int = 0
    text_tokens: int = 0
    rejected_prediction_tokens: int = 0


class PromptTokensDetails(Said):
    audio_tokens: int = 0
    cached_tokens: int = 0
    text_tokens: int = 0
    image_tokens: int = 0
    cache_write_tokens: int = 0


class Usage(Said):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_tokens_details: PromptTokensDetails | None = None


class ModerationResult(Said):
    type: Literal["moderation_result"]
    model: str
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[Literal["text", "image"]]]


class ModerationResults(Said):
    type: Literal["moderation_results"]
    model: str
    results: list[ModerationResult]


class ModerationError(Said):
    type: Literal["error"]
    code: str
    message: str


Moderated = Annotated[ModerationResults | ModerationError, Field(discriminator="type")]


class ChatModeration(Said):
    input: Moderated
    output: Moderated


class ChatCompletion(Said):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    metadata: dict[str, str] | None = None
    service_tier: ServiceTier | None = None
    system_fingerprint: str | None = Field(default=None, deprecated=True)
    moderation: ChatModeration | None = None


class ToolCallChunk(Said):
    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionChunk | None = None


class FunctionChunk(Said):
    name: str | None = None
    arguments: str | None = None


class Delta(Said):
    role: Literal["developer", "system", "user", "assistant", "tool"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallChunk] = []
    function_call: FunctionChunk | None = Field(default=None, deprecated=True)


class ChunkChoice(Said):
    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Said):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    obfuscation: str | None = None
    service_tier: ServiceTier | None = None
    system_fingerprint: str | None = Field(default=None, deprecated=True)
    moderation: ChatModeration | None = None


class ChatCompletionList(Said):
    """The list of stored chats. This gateway stores none, so the list is empty."""

    object: Literal["list"] = "list"
    data: list[ChatCompletion]
    first_id: str
    last_id: str
    has_more: bool


class ErrorTold(Said):
    code: str | None
    message: str
    param: str | None
    type: str


class ErrorResponse(Said):
    error: ErrorTold
