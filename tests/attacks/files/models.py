"""Hostile folders of models: each is a sound tiny model in which one file was exchanged."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

_DEEP = "[" * 200_000 + "]" * 200_000
_LOOPS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}"
)
_DOUBLING = (
    "{% set ns = namespace(x='xxxxxxxx') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}"
)

_RFIND = "{% set x = 'a' * 20000000 %}{{ x.rfind('ab' ~ ('a' * 10000000)) }}"


def _file(name: str, content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _template(text: str) -> Callable[[Path], None]:
    return _file("chat_template.jinja", text)


def _config(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return write


def _own_code(folder: Path) -> None:
    """A model whose code would write a file, if anybody ran it."""
    _config(model_type="own", architectures=["Own"], auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})(
        folder
    )
    (folder / "own.py").write_text(f"open({str(folder / 'RAN')!r}, 'w').write('ran')\nclass C: pass\nclass M: pass\n")


def _header(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(64))

    return write


CASES: dict[str, Callable[[Path], None]] = {
    "tokenizer.json is a list": _file("tokenizer.json", "[]"),
    "tokenizer.json is empty": _file("tokenizer.json", "{}"),
    "tokenizer.json, 200,000 deep": _file("tokenizer.json", _DEEP),
    "tokenizer.json is no text": _file("tokenizer.json", bytes(range(256))),
    "tokenizer_config.json is a list": _file("tokenizer_config.json", "[]"),
    "tokenizer_config.json, 200,000 deep": _file("tokenizer_config.json", _DEEP),
    "config.json is a list": _file("config.json", "[]"),
    "config.json, 200,000 deep": _file("config.json", _DEEP),
    "config.json, sizes are text": _config(hidden_size="many", max_position_embeddings="much"),
    "config.json, an unknown model_type": _config(model_type="nobody-knows"),
    "code of its own": _own_code,
    "template, three nested loops": _template(_LOOPS),
    "template, 'x' * 2e9": _template("{{ 'x' * 2000000000 }}"),
    "template, a text doubled 60 times": _template(_DOUBLING),
    "template, 9 ** 9 ** 9": _template("{{ (9 ** 9 ** 9) % 7 }}{% for m in messages %}{{ m.content }}{% endfor %}"),
    "template, rfind that is quadratic": _template(_RFIND),
    "template, a macro that calls itself": _template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
    "template, 50 MB of text": _template("{% for a in range(50) %}{{ 'x' * 1000000 }}{% endfor %}"),
    "safetensors, header 200,000 deep": _header(_DEEP),
    "safetensors, header longer than the file": _file("model.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
    "safetensors, shapes are text": _header('{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}'),
    "generation_config.json is a list": _file("generation_config.json", "[]"),
}


def spoilt(sound: Path, folder: Path, case: str) -> Path:
    """A copy of the sound model with the case's fault."""
    shutil.copytree(sound, folder)
    CASES[case](folder)
    return folder
