"""No answer of a provider, however odd, is taken for a bug of tuneport's, or loses a job."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.answers.generator import ODD, mutated, places
from tests.support.emulated import CLASSES, KEYS, settings_for
from tuneport.errors import TuneportError
from tuneport.manifests import load_manifest
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse, EmulatorHTTPServer
from tuneport.types import TuneSpec

EMULATORS: dict[str, Any] = {"openai": OpenAIEmulator, "together": TogetherEmulator}
MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}
QUICK = 20  # cases of each provider


@dataclass(frozen=True)
class Case:
    verb: str
    request: str  # method and path as the emulator saw it
    path: tuple[Any, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.verb}: {self.request} {'.'.join(map(str, self.path))} = {self.kind}"


class Odd:
    """A socket server in front of an emulator. It passes everything on, and spoils one answer, each time it comes."""

    def __init__(self, emulator: Any) -> None:
        self.emulator = emulator
        self.case: Case | None = None
        self.server = EmulatorHTTPServer(self._answer)
        self.seen: dict[str, Any] = {}
        self.spoilt = 0

    def _answer(self, request: EmulatedRequest) -> EmulatedResponse | None:
        response = self.emulator._answer(request)
        name = f"{request.method} {request.path}"
        if response is None or not response.headers.get("content-type", "").startswith("application/json"):
            return response
        if response.status < 300:
            self.seen[name] = json.loads(response.body)
        if self.case is not None and name == self.case.request:
            try:
                response.body = mutated(json.loads(response.body), self.case.path, self.case.kind)
                self.spoilt += 1
            except (KeyError, IndexError, TypeError):
                pass  # this answer has no such field
        return response


class Bench:
    """One provider with a finished job, and the verbs that ask about it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.emulator = EMULATORS[name](key=KEYS[name], pace=0.0).start()  # Together's storage is at its own address
        self.odd = Odd(self.emulator)
        url = f"http://127.0.0.1:{self.odd.server.port}/v1"
        settings = settings_for(name, url, key=KEYS[name], validation_timeout=0.05)
        self.backend = CLASSES[name](load_manifest(name), settings, sleep=lambda seconds: None)
        self.data = prepared_chats(folder)
        self.spec = TuneSpec(model=MODELS[name], dataset=self.data.training.path)
        self.files = list(self.backend.prepare(self.spec, self.data))
        self.job = self.backend.submit(self.spec, self.files, token=contract_job_token("first")).remote_id
        self.emulator.advance(1_000)
        self.made = self.backend.fetch(self.job).tuned_model

    def close(self) -> None:
        self.backend.close()
        self.odd.server.stop()
        self.emulator.stop()

    def verbs(self) -> dict[str, Callable[[], object]]:
        backend, job = self.backend, self.job
        chat = [{"role": "user", "content": "Hi"}]
        model = MODELS[self.name]
        return {
            "fetch": lambda: backend.fetch(job),
            "fetch_many": lambda: list(backend.fetch_many([job, "x1", "x2", "x3", "x4"])),
            "submit": lambda: backend.submit(self.spec, self.files, token=contract_job_token("again")),
            "find": lambda: backend.find(contract_job_token("first")),
            "cancel": lambda: backend.cancel(job),
            "events": lambda: list(backend.events(job)),
            "metrics": lambda: list(backend.metrics(job)),
            "checkpoints": lambda: list(backend.checkpoints(job)),
            "prepare": lambda: list(backend.prepare(self.spec, self.data)),
            "quote": lambda: backend.quote(self.spec, self.files),
            "list_jobs": lambda: list(backend.list_jobs()),
            "list_files": lambda: list(backend.list_files()),
            "list_models": lambda: list(backend.list_models()),
            "complete": lambda: backend.complete(model, chat),
        }

    def cases(self) -> list[Case]:
        found = []
        for verb, call in self.verbs().items():
            self.odd.seen.clear()
            call()
            for request, answer in self.odd.seen.items():
                for path in [(), *places(answer)]:
                    found += [Case(verb, request, path, kind) for kind in ODD]
        return found

    def run(self, case: Case) -> str | None:
        """What is wrong with how it went; None where nothing is."""
        self.odd.case = case
        try:
            answer = self.verbs()[case.verb]()
            json.dumps(answer, default=_plain)
        except TuneportError as error:
            said = str(error)
            if error.exit_code not in (2, 3) or "\n" in said or len(said) > 3_000:
                return f"{case}: exit {error.exit_code}, {len(said)} characters, {said[:100]!r}"
        except Exception as error:
            return f"{case}: {type(error).__name__}: {str(error)[:160]}"
        finally:
            self.odd.case = None
        return None


def _plain(value: Any) -> Any:
    """As a command prints it; of many jobs, some may be told to be gone."""
    return str(value) if isinstance(value, TuneportError) else value.model_dump(mode="json")


@pytest.fixture(params=["openai", "together"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(request.param, tmp_path)
    yield made
    made.close()


def attack(bench: Bench, cases: list[Case]) -> None:
    wrong = [complaint for case in cases if (complaint := bench.run(case)) is not None]
    assert wrong == [], f"{len(wrong)} of {len(cases)}"
    assert bench.backend.fetch(bench.job).remote_id == bench.job, "the job is lost"
    assert bench.odd.spoilt >= len(cases) * 0.9


def test_a_sample_of_odd_answers(bench: Bench) -> None:
    attack(bench, random.Random(14).sample(bench.cases(), QUICK))


@pytest.mark.full
def test_many_odd_answers(bench: Bench) -> None:
    """Of 4,500 cases at OpenAI and 8,300 at Together; those of the bulky kinds take a second each."""
    cases = bench.cases()
    bulky = [case for case in cases if case.kind in ("long", "nested")]
    draw = random.Random(15)
    small = [case for case in cases if case.kind not in ("long", "nested")]
    attack(bench, draw.sample(small, 850) + draw.sample(bulky, 50))


def test_limits_without_an_optional_field_let_a_job_through(bench: Bench) -> None:
    if bench.name != "together":
        pytest.skip("only Together tells limits")
    for field in ("default_rank", "max_rank", "target_modules", "max_batch_size"):
        bench.odd.case = Case("submit", "GET /v1/fine-tunes/models/limits", ("lora_training", field), "dropped")
        before = bench.emulator.jobs_created
        bench.backend.submit(bench.spec, bench.files, token=contract_job_token(f"without{field}"))
        assert bench.emulator.jobs_created == before + 1 and bench.odd.spoilt


def test_a_count_of_400_digits_hides_no_job(bench: Bench) -> None:
    field = {"openai": "trained_tokens", "together": "token_count"}[bench.name]
    path = {"openai": f"/v1/fine_tuning/jobs/{bench.job}", "together": f"/v1/fine-tunes/{bench.job}"}[bench.name]
    bench.odd.case = Case("fetch", f"GET {path}", (field,), "huge")
    state = bench.backend.fetch(bench.job)
    assert (state.trained_tokens, state.tuned_model) == (None, bench.made) and bench.odd.spoilt
