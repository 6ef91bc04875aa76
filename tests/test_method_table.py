"""The table of training methods, and how many files a new row touches: a toy method in a copy of the package."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import tuneport
from tests.support.counted import COUNTED
from tuneport.methods import Examples, Method, Records, methods_where
from tuneport.training_options import largest_divisor

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(tuneport.__file__).parent

# Supervised training on the better answer of each pair.
ROW = '    CHOSEN = "chosen", Traits("pairs", "single")\n'
TRAINER = """
from tuneport.data.templates.rendering import IGNORED, RenderedExample
from tuneport.train.methods.sft import sft_trainer


def chosen_trainer(recipe, renderer, rows, valid, counter):
    return sft_trainer(recipe, renderer, [better(row) for row in rows], [better(row) for row in valid], counter)


def better(row):
    labels = [IGNORED] * len(row.prompt_ids) + row.chosen_ids
    return RenderedExample(row.prompt_ids + row.chosen_ids, labels, "", [])
"""
EDITS = {  # file: (before which line, what)
    "src/tuneport/methods.py": ('    REWARD = "reward"', ROW),
    "src/tuneport/train/recipe.py": (
        "            case Method.REWARD:",
        "            case Method.CHOSEN:\n"
        "                from tuneport.train.methods.chosen import chosen_trainer as trainer\n",
    ),
}
USE = """
import sys
from pathlib import Path
from tuneport.backends.local.request import check_local_request, local_hyperparameter_names
from tuneport.data.conversion.prepare import dataset_upload_format, convert_dataset_for_method
from tuneport.data.dataset import Dataset
from tuneport.manifests import load_manifest
from tuneport.serve.wire.native import SubmitJob
from tuneport.types import Method, TuneSpec
from tuneport.workflows.plan import plan

pairs, store = Path(sys.argv[1]), Path(sys.argv[2])
spec = TuneSpec(model="m", dataset=pairs, method="chosen")
print(check_local_request(spec), "beta" in local_hyperparameter_names(spec.method, "auto"))
format = dataset_upload_format(spec.method, "openai-preference", "openai")
file = convert_dataset_for_method(spec.method, Dataset(pairs), format, store)
print(file.format, file.rows)
print(load_manifest("local").any_model.methods[-1], SubmitJob(training_file="f", model="m", method="chosen").method)
found = plan(pairs, model="llama-3.2-1b-instruct", method="chosen", gpu=["A100 80GB"])
print(found.run.examples, found.run.reference, "beta" in found.hyperparameters)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and the manifests with the toy method in it."""
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy / "src" / "tuneport")  # compiled files included: they save seconds
    shutil.copytree(REPOSITORY / "providers", copy / "providers")
    for name, (line, addition) in EDITS.items():
        path = copy / name.strip()
        text = path.read_text()
        assert text.count(line) == 1, line
        path.write_text(text.replace(line, addition + line))
    (copy / "src/tuneport/train/methods/chosen.py").write_text(TRAINER)
    manifest = copy / "providers" / "local.toml"
    manifest.write_text(re.sub(r'(?m)^(methods = .*)"rft"\]', r'\1"rft", "chosen"]', manifest.read_text()))
    return copy


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    from tests.support.tiny import preference_rows, write_rows

    return write_rows(tmp_path / "pairs.jsonl", preference_rows(8))


def changed(copy: Path) -> list[str]:
    ours = [path for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    there = {str(path.relative_to(copy)): REPOSITORY / path.relative_to(copy) for path in ours}
    return sorted(
        name for name, path in there.items() if not path.exists() or not filecmp.cmp(copy / name, path, shallow=False)
    )


def run(copy: Path, script: str, *arguments: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy / "src"), str(REPOSITORY)])}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=copy)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_new_method_touches_four_files(
    copy: Path, pairs: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    told = run(copy, USE, str(pairs), str(tmp_path / "store"))
    assert told == ["lora False", "openai-preference 8", "chosen chosen", "single False False"]
    files = changed(copy)
    record_property(COUNTED, f"a new method touches {len(files)} files: {', '.join(files)}")
    assert files == [
        "providers/local.toml",
        "src/tuneport/methods.py",
        "src/tuneport/train/methods/chosen.py",
        "src/tuneport/train/recipe.py",
    ]


@pytest.mark.full
def test_a_new_method_trains(copy: Path, pairs: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")
    script = (
        "import sys; from pathlib import Path; from tests.support.tiny import make_run, state_of, tiny_model; "
        "from tuneport.train.__main__ import train_run_folder; home, pairs = Path(sys.argv[1]), Path(sys.argv[2]); "
        "home.mkdir(); "
        "folder = make_run(home, tiny_model(home / 'model'), pairs, method='chosen', format='openai-preference'); "
        "code = train_run_folder(folder); print(code, state_of(folder)['status'], state_of(folder)['error'])"
    )
    assert run(copy, script, str(tmp_path / "home-of-run"), str(pairs))[-1] == "0 succeeded None"


def test_every_kind_of_record_and_example_has_a_method() -> None:
    assert {method.traits.records for method in Method} == set(get_args(Records))
    assert {method.traits.examples for method in Method} == set(get_args(Examples))


def test_the_traits_of_the_methods() -> None:
    """The sources' numbers, and what told the methods apart before they had a table."""
    assert {method.value: method.traits.generations for method in Method if method.writes_answers} == {
        "grpo": 8,
        "rloo": 4,
        "rft": 8,
    }
    assert methods_where(lambda method: method.takes_reward) == (Method.GRPO, Method.RLOO)
    assert methods_where(lambda method: method.takes_grader) == (Method.RFT,)
    assert methods_where(lambda method: method.trains_on_pairs) == (Method.DPO, Method.REWARD)
    assert {method.value: method.traits.beta for method in Method if method.has_reference} == {
        "dpo": 0.1,
        "kto": 0.1,
        "grpo": 0.04,
        "rloo": 0.05,
        "rft": 0.04,
    }
    assert Method("kto").traits.least_rows == 2 and str(Method.KTO) == Method.KTO.value == "kto"


@pytest.mark.parametrize(
    ("rows", "limit", "least", "found"), [(32, 0, 1, 1), (12, 5, 1, 4), (6, 1, 2, 2), (5, 1, 2, 1)]
)
def test_a_batch_is_split_without_a_rest(rows: int, limit: int, least: int, found: int) -> None:
    assert largest_divisor(rows, limit, at_least=least) == found
