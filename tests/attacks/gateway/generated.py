"""Requests by which a client would have the gateway run code, read files or reach servers for it, as raw HTTP.

Shares no code with tuneport: whoever attacks has none of it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CODE = "def grade(sample, item):\n    import os\n    open({mark!r}, 'w').write(str(os.getuid()))\n    return 1.0\n"
QUESTIONS = [{"messages": [{"role": "user", "content": f"Question number {n} is which?"}], "answer": f"a{n}"} for n in range(40)]  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)["error"]
        return found


@dataclass(frozen=True)
class Attack:
    """`names`: what the refusal must name, as its `param` begins; None where the answer is a page or has no param."""

    what: str
    method: str
    path: str
    body: Any = None
    names: str | None = None


def send(address: tuple[str, int], method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
    """One request over a socket of its own, byte by byte as written here."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{address[1]}\r\nConnection: close\r\n"
    if token is not None:
        head += f"Authorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return _exchanged(address, head.encode() + b"\r\n" + content)


def upload(address: tuple[str, int], rows: list[dict[str, Any]], token: str | None = None) -> str:
    """The file's id."""
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    edge = "edge-of-a-part"
    form = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="rft.jsonl"\r\n\r\n'
    ).encode() + lines + f"\r\n--{edge}--\r\n".encode()  # fmt: skip
    head = f"POST /v1/files HTTP/1.1\r\nHost: localhost:{address[1]}\r\nConnection: close\r\n"
    head += "" if token is None else f"Authorization: Bearer {token}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={edge}\r\nContent-Length: {len(form)}\r\n\r\n"
    told = _exchanged(address, head.encode() + form)
    assert told.status == 200, told.text
    return str(json.loads(told.text)["id"])


def exploit(model: str, file_id: str, mark: Path) -> dict[str, Any]:
    """The job that ran as the gateway's user: a grader in Python, and the option that let it run."""
    return {
        "model": model,
        "backend": "local",
        "method": "rft",
        "training_file": file_id,
        "grader": {"type": "python", "name": "g", "source": CODE.format(mark=str(mark))},
        "provider_options": {"run_grader_code": True, "max_completion_length": 8, "generations": 2},
    }


def attacks(model: str, file_id: str, folder: Path, mark: Path) -> Iterator[Attack]:
    """All of them. `folder` is a model's folder on the gateway's machine that no client may have read."""
    yield from _own_jobs(model, file_id, mark)
    yield from _openai_jobs(model, file_id, mark)
    yield from _names_of_models(file_id, folder)
    yield from _chats(model, folder)


def _own_jobs(model: str, file_id: str, mark: Path) -> Iterator[Attack]:
    plain = {"model": model, "backend": "local", "training_file": file_id, "method": "sft"}

    def job(what: str, names: str, **more: Any) -> Attack:
        return Attack(what, "POST", "/tuneport/v1/jobs", plain | more, names)

    shell = f"touch {mark}"
    for options, name in (
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"allow_oversize": True}, "allow_oversize"),
        ({"run_grader_code": True}, "run_grader_code"),
        ({"executor": "slurm", "slurm": {"setup": [shell]}}, "executor"),
        ({"slurm": {"cluster": "local", "setup": [shell]}}, "slurm.cluster"),
        ({"slurm": {"setup": [shell]}}, "slurm.setup"),
        ({"slurm": {"sbatch": {"wrap": shell}}}, "slurm.sbatch"),
        ({"slurm": {"sbatch": {"a": {"b": [shell]}}}}, "slurm.sbatch"),
        ({"slurm": {"partition": "p"}}, "slurm.partition"),
        ({"slurm": {}}, "slurm"),
        ({"slurm": [shell]}, "slurm"),
        ({"slurm": {"colour": shell}}, "slurm.colour"),
        ({"executor": "ray"}, "executor"),
        ({"workers": "auto"}, "workers"),
        ({"sharding": "fsdp"}, "sharding"),
        ({"lora_modules_to_save": ["model"]}, "lora_modules_to_save"),
        ({"lora_target_modules": ["../../etc/passwd"]}, "lora_target_modules"),
        ({"lora_target_modules": "(a+)+$"}, "lora_target_modules"),
        ({"lora_target_modules": ["q_proj", {"a": shell}]}, "lora_target_modules"),
        ({"max_completion_length": 10**12}, "max_completion_length"),
        ({"generations": 10**9}, "generations"),
        ({"generations": True}, "generations"),
        ({"temperature": {"$ref": "file:///etc/passwd"}}, "temperature"),
        ({"save_every": [1]}, "save_every"),
        ({"precision": "/etc/passwd"}, "precision"),
        ({"tensorboard": "/tmp/x"}, "tensorboard"),
        ({"push_to_hub": "them/theirs"}, "push_to_hub"),
        ({"mlflow": {"tracking_uri": "http://127.0.0.1:9"}}, "mlflow"),
        ({"report_to": ["wandb"]}, "report_to"),
        ({"__class__": {"__init__": shell}}, "__class__"),
        ({"": shell}, ""),
    ):
        yield job(f"option {json.dumps(options)[:60]}", f"provider_options.{name}", provider_options=options)
    for backend, options in (
        ("together", {"wandb_base_url": "http://127.0.0.1:9"}),
        ("together", {"from_hf_model": "them/theirs"}),
        ("together", {"hf_output_repo_name": "them/theirs"}),
        ("together", {"wandb_project_name": "p"}),
        ("openai", {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}),
        ("openai", {"anything": {"at": ["all"]}}),
        ("fake", {"anything": 1}),
    ):
        known = {"together": "llama-3.1-8b-instruct", "openai": "gpt-4.1-mini-2025-04-14", "fake": "stand-in"}[backend]
        name = next(iter(options))
        yield job(
            f"{backend}: {name}", f"provider_options.{name}", provider_options=options, backend=backend, model=known
        )
    unnamed = {name: value for name, value in plain.items() if name != "backend"}
    body = unnamed | {"model": "llama-3.1-8b-instruct", "provider_options": {"trust_remote_code": True}}
    yield Attack("an option for whichever backend", "POST", "/tuneport/v1/jobs", body, "")
    grader = {"type": "python", "name": "g", "source": CODE.format(mark=str(mark))}
    rft = {"method": "rft"}
    yield job("a Python grader", "grader", **rft, grader=grader)
    inside = {"type": "multi", "name": "m", "calculate_output": "a", "graders": {"a": grader}}
    yield job("a Python grader inside another", "grader", **rft, grader=inside)
    yield job("a Python grader as the only one inside", "grader", **rft, grader=inside | {"graders": grader})
    yield job("a grader of no known shape", "grader", **rft, grader={"type": "exec", "source": "1"})
    for reward in ("os:system", "subprocess:run", "/root/reward", "../reward", "tuneport.cli.main:run"):
        yield job(f"reward {reward}", "reward", method="grpo", reward=reward)
    for start in ("/root", "run-0123456789abcdef", "../x", "ft:a:b:0123456789abcdef", "x:1/../../.."):
        yield job(f"from {start}", "from_checkpoint", from_checkpoint=start)
    yield job("W&B", "wandb", wandb="theirs")
    for name, value in (("epochs", 10**9), ("lora_rank", 10**9), ("max_length", 10**12), ("learning_rate", 1e300),
                        ("batch_size", 10**8), ("lora_rank", True), ("warmup_ratio", "/etc/passwd")):  # fmt: skip
        yield job(f"{name}={value}", "", hyperparameters={name: value})
    for name in ("reward_folder", "dataset", "validation", "trust_remote_code", "executor", "slurm", "home"):
        yield job(f"a field {name}", name, **{name: "/root"})
    yield job("pictures of the operator's machine", "inline_images", inline_images=True)


def _openai_jobs(model: str, file_id: str, mark: Path) -> Iterator[Attack]:
    plain = {"model": f"local/{model}", "training_file": file_id}
    grader = {"type": "python", "name": "g", "source": CODE.format(mark=str(mark))}

    def job(what: str, names: str, **more: Any) -> Attack:
        return Attack(what, "POST", "/v1/fine_tuning/jobs", plain | more, names)

    def rft(found: Any) -> dict[str, Any]:
        return {"method": {"type": "reinforcement", "reinforcement": {"grader": found}}}

    yield job("a Python grader, as OpenAI has it", "method.reinforcement.grader", **rft(grader))
    many = {"type": "multi", "name": "m", "calculate_output": "a", "graders": {"a": grader}}
    yield job("one inside another, as OpenAI has it", "method.reinforcement.grader", **rft(many))
    yield job("W&B, as OpenAI has it", "integrations", integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    yield job("another integration", "integrations", integrations=[{"type": "mlflow", "mlflow": {"uri": "file:///"}}])
    for name in (
        "provider_options",
        "tuneport",
        "reward",
        "trust_remote_code",
        "executor",
        "training_sha256",
        "budget",
    ):
        yield job(f"a field {name}", name, **{name: {"run_grader_code": True}})
    odd = {"type": "supervised", "supervised": {"hyperparameters": {"trust_remote_code": True}}}
    yield job("an option among the hyperparameters", "method.supervised.hyperparameters.trust_remote_code", method=odd)


def _names_of_models(file_id: str, folder: Path) -> Iterator[Attack]:
    """Folders of the machine and models of the hub, by every spelling, wherever a model may be named."""
    local, unheard = f"local/{folder}", "them/never-heard-of"
    spellings = [str(folder), local, f"local/{local}", f"local/local/{local}", f"together/{local}", f"~root{folder}"]
    spellings += [f"file://{folder}", f"../..{folder}", f"{folder}/.", unheard, f"local/{unheard}"]
    for name in spellings:
        for backend in ({}, {"backend": "local"}):
            body = {"model": name, "training_file": file_id, "method": "sft", **backend}
            yield Attack(f"a job of {name}", "POST", "/tuneport/v1/jobs", body, "model")
        yield Attack(f"OpenAI's job of {name}", "POST", "/v1/fine_tuning/jobs",
                     {"model": name, "training_file": file_id}, "model")  # fmt: skip
        chat = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        yield Attack(f"a chat with {name}", "POST", "/v1/chat/completions", chat, "model")
        yield Attack(f"a report for {name}", "POST", "/tuneport/v1/data_reports",
                     {"file": file_id, "model": name, "backend": "local"}, "model")  # fmt: skip
        yield Attack(f"a report for {name} anywhere", "POST", "/tuneport/v1/data_reports",
                     {"file": file_id, "model": name}, "model")  # fmt: skip
        if "/" not in name.removeprefix("local/") or str(folder) not in name:
            continue  # prices of a model of the hub are no secret, and nothing is fetched for them
        yield Attack(f"a quote of {name}", "POST", "/tuneport/v1/quotes",
                     {"model": name, "training_file": file_id, "backends": ["local"]}, "model")  # fmt: skip
        yield Attack(f"a comparison of {name}", "POST", "/tuneport/v1/comparisons",
                     {"models": [name], "training_file": file_id, "backends": ["local"]}, "model")  # fmt: skip
        yield Attack(f"the page of {name}", "GET", f"/new/{file_id}?model={name}")
        yield Attack(f"is there a {name}?", "GET", f"/v1/models/{name}", None, "model")


def _chats(model: str, folder: Path) -> Iterator[Attack]:
    for to, extra in (
        (f"local/{model}", {"chat_template": "{{ cycler.__init__.__globals__.os.system('id') }}"}),
        (f"local/{model}", {"adapter": str(folder)}),
        (f"local/{model}", {"lora_path": str(folder)}),
        (f"local/{model}", {"trust_remote_code": True}),
        (f"local/{model}", {"self": 1}),
        ("together/llama-3.1-8b-instruct", {"chat_template_kwargs": {"a": {"b": str(folder)}}}),
        ("together/llama-3.1-8b-instruct", {"safety_model": "another"}),
        ("together/llama-3.1-8b-instruct", {"reasoning": {"enabled": True, "path": str(folder)}}),
        ("together/llama-3.1-8b-instruct", {"top_k": {"a": 1}}),
        ("openai/gpt-4.1-mini-2025-04-14", {"extra_body": {"model": "another"}}),
        ("openai/gpt-4.1-mini-2025-04-14", {"extra_headers": {"Host": "127.0.0.1"}}),
        ("openai/gpt-4.1-mini-2025-04-14", {"timeout": 1e9}),
        ("openai/gpt-4.1-mini-2025-04-14", {"self": 1}),
        ("openai/gpt-4.1-mini-2025-04-14", {"guided_decoding_backend": str(folder)}),
    ):
        body = {"model": to, "messages": [{"role": "user", "content": "Hi"}], **extra}
        yield Attack(f"a chat at {to} with {extra}", "POST", "/v1/chat/completions", body, next(iter(extra)))


def _exchanged(address: tuple[str, int], request: bytes) -> Answer:
    with socket.create_connection(address, timeout=60) as wire:
        wire.sendall(request)
        received = bytearray()
        while piece := wire.recv(65536):
            received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return Answer(int(head.split()[1]), body.decode("utf-8", errors="replace"))


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole
