"""Together's backend: the requests it sends, the token in the suffix, and what it reads from the answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends.together.backend import suffix_with_submit_token
from tuneport.backends.together.files import parse_together_file_problem
from tuneport.backends.together.jobs import parse_together_events, parse_together_job_state, parse_together_metrics
from tuneport.errors import (
    BudgetError,
    ConfigError,
    DatasetError,
    ModelNotOfferedError,
    NotFoundError,
    ProviderError,
    RateLimitError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import Adapter, Hyperparameters, JobStatus, Method, PreparedData, TuneSpec

MODEL = "Qwen/Qwen3.5-4B"


@pytest.fixture
def together(together: TogetherEmulator) -> TogetherEmulator:
    together.pace = 0  # files are validated at once; tests that follow a job set their own
    return together


def created(emulator: TogetherEmulator) -> dict[str, Any]:
    return emulator.requests("POST", "/fine-tunes")[-1].request_json()


# --- the request -----------------------------------------------------------------------------------------------------


def test_request_says_all_that_the_spec_says(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData, tmp_path: Path
) -> None:
    (tmp_path / "validation").mkdir()
    both = PreparedData(training=data.training, validation=prepared_chats(tmp_path / "validation", repeat=1).training)
    spec = TuneSpec(
        model=MODEL,
        dataset=data.training.path,
        suffix="support-bot",
        seed=7,
        hyperparameters=Hyperparameters(
            epochs=3, batch_size=4, learning_rate=2e-5, warmup_ratio=0.1, weight_decay=0.01, max_length=2048,
            lora_rank=8, lora_alpha=16, lora_dropout=0.05,
        ),
        provider_options={"n_checkpoints": 2},
    )  # fmt: skip
    backend = connect(together)
    training, validation = backend.prepare(spec, both)
    backend.submit(spec, [training, validation], token=contract_job_token("t"))
    sent = created(together)
    wanted = {
        "model": MODEL, "training_file": training.id, "validation_file": validation.id, "n_epochs": 3, "n_evals": 3,
        "batch_size": 4, "learning_rate": 2e-5, "warmup_ratio": 0.1, "weight_decay": 0.01, "max_seq_length": 2048,
        "n_checkpoints": 2, "random_seed": 7, "suffix": f"support-bot-tp{contract_job_token('t')[:10]}",
    }  # fmt: skip
    assert {name: sent[name] for name in wanted} == wanted
    kind = sent["training_type"]
    assert (kind["type"], kind["lora_r"], kind["lora_alpha"], kind["lora_dropout"]) == ("Lora", 8, 16, 0.05)
    assert sent["training_method"] == {"method": "sft", "train_on_inputs": "auto"}


def test_multiplier_scales_the_default_rate_and_both_are_shown(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    scaled = spec.model_copy(update={"hyperparameters": Hyperparameters(learning_rate_multiplier=3.0)})
    state = backend.submit(scaled, list(backend.prepare(scaled, data)), token=contract_job_token("t"))
    assert created(together)["learning_rate"] == pytest.approx(3e-5)
    assert state.details["learning_rate_multiplier"] == 3.0
    assert state.details["learning_rate"] == pytest.approx(3e-5)


def test_full_training_is_asked_for(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend, full = connect(together), spec.model_copy(update={"adapter": Adapter.FULL})
    backend.submit(full, list(backend.prepare(full, data)), token=contract_job_token("t"))
    assert created(together)["training_type"] == {"type": "Full"}


def test_preferences_go_as_dpo(together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }
    data = PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [row] * 4))
    spec = TuneSpec(
        model=MODEL, dataset=data.training.path, method=Method.DPO, hyperparameters=Hyperparameters(beta=0.2)
    )
    backend = connect(together)
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    method = created(together)["training_method"]
    assert (method["method"], method["dpo_beta"]) == ("dpo", 0.2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter": Adapter.QLORA}, "qlora"),
        ({"adapter": Adapter.FULL, "hyperparameters": Hyperparameters(lora_rank=8)}, "lora_rank"),
        ({"hyperparameters": Hyperparameters(beta=0.1)}, "beta"),
        ({"hyperparameters": Hyperparameters(lora_alpha=16.5)}, "whole numbers"),
    ],
)
def test_what_it_cannot_take_is_refused_before_anything_is_sent(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, change: Any, words: str
) -> None:
    backend, changed = connect(together), spec.model_copy(update=change)
    for call in (lambda: backend.check(changed), lambda: list(backend.prepare(changed, data))):
        with pytest.raises(UnsupportedError, match=words):
            call()
    assert together.log == []


@pytest.mark.parametrize(
    ("options", "budget", "kind", "words"),
    [
        ({"bogus": 5}, None, ConfigError, "bogus is no argument"),
        ({"model_limits": {}}, None, ConfigError, "model_limits is refused: tuneport asks"),
        ({"n_epochs": 50}, None, ConfigError, "n_epochs clashes .* job's own epochs"),
        ({"learning_rate": 1.0}, None, ConfigError, "learning_rate clashes"),
        ({"lora_r": 64}, None, ConfigError, "lora_r clashes .* job's own lora_rank"),
        ({"dpo_beta": 0.5}, None, ConfigError, "dpo_beta clashes"),
        ({"lora": False}, None, ConfigError, "lora clashes .* job's own adapter"),
        ({"wandb_api_key": "x"}, None, ConfigError, "secret"),
        ({"packing": False}, 4.0, BudgetError, r"packing may change what together bills.*\$4.00"),
        ({"n_evals": 50}, 4.0, BudgetError, "n_evals may change"),
    ],
)
def test_options_are_refused_before_there_is_a_job(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData,
    options: dict[str, Any], budget: float | None, kind: type[Exception], words: str,
) -> None:  # fmt: skip
    backend = connect(together)
    changed = spec.model_copy(update={"provider_options": options, "budget": budget})
    for call in (lambda: backend.check(changed), lambda: list(backend.prepare(changed, data))):
        with pytest.raises(kind, match=words):
            call()
    assert together.log == []


def test_options_that_change_no_price_pass_with_a_budget(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec
) -> None:
    backend = connect(together)
    neutral = {"lr_scheduler_type": "linear", "hf_output_repo_name": "me/mine", "wandb_project_name": "p"}
    backend.check(spec.model_copy(update={"budget": 4.0, "provider_options": neutral}))
    backend.check(spec.model_copy(update={"provider_options": {"packing": False, "n_evals": 2}}))
    known = set(inspect.signature(backend.client.fine_tuning.create).parameters)
    assert backend.cost_neutral_options <= known


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"hyperparameters": Hyperparameters(batch_size=512)}, UnsupportedError, "batch_size is 512, at most 8"),
        ({"model": "openai/gpt-oss-20b", "adapter": Adapter.FULL}, UnsupportedError, "adapter full"),
        ({"model": "nobody/knows"}, ModelNotOfferedError, "nobody/knows"),
        ({"provider_options": {"n_epochs": 3}}, ConfigError, "n_epochs clashes"),
        ({"provider_options": {"warp": 9}}, ConfigError, "warp is no argument"),
        ({"provider_options": {"wandb_api_key": "x"}}, ConfigError, "secret"),
    ],
)
def test_settings_that_the_sdk_or_the_service_refuses_start_nothing(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData,
    change: Any, kind: type[Exception], words: str,
) -> None:  # fmt: skip
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    with pytest.raises(kind, match=words):
        backend.submit(spec.model_copy(update=change), files, token=contract_job_token("t"))
    assert together.requests("POST", "/fine-tunes") == []


# --- before the post: nothing has started ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "tries"), [("/fine-tunes/models/limits", "GET", 4), ("/fine-tunes/estimate-price", "POST", 4)]
)
@pytest.mark.parametrize("fault", [{"status": 500}, {"kind": "drop"}, {"kind": "html", "status": 200}, {"kind": "cut"}])
def test_trouble_before_the_post_is_known_to_have_started_nothing(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData,
    path: str, method: str, tries: int, fault: dict[str, Any],
) -> None:  # fmt: skip
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    together.fail(method=method, path=path, times=None, **fault)
    with pytest.raises(ProviderError, match="nothing was started") as caught:
        backend.submit(spec, files, token=contract_job_token("t"))
    assert not isinstance(caught.value, UnavailableError)
    assert caught.value.retryable
    assert len([item for item in together.requests(method, path) if item.fault]) == tries
    assert together.requests("POST", "/fine-tunes") == []


def test_trouble_within_the_sdks_own_create_has_started_nothing_either(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    together.fail(method="POST", path="/fine-tunes/estimate-price", status=500, skip=1)  # ours, then the SDK's
    with pytest.raises(ProviderError, match="nothing was started"):
        backend.submit(spec, files, token=contract_job_token("t"))
    assert together.requests("POST", "/fine-tunes") == []


def test_limit_before_the_post_is_a_limit(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    together.fail(method="POST", path="/fine-tunes/estimate-price", status=429, times=None)
    with pytest.raises(RateLimitError):
        backend.submit(spec, files, token=contract_job_token("t"))
    assert together.requests("POST", "/fine-tunes") == []


# --- the token in the suffix -----------------------------------------------------------------------------------------


def test_suffix_keeps_the_users_and_carries_the_token() -> None:
    mark = f"tp{contract_job_token('t')[:10]}"
    assert suffix_with_submit_token(None, contract_job_token("t")) == mark
    assert suffix_with_submit_token("bot", contract_job_token("t")) == f"bot-{mark}"
    assert suffix_with_submit_token("b" * 64, contract_job_token("t")) == f"{'b' * 27}-{mark}"
    assert len(suffix_with_submit_token("b" * 64, contract_job_token("t"))) == 40
    assert suffix_with_submit_token("b" * 26 + "-x", contract_job_token("t")) == f"{'b' * 26}-{mark}"
    for bad in ("short", "has-a-dash-in-it", "UPPERCASEUPPER"):
        with pytest.raises(ValueError, match="token"):
            suffix_with_submit_token("bot", bad)


def test_find_is_not_taken_in_by_a_suffix_that_looks_alike(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    mark = f"tp{contract_job_token('t')[:10]}"
    for suffix in (f"x{mark}", f"{mark}0"):
        backend.submit(spec.model_copy(update={"suffix": suffix}), files, token=contract_job_token("other"))
    assert backend.find(contract_job_token("t")).answer == "absent"
    wanted = backend.submit(spec.model_copy(update={"suffix": "tp"}), files, token=contract_job_token("t"))
    assert backend.find(contract_job_token("t")).state.remote_id == wanted.remote_id


# --- files -----------------------------------------------------------------------------------------------------------


def test_refused_file_is_told_with_line_and_field(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path
) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    bad = {"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}
    data = PreparedData(training=write_contract_rows(tmp_path / "bad.jsonl", [good, good, bad]))
    spec, backend = TuneSpec(model=MODEL, dataset=data.training.path), connect(together)
    for _ in range(2):  # the second time the file is there already, and still refused
        with pytest.raises(DatasetError) as caught:
            list(backend.prepare(spec, data))
        assert (caught.value.path, caught.value.line) == (str(data.training.path), 3)
        assert caught.value.field == "messages[1]"
        assert "role" in caught.value.rule


def test_line_and_field_are_read_from_the_services_words() -> None:
    problem = parse_together_file_problem("a.jsonl", "together", "Line 7: `messages[1]` must contain a `role` field")
    assert (problem.line, problem.field, problem.rule) == (7, "messages[1]", "must contain a `role` field")
    problem = parse_together_file_problem("a.jsonl", "together", "The file has two formats.")
    assert (problem.line, problem.field, problem.rule) == (None, "", "The file has two formats")


def test_validation_is_waited_for_and_not_forever(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    together.pace = 3600
    backend = connect(together, validation_timeout=0.05)
    with pytest.raises(UnavailableError, match="has not validated"):
        list(backend.prepare(spec, data))
    assert 5 <= len(backend.waits) <= 7
    together.advance(100_000)
    assert list(backend.prepare(spec, data))
    assert len(together.requests("POST", "/files")) == 1


def test_content_that_somebody_else_uploaded_is_reused(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    (first,) = backend.prepare(spec, data)
    together.files[first.id].filename = "by-hand.jsonl"
    for journal in backend.settings.home.rglob("*.upload.json"):
        journal.unlink()  # this home has not uploaded it
    (again,) = backend.prepare(spec, data)
    assert again.id == first.id
    assert together.requests("POST", "/files")[-1].status == 409


# --- a job's life ----------------------------------------------------------------------------------------------------


def test_whose_fault_a_failure_is(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    together.next_job(status="user_error", fails_with={"message": "The dataset has no trainable tokens"})
    together.next_job(fails_with={"message": "A node failed"})
    wanted = [("user_error", "user", False, "no trainable tokens"), ("error", "provider", True, "A node failed")]
    for code, fault, retryable, words in wanted:
        state = backend.fetch(backend.submit(spec, files, token=contract_job_token(code)).remote_id)
        assert state.status is JobStatus.FAILED and state.error is not None and state.tuned_model is None
        assert (state.error.code, state.error.fault, state.error.retryable) == (code, fault, retryable)
        assert words in state.error.message


def test_states_on_the_way(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    together.pace = 60
    remote_id = backend.submit(spec, files, token=contract_job_token("t")).remote_id
    seen = []
    for _ in range(6):
        state = backend.fetch(remote_id)
        seen.append(state.status)
        assert (state.tuned_model is None) == (state.status is not JobStatus.SUCCEEDED)
        assert (state.progress.seconds_left is None) == state.status.terminal
        assert state.cost == (4.0 if state.status is JobStatus.SUCCEEDED else None)
        together.advance(60)
    finalizing = [JobStatus.FINALIZING] * 2
    assert seen == [JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.RUNNING, *finalizing, JobStatus.SUCCEEDED]


def test_events_without_ids_get_stable_ones() -> None:
    event = {"created_at": "2026-01-01T00:00:00Z", "type": "warning", "level": "legacy_iwarning", "message": "Slow"}
    other = {**event, "created_at": "2026-01-01T00:00:01Z", "level": "Error", "type": "JOB_ERROR", "step": 3}
    first = parse_together_events([event, event])
    later = parse_together_events([other, event, event])
    assert [item.id for item in later[:2]] == [item.id for item in first]
    assert len({item.id for item in later}) == 3
    assert [item.level for item in later] == ["warning", "warning", "error"]
    assert (later[2].type, later[2].data) == ("job_error", {"step": 3})


def test_event_that_comes_late_is_told_late_and_not_lost() -> None:
    """Told by the order of the list: by its time it would stand before what has been told already."""
    first, second = ({"created_at": f"2026-01-01T00:00:0{second}Z", "type": "x", "message": "m"} for second in (1, 5))
    late = {**first, "created_at": "2026-01-01T00:00:03Z"}
    told = parse_together_events([first, second])
    assert [item.id for item in parse_together_events([first, second, late])[:2]] == [item.id for item in told]
    assert [item.id for item in parse_together_events([second, first])] == [item.id for item in told], (
        "the newest first"
    )


def test_metrics_can_be_asked_for_in_part(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    spec = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=6, batch_size=2, max_length=1024)})
    spec = spec.model_copy(update={"provider_options": {"packing": False}})  # else an epoch of twelve rows is one step
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    together.advance(600)
    everything = backend.metrics(remote_id)
    assert len(everything) == 36
    steps = [point.step for point in backend.metrics(remote_id, global_step_from=5, global_step_to=9)]
    assert steps == [5, 6, 7, 8, 9]
    assert len(backend.metrics(remote_id, resolution=6)) == 6


def test_models_of_the_account_come_first(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    together.advance(600)
    tuned, *others = backend.list_models()
    assert (tuned.id, tuned.tuned) == (backend.fetch(remote_id).tuned_model, True)
    assert tuned.created_at is not None
    assert MODEL in [model.id for model in others] and not any(model.tuned for model in others)


def test_file_is_saved_whole_or_not_at_all(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, tmp_path: Path
) -> None:
    backend = connect(together)
    (file,) = backend.prepare(spec, data)
    (listed,) = backend.list_files()
    assert listed.id == file.id and listed.created_at is not None
    folder = tmp_path / "saved"
    folder.mkdir()
    together.fail("cut", method="GET", path="/files/*/content")
    assert backend.save_file(file.id, folder / "train.jsonl").read_bytes() == data.training.path.read_bytes()
    together.fail("cut", method="GET", path="/files/*/content", times=None)
    with pytest.raises(UnavailableError):
        backend.save_file(file.id, folder / "other.jsonl")
    assert [path.name for path in folder.iterdir()] == ["train.jsonl"]


@pytest.mark.parametrize("by_name", [True, False])
def test_upload_that_broke_off_before_its_last_step_is_finished(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, by_name: bool
) -> None:
    """The bytes are there and validation was never begun: without a further word the file would wait for ever."""
    backend = connect(together, validation_timeout=1.0)
    together.fail("drop", method="POST", path="/files/*/preprocess", times=4)
    with pytest.raises(UnavailableError):
        list(backend.prepare(spec, data))
    (file,) = together.files.values()
    assert file.timeline is None
    if not by_name:
        file.filename = "by-hand.jsonl"
    together.pace = 0
    assert [found.id for found in backend.prepare(spec, data)] == [file.id]
    assert len([item for item in together.log if item.method == "PUT"]) == 1


def test_lines_of_training_and_evaluation_make_one_point() -> None:
    lines = [
        {"timestamp": 1.0, "train/global_step": 2.0, "train/loss": 0.5, "train/grad_norm": 1.25},
        {
            "timestamp": 2.0,
            "train/global_step": 1.0,
            "train/loss": 0.9,
            "train/learning_rate": 1e-5,
            "train/epoch": 0.5,
        },
        {"timestamp": 3.0, "eval/global_step": 2.0, "eval/loss": 0.7},
        {"timestamp": 4.0},
    ]
    first, second = parse_together_metrics(lines)
    assert (first.step, first.train_loss, first.learning_rate, first.epoch) == (1, 0.9, 1e-5, 0.5)
    assert (second.step, second.train_loss, second.valid_loss) == (2, 0.5, 0.7)
    assert second.extra == {"train/grad_norm": 1.25}


def test_job_with_next_to_nothing_in_it_is_read() -> None:
    state = parse_together_job_state("together", {"running": JobStatus.RUNNING}, {"id": "j", "status": "Running"})
    assert (state.remote_id, state.status, state.raw_status) == ("j", JobStatus.RUNNING, "Running")


def test_delete_takes_the_job_away(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    backend.delete(remote_id)
    with pytest.raises(NotFoundError):
        backend.fetch(remote_id)


# --- price and chats -------------------------------------------------------------------------------------------------


def test_quote_is_the_services_own(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    assert backend.quote(spec, []) is None
    quote = backend.quote(spec, list(backend.prepare(spec, data)))
    assert (quote.expected, quote.authority, quote.unavailable) == (4.0, "provider", None)
    together.user_limit = 1.0
    assert "limit" in backend.quote(spec, list(backend.prepare(spec, data))).explanation
    assert together.jobs_created == 0


def test_quote_that_is_not_to_be_had_says_why(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    body = {"estimation_available": False, "unavailable_reason": "train_file_not_validated"}
    together.fail(method="POST", path="/fine-tunes/estimate-price", status=200, body=body)
    quote = backend.quote(spec, files)
    assert (quote.expected, quote.authority) == (4.0, "manifest")
    assert "not validated yet; by the published table" in quote.explanation and "minimum of $4.00" in quote.explanation
    body = {"estimation_available": False, "unavailable_reason": "multimodal_dataset"}
    together.fail(method="POST", path="/fine-tunes/estimate-price", status=200, body=body)
    unknown = backend.quote(spec.model_copy(update={"model": "Qwen/Qwen3.5-4B"}), files)
    assert unknown.expected is None and "images" in unknown.unavailable


def test_table_counts_what_was_uploaded_and_columns_go_by_their_names(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, tmp_path: Path
) -> None:
    backend = connect(together)
    files = list(backend.prepare(spec, data))
    changed = tmp_path / "mapped.jsonl"
    changed.write_text("".join(f'{{"question": "Number {n}?", "reply": "{"word " * 20_000}"}}\n' for n in range(60)))
    columns = {"prompt": "question", "completion": "reply"}
    mapped = spec.model_copy(update={"dataset": changed, "columns": columns})
    body = {"estimation_available": False, "unavailable_reason": "train_file_not_validated"}
    together.fail(method="POST", path="/fine-tunes/estimate-price", status=200, body=body, times=None)
    by_dataset = backend.quote(mapped, files)
    assert by_dataset.expected is not None, "a prepared copy that is gone leaves the dataset, by its own names"
    prepared = backend.settings.home / "files"
    prepared.mkdir(parents=True, exist_ok=True)
    (prepared / f"{files[0].sha256}.jsonl").write_bytes(data.training.path.read_bytes())
    by_copy = backend.quote(mapped, files)
    assert by_copy.expected == 4.0 and by_copy.explanation != by_dataset.explanation
    assert by_copy.explanation == backend.quote(spec, files).explanation


def test_tuned_model_without_an_endpoint_says_what_it_needs(
    together: TogetherEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(together)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    model = backend.fetch(remote_id).tuned_model
    for stream in (False, True):
        with pytest.raises(UnsupportedError, match="dedicated endpoint.*download"):
            backend.complete(model, [{"role": "user", "content": "Hi"}], stream=stream)


def test_address_with_v1_is_taken_too(together: TogetherEmulator, connect: Callable[..., Any]) -> None:
    backend = connect(together, base_url=together.base_url + "/v1")
    assert list(backend.list_jobs()) == []
    assert together.log[-1].path == "/v1/fine-tunes"


def test_chats_go_to_their_own_host_unless_an_address_is_set(
    together: TogetherEmulator, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://127.0.0.1:9")
    backend = connect(together, base_url="https://api.together.ai")
    assert str(backend.client.base_url).startswith("https://api.together.ai")
    assert str(backend._chat_client().base_url).startswith("https://api-inference.together.ai")
    assert str(connect(together)._chat_client().base_url).startswith(together.origin)


def test_models_that_can_be_tuned_are_listed(together: TogetherEmulator, connect: Callable[..., Any]) -> None:
    assert MODEL in [model.id for model in connect(together).list_models()]
