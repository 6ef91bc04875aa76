"""Chat requests: every property of the published document, with messages of all roles and contents.

Properties for OpenAI's own bookkeeping are read and not sent on (`exclude`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tuneport.serve.wire.base import Integer, Metadata, RequestModel

# --- contents --------------------------------------------------------------------------------------------------------


class CachePoint(RequestModel):
    mode: Literal["explicit"]


CacheBreakpoint = Annotated[CachePoint | None, Field(exclude=True)]


class TextPart(RequestModel):
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: CacheBreakpoint = None


class RefusalPart(RequestModel):
    type: Literal["refusal"]
    refusal: str


class ImageURL(RequestModel):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestModel):
    type: Literal["image_url"]
    image_url: ImageURL
    prompt_cache_breakpoint: CacheBreakpoint = None


class SpokenInput(RequestModel):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(RequestModel):
    type: Literal["input_audio"]
    input_audio: SpokenInput
    prompt_cache_breakpoint: CacheBreakpoint = None


class AttachedFile(RequestModel):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class FilePart(RequestModel):
    type: Literal["file"]
    file: AttachedFile
    prompt_cache_breakpoint: CacheBreakpoint = None


Texts = str | Annotated[list[TextPart], Field(min_length=1)]
UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]

# --- messages --------------------------------------------------------------------------------------------------------


class DeveloperMessage(RequestModel):
    role: Literal["developer"]
    content: Texts
    name: str | None = None


class SystemMessage(RequestModel):
    role: Literal["system"]
    content: Texts
    name: str | None = None


class UserMessage(RequestModel):
    role: Literal["user"]
    content: str | Annotated[list[UserPart], Field(min_length=1)]
    name: str | None = None


class CalledFunction(RequestModel):
    name: str
    arguments: str


class FunctionToolCall(RequestModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledCustomTool(RequestModel):
    name: str
    input: str


class CustomToolCall(RequestModel):
    id: str
    type: Literal["custom"]
    custom: CalledCustomTool


ToolCall = Annotated[FunctionToolCall | CustomToolCall, Field(discriminator="type")]


class EarlierAudio(RequestModel):
    id: str


class AssistantMessage(RequestModel):
    role: Literal["assistant"]
    content: str | Annotated[list[AssistantPart], Field(min_length=1)] | None = None
    refusal: str | None = None
    name: str | None = None
    audio: EarlierAudio | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = Field(default=None, deprecated=True)
    annotations: list[dict[str, Any]] | None = Field(
        default=None, exclude=True, description="Fields of an earlier answer that a program sends back unchanged."
    )


class ToolMessage(RequestModel):
    role: Literal["tool"]
    content: Texts
    tool_call_id: str


class FunctionMessage(RequestModel):
    role: Literal["function"]
    content: str | None
    name: str


Message = Annotated[
    DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]

# --- tools -----------------------------------------------------------------------------------------------------------


class Function(RequestModel):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(RequestModel):
    type: Literal["function"]
    function: Function


class TextFormat(RequestModel):
    type: Literal["text"]


class Grammar(RequestModel):
    definition: str
    syntax: Literal["lark", "regex"]


class GrammarFormat(RequestModel):
    type: Literal["grammar"]
    grammar: Grammar


class CustomFunction(RequestModel):
    name: str
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Field(discriminator="type")] | None = None


class CustomTool(RequestModel):
    type: Literal["custom"]
    custom: CustomFunction


class Named(RequestModel):
    name: str


class NamedFunction(RequestModel):
    type: Literal["function"]
    function: Named


class NamedCustomTool(RequestModel):
    type: Literal["custom"]
    custom: Named


class AllowedTools(RequestModel):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedToolsChoice(RequestModel):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[AllowedToolsChoice | NamedFunction | NamedCustomTool, Field(discriminator="type")]
)


class DeprecatedFunction(RequestModel):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


# --- options ---------------------------------------------------------------------------------------------------------


class JSONSchema(RequestModel):
    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextResponse(RequestModel):
    type: Literal["text"]


class JSONSchemaResponse(RequestModel):
    type: Literal["json_schema"]
    json_schema: JSONSchema


class JSONObjectResponse(RequestModel):
    type: Literal["json_object"]


class StreamOptions(RequestModel):
    include_usage: bool = False
    include_obfuscation: bool = False


class OwnVoice(RequestModel):
    id: str


class AudioAnswer(RequestModel):
    voice: str | OwnVoice
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class Prediction(RequestModel):
    type: Literal["content"]
    content: Texts


class Place(RequestModel):
    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None


class UserLocation(RequestModel):
    type: Literal["approximate"]
    approximate: Place


class WebSearch(RequestModel):
    user_location: UserLocation | None = None
    search_context_size: Literal["low", "medium", "high"] | None = None


class ModerationMode(RequestModel):
    mode: Literal["score", "block"]


class ModerationPolicy(RequestModel):
    input: ModerationMode | None = None
    output: ModerationMode | None = None


class Moderation(RequestModel):
    model: str
    policy: ModerationPolicy | None = None


class PromptCache(RequestModel):
    ttl: Literal["30m"] | None = None
    mode: Literal["implicit", "explicit"] | None = None


class CreateChatCompletion(RequestModel):
    """A chat request. Fields that the client leaves out are not sent on; the backend refuses unknown ones by name.

    A backend's own options, which OpenAI's document does not have (`top_k` at Together), are sent on, too.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_completion_tokens: Integer | None = None
    max_tokens: Integer | None = Field(default=None, deprecated=True)
    stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = None
    seed: Integer | None = Field(default=None, ge=-(2**63), le=2**63 - 1, deprecated=True)
    n: Integer | None = Field(default=None, ge=1, le=128)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, Integer] | None = None
    logprobs: bool | None = None
    top_logprobs: Integer | None = Field(default=None, ge=0, le=20)
    response_format: (
        Annotated[TextResponse | JSONSchemaResponse | JSONObjectResponse, Field(discriminator="type")] | None
    ) = None
    tools: list[Annotated[FunctionTool | CustomTool, Field(discriminator="type")]] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[DeprecatedFunction] | None = Field(default=None, min_length=1, max_length=128, deprecated=True)
    function_call: Literal["none", "auto"] | Named | None = Field(default=None, deprecated=True)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: AudioAnswer | None = None
    prediction: Prediction | None = None
    web_search_options: WebSearch | None = None
    moderation: Moderation | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None

    user: str | None = Field(default=None, exclude=True, deprecated=True)
    metadata: Metadata | None = Field(default=None, exclude=True)
    safety_identifier: str | None = Field(default=None, exclude=True, max_length=64)
    prompt_cache_key: str | None = Field(default=None, exclude=True)
    prompt_cache_options: PromptCache | None = Field(default=None, exclude=True)
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(default=None, exclude=True, deprecated=True)
