"""Continuous batching: requests that arrive at any time are decoded together, and join and leave between two steps.

transformers has this too (`generate_batch`), without adapters of its own for each request, without virtual tokens and
without a seed for each request; here an answer is the same whatever else is asked (exactly so in fp32).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tuneport.infer.batch import DecodingBatch, PromptPrefill
from tuneport.infer.engine import InferenceEngine, common_prompt_prefix
from tuneport.infer.limits import BatchLimits, choose_batch_limits
from tuneport.infer.model.placement import is_inference_out_of_memory
from tuneport.infer.requests import GenerationRequest, GenerationRow
from tuneport.infer.sampling import sample_next_tokens

PAUSE_SECONDS = 0.25  # for how long reading new prompts may hold up those who are being answered
SHORTEST_PART = 32
KEPT_FOR_OTHERS = 8  # one place in so many is never given to a request that has all others


@dataclass
class _DecodingGroup:
    """Rows in the order of their batch, and the token of each that the model has not read yet."""

    rows: list[GenerationRow]
    batch: DecodingBatch
    tokens: torch.Tensor


class DecodingScheduler:
    """Not for several threads: `add`, `cancel` and `step` are called by one."""

    def __init__(self, engine: InferenceEngine, limits: BatchLimits | None = None) -> None:
        self.engine = engine
        self.limits = limits or choose_batch_limits(engine)
        self._requests: list[GenerationRequest] = []
        self._groups: list[_DecodingGroup] = []
        self._reading: tuple[PromptPrefill, list[GenerationRow]] | None = None
        self._tasks: list[tuple[Iterator[None], Callable[[Exception | None], None]]] = []
        self._most_rows = self.limits.rows
        self._tokens_per_second = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._requests or self._tasks)

    def add(self, request: GenerationRequest) -> None:
        if request.unfinished:
            self._requests.append(request)
        else:
            request.end(None)

    def add_task(self, steps: Iterator[None], on_end: Callable[[Exception | None], None]) -> None:
        """Add other work on the engine: each of its steps is done between two decoding steps."""
        self._tasks.append((steps, on_end))

    def cancel(self, request: GenerationRequest) -> None:
        """Stop answering the request. Its rows are removed before the next step."""
        request.end(None)

    def step(self) -> None:
        """Do one part of the prompts to read, one token for each row that is being answered, and one step of a task."""
        self._leave()
        self._admit()
        self._read()
        for group in list(self._groups):
            self._decode(group)
        if self._tasks:
            self._work()
        self._requests = [request for request in self._requests if not request.ended]

    # --- places -----------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Drop the rows of requests that have ended, and separate rows that one pass can no longer serve."""
        for group in list(self._groups):
            staying = [number for number, row in enumerate(group.rows) if not row.request.ended]
            self._keep(group, staying)
            if staying and not self.engine.can_mix_adapters(group.batch.adapters):
                self._groups.remove(group)
                self._restart(group.rows)
        if self._reading is not None and all(row.request.ended for row in self._reading[1]):
            self._reading = None

    def _running(self) -> list[GenerationRow]:
        return [row for group in self._groups for row in group.rows]

    def _admit(self) -> None:
        """Begin to read the prompts of the requests with the fewest running rows, the earliest first."""
        if self._reading is not None:
            return
        running = self._running()
        held = {id(request): 0 for request in self._requests}
        for row in running:
            held[id(row.request)] += 1
        most = self._most_rows - self._most_rows // KEPT_FOR_OTHERS
        chosen: list[GenerationRow] = []
        longest = max((row.max_length for row in running), default=0)
        width = shared = 0
        while len(running) + len(chosen) < self._most_rows:
            candidates = [
                request
                for request in self._requests
                if request.waiting
                and held[id(request)] < most
                and (not chosen or request.adapter == chosen[0].request.adapter)
            ]
            if not candidates:
                break
            request = min(candidates, key=lambda request: held[id(request)])
            row = request.waiting[0]
            count = len(running) + len(chosen) + 1
            if chosen:
                shared = min(shared, common_prompt_prefix([chosen[0].ids, row.ids]))
            else:
                shared = len(row.ids) - 1
            width, longest = max(width, len(row.ids)), max(longest, row.max_length)
            if count > 1 and count * longest > self.limits.tokens:
                break
            if chosen and (len(chosen) + 1) * (width - shared) > self.limits.tokens_read_together:
                break
            chosen.append(request.waiting.popleft())
            held[id(request)] += 1
        if chosen:
            self._begin(chosen)

    def _begin(self, rows: list[GenerationRow]) -> None:
        with self._failing(rows):
            self._reading = PromptPrefill(self.engine, [row.ids for row in rows], rows[0].request.adapter), rows

    def _restart(self, rows: Sequence[GenerationRow]) -> None:
        """Move rows back to the front of the queue. Their text so far is read again with their prompts."""
        for row in reversed(rows):
            if not row.request.ended:
                row.request.waiting.appendleft(row)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._reading is None:
            return
        reading, rows = self._reading
        tokens = self.limits.tokens_read_together
        if self._groups:
            tokens = max(SHORTEST_PART * len(rows), min(tokens, int(self._tokens_per_second * PAUSE_SECONDS)))
        started, before = time.monotonic(), reading.read
        logits = None
        with self._failing(rows):
            logits = reading.advance(tokens)
            if logits is not None:
                group = _DecodingGroup(list(rows), reading.batch, torch.empty(0))
                self._take(group, logits)
        self._tokens_per_second = (reading.read - before) * len(rows) / max(1e-6, time.monotonic() - started)
        if logits is None or self._reading is None:
            return
        self._reading = None
        if group.rows:
            self._join(group)

    def _join(self, group: _DecodingGroup) -> None:
        for other in self._groups:
            if other.batch.can_merge(group.batch):
                other.batch.merge(group.batch)
                other.rows += group.rows
                other.tokens = torch.cat([other.tokens, group.tokens])
                by_adapter = sorted(range(len(other.rows)), key=lambda number: other.batch.adapters[number] or "")
                if by_adapter != list(range(len(other.rows))):
                    self._keep(other, by_adapter)
                return
        self._groups.append(group)

    def _decode(self, group: _DecodingGroup) -> None:
        with self._failing(group.rows):
            self._take(group, group.batch.append_tokens(group.tokens[:, None])[:, -1])

    def _take(self, group: _DecodingGroup, logits: torch.Tensor) -> None:
        chosen = sample_next_tokens(logits, [row.options for row in group.rows], [row.generator for row in group.rows])
        group.tokens = chosen
        for row, token in zip(group.rows, chosen.tolist(), strict=True):
            if row.request.ended:
                continue
            row.add_token(token, self.engine.end_tokens)
            if row.finish_reason is not None:
                row.request.on_answer(row.answer())
                row.request.unfinished -= 1
                # After memory ran out, place by place back to what the limits allow.
                self._most_rows = min(self.limits.rows, self._most_rows + 1)
                if not row.request.unfinished:
                    row.request.end(None)
        going = [number for number, row in enumerate(group.rows) if not (row.finish_reason or row.request.ended)]
        self._keep(group, going)

    def _keep(self, group: _DecodingGroup, numbers: list[int]) -> None:
        if numbers == list(range(len(group.rows))):
            return
        if not numbers:
            group.rows = []
            self._groups = [other for other in self._groups if other is not group]
            return
        group.batch.keep_rows(numbers)
        group.tokens = group.tokens[torch.tensor(numbers)]
        group.rows = [group.rows[number] for number in numbers]

    @contextmanager
    def _failing(self, rows: Sequence[GenerationRow]) -> Iterator[None]:
        """Handle failures within: if memory runs out, half of the rows continue and the others wait; others end their
        requests."""
        rows = list(rows)
        try:
            yield
            return
        except BrokenPipeError:
            raise
        except Exception as error:
            failure = error.with_traceback(None)  # whose frames would keep the tensors of the failed pass
        self._groups = [group for group in self._groups if group.rows and group.rows[0] not in rows]
        if self._reading is not None and self._reading[1][0] in rows:
            self._reading = None
        rows = [row for row in rows if row.finish_reason is None and not row.request.ended]
        if is_inference_out_of_memory(failure) and (len(rows) > 1 or self._groups):
            self._most_rows = max(1, len(rows) // 2)
            self._restart(rows)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            return
        for row in rows:
            row.request.end(failure)

    def _work(self) -> None:
        steps, on_end = self._tasks.pop(0)
        try:
            next(steps)
        except StopIteration:
            on_end(None)
        except BrokenPipeError:
            raise
        except Exception as error:
            on_end(error)
        else:
            self._tasks.append((steps, on_end))
