"""Asks a model every row, in batches, and keeps each answer as it comes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

from tuneport.backends.base import FineTuneBackend, raise_chat_errors
from tuneport.errors import ProviderError, RejectedError
from tuneport.scoring.examples import Answer, Messages, scored_tool_calls
from tuneport.types import Completion
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache, answer_cache_key

PER_CALL = 256
AT_ONCE = 8
_REFUSED_AT_ONCE = 3
"""After so many refusals in a batch without any answer, the model or the options are to blame."""


@dataclass(frozen=True)
class Prompt:
    messages: Messages
    options: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationAnswer:
    """`refused`: why the provider did not answer this prompt; its text is empty then, which is wrong by any metric."""

    text: str
    tool_calls: list[dict[str, Any]]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds_to_first_token: float | None = None
    seconds: float | None = None
    refused: str | None = None

    @property
    def answer(self) -> Answer:
        return Answer(self.text, scored_tool_calls(self.tool_calls))


class EvaluationChatCompleter(Protocol):
    """The part of a backend that asking needs, for models without a backend."""

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]: ...


def answer_cache_keys(where: Sequence[str | None], prompts: Sequence[Prompt]) -> list[str]:
    return [answer_cache_key(where, prompt.messages, prompt.options) for prompt in prompts]


def ask_prompts(
    backend: EvaluationChatCompleter,
    model: str,
    prompts: Sequence[Prompt],
    keys: Sequence[str],
    cache: EvaluationAnswerCache,
    on_answered: Callable[[int], None] = lambda answered: None,
) -> list[EvaluationAnswer]:
    """Return an answer for each prompt, in order; cached ones are not asked again. `on_answered` gets how many are
    there.

    A prompt that the provider refuses (too long, say) does not stop the others. Any other failure is raised; all
    answers so far are kept, so that a repeated call continues.
    """
    found = {key: EvaluationAnswer(**kept) for key, kept in cache.get(keys).items()}
    on_answered(sum(key in found for key in keys))
    waiting: dict[str, list[tuple[str, Prompt]]] = {}
    for key, prompt in {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}.items():
        waiting.setdefault(json.dumps(dict(prompt.options), sort_keys=True), []).append((key, prompt))
    times = Counter(keys)
    answered = sum(key in found for key in keys)

    def keep(key: str, said: EvaluationAnswer) -> None:
        nonlocal answered
        if said.refused is None:  # another time it may be answered
            cache.put(key, asdict(said))
        found[key] = said
        answered += times[key]
        on_answered(answered)

    many = isinstance(backend, FineTuneBackend) and backend.supports("complete_many")
    most = backend.chats_per_call if isinstance(backend, FineTuneBackend) and many else PER_CALL
    for group in waiting.values():
        for start in range(0, len(group), most):
            part = group[start : start + most]
            if isinstance(backend, FineTuneBackend) and many:
                _batch(backend, model, part, keep)
            else:
                _at_once(backend, model, part, keep)
    return [found[key] for key in keys]


def _at_once(
    backend: EvaluationChatCompleter,
    model: str,
    part: Sequence[tuple[str, Prompt]],
    keep: Callable[[str, EvaluationAnswer], None],
) -> None:
    """Ask a backend that has no batches, some prompts at the same time; every answer is kept, since it is paid."""
    answered, refused = 0, 0
    failure: Exception | None = None
    asked: dict[Future[Any], str] = {}
    looked_at: set[Future[Any]] = set()
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        try:
            for key, prompt in part:
                asked[pool.submit(backend.complete, model, prompt.messages, **dict(prompt.options))] = key
            for future in as_completed(asked):
                looked_at.add(future)
                if future.cancelled():
                    continue
                try:
                    keep(
                        asked[future], _answer_of_completion(cast(Completion, future.result()))
                    )  # without `stream` it gives that
                    answered += 1
                    continue
                except RejectedError as error:
                    refused += 1
                    if answered or refused < _REFUSED_AT_ONCE:
                        keep(asked[future], EvaluationAnswer("", [], refused=str(error)))
                        continue
                    failure = failure or error  # it is not the prompts
                except Exception as error:
                    failure = failure or error
                for other in asked:
                    other.cancel()
        except BaseException:  # Ctrl-C: nothing more is asked, and what was under way is paid, so it is kept
            pool.shutdown(cancel_futures=True)
            for future in asked.keys() - looked_at:
                if not future.cancelled() and future.exception() is None:
                    keep(asked[future], _answer_of_completion(cast(Completion, future.result())))
            raise
    if failure is not None:
        raise failure


def _batch(
    backend: FineTuneBackend,
    model: str,
    batch: Sequence[tuple[str, Prompt]],
    keep: Callable[[str, EvaluationAnswer], None],
) -> None:
    options = dict(batch[0][1].options)
    done = 0
    errors: list[ProviderError] = []
    try:
        for said in backend.complete_many(model, [prompt.messages for _, prompt in batch], **options):
            if isinstance(said, ProviderError):
                errors.append(said)
            if isinstance(said, RejectedError):
                keep(batch[done][0], EvaluationAnswer("", [], refused=str(said)))
            elif not isinstance(said, ProviderError):
                keep(batch[done][0], _answer_of_completion(said))
            done += 1
    except RejectedError:
        # One of them is refused, and which one is not told: the rest is asked one by one.
        for place, (key, prompt) in enumerate(batch[done:], 1):
            try:
                said = next(raise_chat_errors(backend.complete_many(model, [prompt.messages], **options)))
                keep(key, _answer_of_completion(said))
                done += 1
            except RejectedError as error:
                if not done and place >= _REFUSED_AT_ONCE:
                    raise  # it is not the prompts
                keep(key, EvaluationAnswer("", [], refused=str(error)))
    for each in errors:
        if not isinstance(each, RejectedError) or len(errors) == len(batch) >= _REFUSED_AT_ONCE:
            raise each


def _answer_of_completion(completion: Completion) -> EvaluationAnswer:
    return EvaluationAnswer(
        completion.text,
        completion.tool_calls,
        completion.prompt_tokens,
        completion.completion_tokens,
        completion.seconds_to_first_token,
        completion.seconds,
    )
