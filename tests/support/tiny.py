"""A tokenizer of single bytes and a model of a few thousand weights: real parts, small enough to train in a second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

WITH_TOOLS = (
    "{% if tools %}{{ '<|im_start|>tools\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}"
    "{% for call in m.tool_calls or [] %}"
    "{{ '[' + call.function.name + '(' + (call.function.arguments | tojson) + ')]' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer(template: str | None = CHATML) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|im_end|>", "<|im_start|>", "<|pad|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|pad|>"
    )
    wrapped.chat_template = template
    return wrapped


def tiny_model(folder: Path, *, template: str | None = CHATML, context: int = 512, seed: int = 0) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=2,
        tie_word_embeddings=True,
        initializer_range=0.2,  # with less, the frozen head could not tell tokens apart however it is trained
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_adapter(folder: Path, model: Path, *, seed: int = 7) -> Path:
    """LoRA weights far enough from zero to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    tuned.save_pretrained(folder)
    return folder


def endless(model: Path) -> Path:
    """The model with weights by which it never ends its turn: some other token is always likelier."""
    import torch
    from transformers import AutoModelForCausalLM

    weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        weights.get_input_embeddings().weight[:3] = 0.0
    weights.save_pretrained(model)
    return model


def chat_rows(count: int) -> list[dict[str, Any]]:
    """Questions with one of two answers, told apart by their first letter."""
    rows = []
    for number in range(count):
        question, answer = (f"apple {number}", "red") if number % 2 else (f"banana {number}", "yellow")
        messages = [{"role": "system", "content": "Name the colour."}, {"role": "user", "content": question}]
        rows.append({"messages": [*messages, {"role": "assistant", "content": answer}]})
    return rows


def preference_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"Say hello {number}"}]},
            "preferred_output": [{"role": "assistant", "content": "Hello!"}],
            "non_preferred_output": [{"role": "assistant", "content": "Go away."}],
        }
        for number in range(count)
    ]


def labelled_rows(count: int) -> list[dict[str, Any]]:
    """In TRL's unpaired form: every second answer is a bad one."""
    return [
        {
            "prompt": [{"role": "user", "content": f"Say hello {number}"}],
            "completion": [{"role": "assistant", "content": "Hello!" if number % 2 else "Go away."}],
            "label": bool(number % 2),
        }
        for number in range(count)
    ]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_run(
    home: Path,
    model: str | Path,
    data: Path,
    *,
    name: str = "run-1",
    format: str = "openai",
    validation: Path | None = None,
    hyperparameters: dict[str, Any] | None = None,
    reward_model: dict[str, Any] | None = None,
    **spec: Any,
) -> Path:
    """A run folder as the local backend writes it."""
    folder = home / "runs" / name
    folder.mkdir(parents=True)

    def described(path: Path) -> dict[str, Any]:
        rows = path.read_bytes().count(b"\n") if path.exists() else 0
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0" * 64
        return {"path": str(path), "sha256": sha256, "format": format, "rows": rows, "bytes": 1}

    numbers = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "lora_rank": 4, "lora_alpha": 8}
    numbers |= {"lora_dropout": 0.0, "weight_decay": 0.0}
    request = {
        "run_id": name,
        "token": "token",
        "created_at": datetime.now(UTC).isoformat(),
        "model": "tiny",
        "model_name_or_path": str(model),
        "home": str(home),
        "spec": {"model": "tiny", "dataset": str(data), "adapter": "lora", "seed": 1}
        | {"provider_options": {"precision": "fp32"}}
        | spec,
        "reward_model": reward_model,
        "training": described(data),
        "validation": described(validation) if validation else None,
        "hyperparameters": numbers | (hyperparameters or {}),
    }
    (folder / "run.json").write_text(json.dumps(request), encoding="utf-8")
    return folder


def busy_cpu(home: Path) -> Path:
    """The file whose lock means that somebody uses the CPU of that home."""
    lock = home / "devices" / "cpu.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return lock


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return state


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
