"""Models, prices and jobs of the Together emulator: states, events, checkpoints, metrics, archives and bill."""

from __future__ import annotations

import functools
import io
import json
import math
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tuneport.testing.emulators.timeline import EmulatedJobPlan, EmulatedTimeline, emulated_loss
from tuneport.testing.emulators.together.files import EmulatedTogetherFile, emulated_sequences

STATES = ("pending", "queued", "running", "compressing", "uploading")
NANO_DOLLARS = 1_000_000_000  # the unit of total_price, as the vendor's own command line reads it
MINIMUM_PRICE = 4.00  # USD for one job


@dataclass(frozen=True)
class EmulatedTogetherModel:
    """The limits of a tunable model, and its size, which decides the price."""

    billion_parameters: float
    context_sft: int
    context_dpo: int
    max_batch: int
    max_rank: int = 64
    full: bool = False
    vision: bool = False

    @property
    def max_batch_dpo(self) -> int:
        return max(1, self.max_batch // 2)

    def price_per_mtok(self, *, full: bool, dpo: bool) -> float:
        """Return USD per million tokens: the three brackets of the price page, by total parameters."""
        bracket = 0 if self.billion_parameters <= 16 else 1 if self.billion_parameters <= 69 else 2
        lora_sft, full_sft, lora_dpo, full_dpo = [
            (0.48, 0.54, 1.20, 1.35), (1.50, 1.65, 3.75, 4.12), (2.90, 3.20, 7.25, 8.00),
        ][bracket]  # fmt: skip
        return (full_dpo if dpo else full_sft) if full else (lora_dpo if dpo else lora_sft)


MODELS = {
    "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference": EmulatedTogetherModel(8, 131072, 65536, 8, full=True),
    "meta-llama/Llama-3.3-70B-Instruct-Reference": EmulatedTogetherModel(70, 24576, 12288, 8, full=True),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": EmulatedTogetherModel(47, 32768, 32768, 8, full=True),
    "Qwen/Qwen3.5-9B": EmulatedTogetherModel(9, 65536, 49152, 8, full=True),
    "Qwen/Qwen3.5-4B": EmulatedTogetherModel(4, 131072, 65536, 8, full=True),
    "Qwen/Qwen3-VL-8B-Instruct": EmulatedTogetherModel(8.8, 65536, 49152, 8, full=True, vision=True),
    "openai/gpt-oss-20b": EmulatedTogetherModel(21, 131072, 65536, 1),
}


def emulated_model_limits(name: str, model: EmulatedTogetherModel) -> dict[str, Any]:
    batch = {"max_batch_size": model.max_batch, "max_batch_size_dpo": model.max_batch_dpo, "min_batch_size": 1}
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    shown = {
        "model_name": name, "max_num_epochs": 20, "max_num_evals": 100, "max_num_checkpoints": 100,
        "max_learning_rate": 0.1, "min_learning_rate": 1e-8, "max_seq_length_sft": model.context_sft,
        "max_seq_length_dpo": model.context_dpo, "min_max_seq_length": 1024, "default_gradient_accumulation_steps": 1,
        "merge_output_lora": True, "supports_vision": model.vision, "supports_tools": True, "supports_reasoning": False,
        "supports_full_training": model.full,
        "lora_training": {**batch, "max_rank": model.max_rank, "default_rank": min(16, model.max_rank),
                          "target_modules": modules},
    }  # fmt: skip
    return {**shown, "full_training": batch} if model.full else shown


def emulated_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(eq=False)
class EmulatedTogetherJob:
    id: str
    request: dict[str, Any]  # as sent, with the server's defaults
    model: EmulatedTogetherModel
    training: EmulatedTogetherFile
    validation: EmulatedTogetherFile | None
    output_name: str
    plan: EmulatedJobPlan
    timeline: EmulatedTimeline
    cancelled_at: float | None = None

    def status(self, now: float) -> str:
        if self.cancelled_at is not None:
            return "cancel_requested" if now - self.cancelled_at < self.timeline.pace else "cancelled"
        state = self.timeline.state(now)
        if state is None or (self.plan.fails and state in ("compressing", "uploading")):
            return (self.plan.status or "error") if self.plan.fails else "completed"
        return (self.plan.raw_status or "running") if state == "running" else state

    def has_ended(self, now: float) -> bool:
        failed = self.plan.fails and self.timeline.state(now) in ("compressing", "uploading")
        return failed or self.timeline.state(now) is None or self.cancelled_at is not None

    @property
    def is_full(self) -> bool:
        return (self.request.get("training_type") or {}).get("type") == "Full"

    @property
    def is_dpo(self) -> bool:
        return bool(self.request["training_method"]["method"] == "dpo")

    @property
    def length(self) -> int:
        """Return the tokens of a sequence at most: as asked for, else the model's context for the method."""
        context = self.model.context_dpo if self.is_dpo else self.model.context_sft
        return int(self.request.get("max_seq_length") or context)

    @functools.cached_property
    def sequences(self) -> int:
        """Return how many sequences an epoch has: packed ones, or one a row. Pairs are not packed: no page
        says that they are."""
        if self.is_dpo or not self.request["packing"]:
            return len(self.training.rows)
        return emulated_sequences(self.training.row_tokens, self.length)

    @property
    def total_steps(self) -> int:
        """Return the steps of the optimizer: a batch counts sequences, and steps may be accumulated."""
        most = self.model.max_batch_dpo if self.is_dpo else self.model.max_batch
        batch = most if self.request["batch_size"] == "max" else int(self.request["batch_size"])
        batch *= int(self.request.get("gradient_accumulation_steps", 1))
        return max(1, math.ceil(self.sequences / batch)) * int(self.request["n_epochs"])

    def steps(self, now: float) -> int:
        return min(self.last_step, int(self.timeline.progress_in_state(now, "running") * self.total_steps))

    @property
    def last_step(self) -> int:
        return self.early_stop[0] if self.early_stop else self.total_steps

    @functools.cached_property
    def early_stop(self) -> tuple[int, int, float] | None:
        """Return the step at which it stops, the best step and its loss, by the rule that the SDK documents."""
        if not self.request.get("early_stopping_enabled"):
            return None
        patience, warmup = (
            self.request.get("early_stopping_patience", 2),
            self.request.get("early_stopping_warmup_evals", 1),
        )
        best_step, best, bad = 0, math.inf, 0
        for number, step in enumerate(self.eval_steps()):
            value = emulated_loss(step, self.total_steps, validation=True)
            improved = best - value > self.request.get("early_stopping_min_delta", 0.0)
            best_step, best = (step, value) if improved else (best_step, best)
            bad = 0 if improved or number < warmup else bad + 1
            if bad >= patience:
                return step, best_step, best
        return None

    def epoch_step(self, epoch: int) -> int:
        return self.total_steps * epoch // int(self.request["n_epochs"])

    def eval_steps(self) -> list[int]:
        evals = self.request["n_evals"] if self.validation else 0
        return sorted({max(1, self.total_steps * number // evals) for number in range(1, evals + 1)})

    def tokens(self) -> tuple[int, int]:
        """Return the billed tokens: epochs x training tokens, and evaluations x validation tokens. Without packing each
        row is billed as a whole sequence, padding and all."""
        train = self._billed(self.training) * self.request["n_epochs"] * self.last_step // self.total_steps
        return train, self._billed(self.validation) * self.request["n_evals"] if self.validation else 0

    def _billed(self, file: EmulatedTogetherFile) -> int:
        return file.tokens if self.request["packing"] else len(file.rows) * self.length

    def price(self) -> float:
        rate = self.model.price_per_mtok(full=self.is_full, dpo=self.is_dpo)
        return max(MINIMUM_PRICE, sum(self.tokens()) / 1e6 * rate)

    def job_document(self, now: float, *, whole: bool = False) -> dict[str, Any]:
        """Return the job as lists and creation give it; `whole` as its own page does."""
        done, status = self.has_ended(now), self.status(now)
        left = 0 if done else math.ceil(self.timeline.pace * len(STATES) - self.timeline.age(now))
        epochs = self.request["n_epochs"]
        shown = {
            **{name: value for name, value in self.request.items() if name not in ("wandb_key", "hf_api_token")},
            "id": self.id, "status": status, "user_id": "user-emulated", "owner_address": "emulated@example.invalid",
            "created_at": emulated_time(self.timeline.created), "updated_at": emulated_time(now), "events": [],
            "started_at": emulated_time(self.timeline.time_of_age(self.timeline.start_of_state("running"))),
            "model_output_name": self.output_name, "token_count": sum(self.tokens()),
            "total_price": round(self.price() * NANO_DOLLARS) if status == "completed" else 0,
            "progress": {"estimate_available": not done, "seconds_remaining": max(0, left)},
        }  # fmt: skip
        if whole:
            passed = sum(self.epoch_step(epoch) <= self.steps(now) for epoch in range(1, epochs + 1))
            shown |= {
                "job_id": self.id, "events": self.events(now), "steps_completed": self.steps(now),
                "epochs_completed": passed, "queue_depth": 1 if status in ("pending", "queued") else 0,
                "param_count": int(self.model.billion_parameters * 1e9),
                "trainingfile_numlines": len(self.training.rows),
                "trainingfile_size": len(self.training.content or b""),
                "model_output_path": f"s3://emulated/{self.id}", "model_object_name": self.output_name,
                "adapter_object_name": None if self.is_full else f"{self.output_name}-adapter",
                "model_object_id": f"ml_{self.id}" if status == "completed" else None,
                "adapter_object_id": f"ml_{self.id}_adapter" if status == "completed" and not self.is_full else None,
                "early_stopped": self.early_stop is not None and self.steps(now) >= self.early_stop[0],
            }  # fmt: skip
            if shown["early_stopped"] and self.early_stop:
                shown |= {
                    "early_stopping_best_step": self.early_stop[1],
                    "early_stopping_best_metric": self.early_stop[2],
                }
        elif shown["batch_size"] == "max":
            shown["batch_size"] = self.model.max_batch  # the short form has a number here
        return shown

    def events(self, now: float) -> list[dict[str, Any]]:
        """Return all events so far, oldest first. They have no id."""
        starts, pace, model = self.timeline.start_of_state, self.timeline.pace, self.request["model"]
        steps = range(1, self.request["n_epochs"] + 1)
        written = [
            (0.0, "job_pending", "Fine tune request created", 0),
            (starts("queued"), "job_start", "Job started", 0),
            (starts("running"), "model_download_complete", f"Model data downloaded for {model}", 0),
            (starts("running"), "training_data_download_complete", f"Training data downloaded for {model}", 0),
            (starts("running"), "training_start", f"Training started for model {model}", 0),
            *((starts("running") + pace * self.epoch_step(epoch) / self.total_steps, "epoch_complete",
               f"Epoch completed, at step {self.epoch_step(epoch)}", self.epoch_step(epoch))
              for epoch in steps if self.epoch_step(epoch) <= self.last_step),
        ]  # fmt: skip
        if self.early_stop:
            told = f"Training stopped early at step {self.last_step}"
            written.append((starts("running") + pace * self.last_step / self.total_steps, "early_stopped", told,
                            self.last_step))  # fmt: skip
        if self.plan.fails:
            kind = "job_error"
            message = (self.plan.fails_with or {}).get("message", "The job failed due to an internal error.")
            written.append((starts("compressing"), kind, message, self.last_step))
            written.append((starts("compressing"), "refund", "The price of the job was refunded", self.last_step))
        else:
            written += [
                (starts("compressing"), "training_complete", f"Training completed for model {model}", self.last_step),
                (starts("compressing"), "model_compressing", "Compressing output model", self.last_step),
                (starts("uploading"), "model_compression_complete", "Model compression complete", self.last_step),
                (starts("uploading"), "model_uploading", "Uploading output model", self.last_step),
                (pace * len(STATES), "model_upload_complete", "Model upload complete", self.last_step),
                (pace * len(STATES), "job_complete", "Job finished", self.last_step),
            ]
        shown = [self._event(*entry) for entry in written if entry[0] <= self.timeline.age(now)]
        if self.cancelled_at is not None:
            age = self.timeline.age(now)
            shown.append(self._event(age, "cancel_requested", "Cancel requested", self.steps(now)))
            if self.status(now) == "cancelled":
                shown.append(self._event(age + pace, "job_stopped", "Job stopped", self.steps(now)))
        return shown + self.plan.events

    def _event(self, age: float, type: str, message: str, step: int) -> dict[str, Any]:
        return {
            "object": "fine-tune-event", "created_at": emulated_time(self.timeline.time_of_age(age)),
            "message": message, "type": type, "level": "error" if type == "job_error" else "info", "step": step,
            "total_steps": self.total_steps, "token_count": sum(self.tokens()), "param_count": 0, "wandb_url": "",
            "checkpoint_path": "", "model_path": self.output_name if type == "job_complete" else "",
            "training_offset": 0, "hash": "",
        }  # fmt: skip

    def checkpoints(self, now: float) -> list[dict[str, Any]]:
        """Return the checkpoints that training has passed, and the final one (for LoRA: adapter and merged) at the
        end."""
        count, total, path = self.request["n_checkpoints"], self.total_steps, f"s3://emulated/{self.id}"
        running = self.timeline.start_of_state("running")
        found = []
        for number in range(1, count):
            step = total * number // count
            if 0 < step <= self.steps(now):
                created = emulated_time(self.timeline.time_of_age(running + self.timeline.pace * step / total))
                found.append({"step": step, "path": f"{path}/{step}", "created_at": created,
                              "checkpoint_type": f"Intermediate (step {step})"})  # fmt: skip
        if self.status(now) == "completed":
            created = emulated_time(self.timeline.time_of_age(self.timeline.pace * len(STATES)))
            final = [("Final", "model")] if self.is_full else [("Final Adapter", "adapter"), ("Final", "model")]
            for kind, selector in final:
                label = f"{kind} (step {self.last_step})"
                found.append({"step": self.last_step, "path": f"{path}/{selector}", "created_at": created,
                              "checkpoint_type": label, "checkpoint": selector})  # fmt: skip
        return found

    def metrics(self, now: float) -> list[dict[str, float]]:
        """Return a line for each training step and one for each evaluation, in order; timestamps in nanoseconds."""
        found: list[dict[str, float]] = []
        evals, total = self.eval_steps(), self.total_steps
        for step in range(1, self.steps(now) + 1):
            age = self.timeline.start_of_state("running") + self.timeline.pace * step / total
            head = {"timestamp": int(self.timeline.time_of_age(age) * 1e9), "train/global_step": step}
            rate = round(self.request["learning_rate"] * (1 - step / total), 12)
            found.append({**head, "train/epoch": step * self.request["n_epochs"] / total, "train/grad_norm": 1.0,
                          "train/loss": emulated_loss(step, total), "train/learning_rate": rate})  # fmt: skip
            if step in evals:
                found.append({**head, "eval/loss": emulated_loss(step, total, validation=True)})
        return found

    @functools.cached_property
    def archives(self) -> dict[str, bytes]:
        """Return the downloads: a small tar for the adapter and one for the merged model."""
        config = {"base_model_name_or_path": self.request["model"], "peft_type": "LORA", "r": 16}
        weights = (2).to_bytes(8, "little") + b"{}"  # a safetensors file without tensors
        merged = {"config.json": json.dumps({"model_type": "llama"}).encode(), "model.safetensors": weights}
        found = {"model_output_path": emulated_tar(merged), "merged": emulated_tar(merged)}
        if not self.is_full:
            adapter = {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": weights}
            found |= {"adapter": emulated_tar(adapter), "model_output_path": emulated_tar(adapter)}
        return found


def emulated_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def emulated_zstandard(content: bytes) -> bytes:
    """Return a valid Zstandard frame without compression (RFC 8878), which the standard library could not make
    otherwise."""
    # Descriptor 0xA0: one segment, its size in four bytes.
    frame = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little")
    blocks = [content[start : start + 131072] for start in range(0, len(content), 131072)] or [b""]
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return frame
