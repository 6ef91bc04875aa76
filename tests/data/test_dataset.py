"""A dataset is looked at once for its format and opened once for each use; one that changes is looked at again."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.counted import COUNTED
from tests.support.rows import chat
from tests.support.rows import write as write_rows
from tuneport.data import dataset as dataset_module
from tuneport.data import reading
from tuneport.data.containers.source import RowSource
from tuneport.data.formats import FORMATS, load_dataset_format
from tuneport.errors import ConfigError, DatasetError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import Method, TuneSpec

TRAINING_ROWS, VALIDATION_ROWS = 60, 20
QUESTION = {"messages": [{"role": "user", "content": "7 + 5?"}], "answer": "12"}

Counts = Mapping[str, Counter[str]]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write the rows, and wait until another change of the file would be seen by its time."""
    write_rows(path, rows)
    time.sleep(0.03)
    return path


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]) -> Iterator[Counts]:
    """How often each file is opened (`opened`), read through or into (`passes`), and judged (`detections`), by its
    name; and how often a format is asked about a row (`likeness`), by the format's name."""
    found: Counts = {what: Counter() for what in ("opened", "passes", "detections", "likeness")}

    def counted(what: str, real: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            found[what][name(*args)] += 1
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(
        RowSource, "__init__", counted("opened", RowSource.__init__, lambda self, path, *_: Path(path).name)
    )
    for way in ("rows", "batches", "lines_file"):
        monkeypatch.setattr(RowSource, way, counted("passes", getattr(RowSource, way), lambda self: self.path.name))
    detect = counted(
        "detections", reading.detect_dataset_format, lambda given, *_: Path(getattr(given, "path", given)).name
    )
    for module in (reading, dataset_module):  # all that know it
        monkeypatch.setattr(module, "detect_dataset_format", detect)
    for each in FORMATS:
        module = load_dataset_format(each)
        monkeypatch.setattr(module, "likeness", counted("likeness", module.likeness, lambda row, each=each: each))
    yield found
    if found["opened"].keys() == {"train.jsonl", "valid.jsonl"}:
        told = ", ".join(f"{what} {count.total()}" for what, count in found.items())
        record_property(COUNTED, f"{told} (2 files with {TRAINING_ROWS + VALIDATION_ROWS} rows)")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    training = [chat(f"Where is parcel {number}?", f"On its way, {number}.") for number in range(TRAINING_ROWS)]
    held_out = [chat(f"When does parcel {number} come?", f"On day {number}.") for number in range(VALIDATION_ROWS)]
    return write(tmp_path / "train.jsonl", training), write(tmp_path / "valid.jsonl", held_out)


def assert_once_for_each_use(counts: Counts, uses: int) -> None:
    likeness = counts["likeness"].total()
    for file in ("train.jsonl", "valid.jsonl"):
        assert counts["detections"][file] == 1
        assert counts["passes"][file] <= uses
        assert counts["opened"][file] <= uses
    # Rows of chats look like four formats, one of which asks a fifth; the others have given up after the first row.
    assert 80 <= likeness <= 5 * (TRAINING_ROWS + VALIDATION_ROWS) + 2 * len(FORMATS)


def test_a_submit_looks_at_each_file_once_and_opens_it_once_for_each_use(
    files: tuple[Path, Path], counts: Counts, settings: Settings
) -> None:
    """The uses: its format, its tokens, its conversion, and four of the checks."""
    job = tuneport.submit(
        files[0], model="fake-small", backend="fake", validation=files[1], settings=settings, confirm=False, anyway=True
    )
    assert_once_for_each_use(counts, uses=7)
    assert job.backend == "fake"


def test_so_does_the_command(files: tuple[Path, Path], counts: Counts) -> None:
    from tuneport.cli.main import main

    assert not main(
        ["submit", "--yes", "--anyway", str(files[0]), "-m", "fake-small", "-b", "fake", "--validation", str(files[1])]
    )
    assert_once_for_each_use(counts, uses=7)


def test_so_does_what_prepares_a_local_run(files: tuple[Path, Path], counts: Counts, settings: Settings) -> None:
    spec = TuneSpec(model="smollm2-135m-instruct", dataset=files[0], validation=files[1], method=Method.SFT)
    with JobService(settings) as workspace:
        row = workspace.submit(spec, backend="local")
    assert row.prepared_data.validation is not None
    assert_once_for_each_use(counts, uses=7)


def test_one_dataset_is_looked_at_once_by_all_verbs(files: tuple[Path, Path], counts: Counts, tmp_path: Path) -> None:
    training, valid = tuneport.Dataset(files[0]), tuneport.Dataset(files[1])
    assert tuneport.check(training, validation=valid).rows == TRAINING_ROWS
    tuneport.convert(training, "sharegpt", tmp_path / "made.jsonl")
    tuneport.split(training, output=tmp_path / "parts")
    tuneport.clean(training, tmp_path / "clean.jsonl", validation=valid)
    assert tuneport.compare(training, validation=valid, model=["fake-small"], backend=["fake"]).rows == TRAINING_ROWS
    assert tuneport.preview(training, model="fake-small", backend="fake").records == TRAINING_ROWS
    assert tuneport.plan(training, model="smollm2-135m-instruct").rows == TRAINING_ROWS
    tuneport.submit(training, model="fake-small", backend="fake", validation=files[1], confirm=False, anyway=True)
    assert counts["detections"] == {"train.jsonl": 1, "valid.jsonl": 2}  # submit was given a path


def test_a_plain_path_is_taken_as_ever(files: tuple[Path, Path]) -> None:
    dataset = tuneport.Dataset.of(str(files[0]))
    assert dataset.path == files[0] and dataset.format == "openai" and dataset.given_format is None
    assert tuneport.Dataset.of(dataset) is dataset
    with pytest.raises(ConfigError, match="own columns and format"):
        tuneport.check(dataset, columns={"prompt": "question"})


def test_what_a_dataset_tells(files: tuple[Path, Path]) -> None:
    dataset = tuneport.Dataset(files[0])
    assert (dataset.format, dataset.method) == ("openai", Method.SFT)
    assert dataset.files == [files[0]] and dataset.bytes == files[0].stat().st_size
    assert len(list(dataset.records())) == len(list(dataset.scan())) == TRAINING_ROWS
    assert len(dataset.digest()) == 64 and dataset.digest() != tuneport.Dataset(files[1]).digest()
    assert repr(dataset) == f"Dataset({str(files[0])!r})"


def test_a_given_format_is_not_doubted(tmp_path: Path, counts: Counts) -> None:
    rows = [{"prompt": "a", "completion": "b"}]
    dataset = tuneport.Dataset(write(tmp_path / "a.jsonl", rows), format="trl")
    assert dataset.detection.reason == "as given" and dataset.method is Method.SFT
    assert not counts["detections"] and not counts["likeness"]
    with pytest.raises(ConfigError, match="known formats"):
        _ = tuneport.Dataset(tmp_path / "a.jsonl", format="trlx").format


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path, counts: Counts) -> None:
    path = write(tmp_path / "a.jsonl", [chat("a", "b")])
    dataset = tuneport.Dataset(path)
    assert (dataset.format, dataset.format, counts["detections"]["a.jsonl"]) == ("openai", "openai", 1)
    before = path.stat()
    new = json.dumps({"prompt": "a", "completion": ""})
    path.write_text(new[:-2] + "x" * (before.st_size - len(new) - 1) + '"}\n')  # as long, and as old
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert dataset.format == "prompt-completion" and len(list(dataset.records())) == 1
    os.replace(write(tmp_path / "b.jsonl", [{"text": "a"}]), path)
    assert dataset.format == "text"
    path.unlink()
    with pytest.raises(DatasetError, match="does not exist|no such|is not there"):
        _ = dataset.format


def test_a_file_that_was_written_just_now_is_looked_at_each_time(
    tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next change may come within the same tick of the clock, with nothing to show for it."""
    monkeypatch.setattr("tuneport.data.dataset.SETTLED_NS", 3600 * 10**9)
    dataset = tuneport.Dataset(write(tmp_path / "a.jsonl", [{"text": "a"}]))
    assert dataset.format == dataset.format == "text" and counts["detections"]["a.jsonl"] == 2


def test_a_file_added_to_a_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "a.jsonl", [chat("a", "b")])
    dataset = tuneport.Dataset(folder)
    assert dataset.format == "openai"
    write(folder / "b.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(DatasetError, match="looks like"):
        _ = dataset.format


def test_what_is_trained_on_is_what_was_there_when_it_was_converted(
    files: tuple[Path, Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset that becomes another one between the plan and the conversion is read as what it is then."""
    plan = JobService.plan

    def planned(self: JobService, *args: Any, **kwargs: Any) -> Any:
        made = plan(self, *args, **kwargs)
        write(files[0], [{"prompt": "Where?", "completion": "There."}] * 9)
        return made

    monkeypatch.setattr(JobService, "plan", planned)
    with JobService(settings) as workspace:
        row = workspace.submit(TuneSpec(model="fake-small", dataset=files[0], method=Method.SFT), backend="fake")
    written = [json.loads(line) for line in row.prepared_data.training.path.read_text().splitlines()]
    assert len(written) == row.prepared_data.training.rows == 9
    assert written[0]["messages"][-1]["content"] == "There."


def test_methods_read_it_as_they_need_it(tmp_path: Path, counts: Counts) -> None:
    asked = tuneport.Dataset(write(tmp_path / "asked.jsonl", [QUESTION] * 3))
    chats = tuneport.Dataset(write(tmp_path / "chats.jsonl", [chat("a", "b")]))
    assert asked.for_method(Method.GRPO).format == asked.for_method(Method.RFT).format == "openai-reinforcement"
    assert chats.for_method(Method.GRPO) is chats and chats.for_method(Method.SFT) is chats
    assert chats.for_method(Method.RFT).format == "openai-reinforcement"
    given = tuneport.Dataset(asked.path, format="openai")
    assert given.for_method(Method.RFT) is given
    assert counts["detections"] == {"asked.jsonl": 1, "chats.jsonl": 1}
    assert counts["opened"]["asked.jsonl"] == 2  # the second time for the first row in the format that was given


def test_a_bad_first_record_tells_all_that_is_wrong_instead_of_the_method(tmp_path: Path) -> None:
    rows = [{"messages": 7}, chat("a", "b"), {"messages": []}]
    with pytest.raises(DatasetError) as raised:
        _ = tuneport.Dataset(write(tmp_path / "a.jsonl", rows)).method
    assert raised.value.count == 2


def test_a_validation_file_has_the_same_columns_or_the_formats_own(tmp_path: Path, counts: Counts) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    mapped = {"question": "a", "answer": "b"}
    training = tuneport.Dataset(write(tmp_path / "train.jsonl", [mapped]), columns)
    same = training.validation_like(write(tmp_path / "same.jsonl", [mapped]))
    own = training.validation_like(write(tmp_path / "own.jsonl", [{"prompt": "a", "completion": "b"}]))
    assert (same.columns, own.columns) == (columns, {})
    assert (same.format, own.format) == ("prompt-completion", "prompt-completion")
    assert counts["detections"] == {"same.jsonl": 1, "own.jsonl": 2}  # the second time without the columns
    assert training.validation_like(training.path) is training
    assert training.validation_like(own) is own
    with pytest.raises(DatasetError):
        training.validation_like(write(tmp_path / "bad.jsonl", [{"x": 1}]))


def test_a_format_out_of_the_race_changes_nothing(tmp_path: Path) -> None:
    """Whatever the rows are, the answer is that of asking every format about every row."""
    kinds: list[dict[str, Any]] = [
        chat("a", "b"),
        chat("a", "b", system="s"),
        chat("a", "b") | {"weight": 0.5},
        {"system": "s", **chat("a", "b")},
        {"prompt": "a", "completion": "b"},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        {"prompt": "a", "completion": "b", "label": True},
        {"text": "a"},
        {"text": "a", "weight": 1},
        {"instruction": "a", "output": "b"},
        QUESTION,
        {"x": 1},
    ]
    draw, formats = random.Random(7), set()
    for number in range(200):
        rows = [draw.choice(draw.sample(kinds, 3)) for _ in range(draw.choice([1, 2, 3, 5]))]
        dataset = tuneport.Dataset(write_rows(tmp_path / f"{number}.jsonl", rows))
        scores = {name: [load_dataset_format(name).likeness(row) for row in rows] for name in FORMATS}
        known = [place for place in range(len(rows)) if any(each[place][0] > 0 for each in scores.values())]
        fitting = [name for name in FORMATS if known and all(scores[name][place][0] > 0 for place in known)]
        if not fitting:
            with pytest.raises(DatasetError):
                _ = dataset.format
            continue
        best = max(fitting, key=lambda name: max(scores[name][place][0] for place in known))
        score, reason = max(scores[best][place] for place in known)
        found = dataset.detection
        assert (found.format, found.confidence) == (best, round(score * len(known) / len(rows), 2)), rows
        assert found.reason.partition(";")[0] == reason
        formats.add(best)
    assert len(formats) >= 7


def test_a_missing_file_is_a_dataset_error_whatever_is_asked(tmp_path: Path) -> None:
    dataset = tuneport.Dataset(tmp_path / "missing.jsonl")
    for ask in (lambda: dataset.bytes, dataset.digest, lambda: dataset.format):
        with pytest.raises(DatasetError, match=r"missing.jsonl: does not exist; correct the path$"):
            ask()
