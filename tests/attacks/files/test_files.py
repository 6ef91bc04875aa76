"""A slice of the hostile files in this process, and all of them with real commands in the full suite."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.attacks.files import archives, bench, datasets, models
from tuneport.data.containers.limits import allow_large
from tuneport.data.containers.source import RowSource
from tuneport.data.tokens.tokenizer import load_dataset_tokenizer, tokenizer_context_length
from tuneport.errors import ConfigError, DatasetError


def rows_of(path: Path) -> int:
    return sum(1 for _ in RowSource(path).rows())


def test_archives_of_weights_that_are_none_are_refused_as_the_provider_s_fault() -> None:
    assert [found for found in bench.archive_cases(list(archives.CASES)) if found.faults] == []


def test_a_csv_file_of_many_columns_takes_time_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    header = ",".join(f"column{number}" for number in range(30_000))
    path.write_text(f"{header}\n" + ",".join("x" * 30_000) + "\n")
    began = time.process_time()
    assert rows_of(path) == 1
    assert time.process_time() - began < 2


def test_a_quote_that_never_closes_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneport.data.containers.csv_table.MAX_ROW", 100_000)
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\nwhat,"this\n' + "a question,an answer\n" * 30_000)
    with pytest.raises(DatasetError, match=r"a\.csv:2: a quoted cell does not end"):
        rows_of(path)


@pytest.mark.parametrize("name", ["a.jsonl.zst", "a.parquet"])
def test_what_unfolds_to_hundreds_of_times_its_size_needs_permission(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("zst"):
        bomb = datasets._zstd_bomb
    else:
        bomb = datasets._parquet(150_000, 1_000)
    bomb(path, random.Random(0))
    began = time.process_time()
    with pytest.raises(
        DatasetError, match="more than 500 times its size and more than 256 MiB; .* add --allow-large"
    ) as error:
        rows_of(path)
    assert time.process_time() - began < 4, "before its rows are read"
    assert "\n" not in str(error.value)
    with allow_large():
        rows = RowSource(path).rows()
    assert next(rows)[0] == 1, "the permission is of when the dataset was named"


@pytest.mark.parametrize("name", ["gzip, rows as people have them", "Parquet, rows as people have them"])
def test_what_people_have_is_read(tmp_path: Path, name: str) -> None:
    file, build = datasets.CASES[name]
    assert rows_of(tmp_path / file) if (expected := build(tmp_path / file, random.Random(0))) is None else True
    assert rows_of(tmp_path / file) == expected


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    datasets._pipe(tmp_path / "a.jsonl", random.Random(0))
    with pytest.raises(DatasetError, match="is no plain file"):
        rows_of(tmp_path / "a.jsonl")


def test_nobody_else_reads_the_requests_of_the_inference_process() -> None:
    code = (
        "import sys; from tuneport.infer.__main__ import take_over_stdin; requests = take_over_stdin(); "
        "print(repr(sys.stdin.read()), repr(requests.readline()))"
    )
    done = subprocess.run([sys.executable, "-c", code], input="a request\n", capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == r"'' b'a request\n'", done.stderr


TOKENIZERS = [case for case in models.CASES if case.startswith(("tokenizer", "config"))]


@pytest.mark.parametrize("case", TOKENIZERS)
def test_files_of_a_model_that_hold_something_else_are_one_line(tiny_folder: Path, tmp_path: Path, case: str) -> None:
    folder = models.spoilt(tiny_folder, tmp_path / "model", case)
    try:
        load_dataset_tokenizer(folder)
        tokenizer_context_length(folder)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 600


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="models are an extra: pip install 'tuneport[local]'")
    from tests.support.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("sound"))


CHATTED = {
    "code of its own",
    "template, three nested loops",
    "template, a text doubled 60 times",
    "safetensors, header 200,000 deep",
    "generation_config.json is a list",
}
"""Each takes a process with torch; `python -m tests.attacks.files` chats with all."""


@pytest.mark.full
@pytest.mark.parametrize("name", datasets.CASES)
def test_commands_on_hostile_datasets(name: str) -> None:
    found = list(bench.data_cases([name], bench.one_and_one))
    assert [(each.command, each.faults) for each in found if each.faults] == []
    assert len(found) == 2


@pytest.mark.full
@pytest.mark.parametrize("name", models.CASES)
def test_commands_on_hostile_models(tiny_folder: Path, name: str) -> None:
    commands = ["preview", "chat"] if name in CHATTED else ["preview", "plan"]
    found = list(bench.model_cases(tiny_folder, [name], commands))
    assert [(each.command, each.faults) for each in found if each.faults] == []
