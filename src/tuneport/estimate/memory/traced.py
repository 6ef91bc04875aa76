"""The memory of a run, traced: the model's own code runs on tensors without data, and every storage is counted.

Nothing is downloaded but a config.json, no weight exists, and no GPU is needed; torch, transformers and peft are, and a
second or a few of time. What no trace can show is as in the formula: TRL's fused loss, the answers that a model writes,
the reference model, and what the allocator adds. Kernels that exist for GPUs only are stood in for by the CPU's, which
keep the same tensors (fused attention: its output and a number for each head and token).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuneport.errors import ConfigError, UnsupportedError
from tuneport.estimate.memory.estimate import GIB, MemoryEstimate, memory_of_allocated
from tuneport.estimate.memory.tensors import LOGITS_FUSED, NF4_BYTES, NF4_DOUBLE_BYTES, estimate_generation_memory
from tuneport.estimate.memory.training_shape import ALL_LINEAR, TrainingShape
from tuneport.installation import install_extra
from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter

NOT_TRACED = {"adamw_8bit": "8-bit optimizers", "paged_adamw_8bit": "paged optimizers"}


def estimate_memory_by_tracing(
    config: Path, adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape
) -> MemoryEstimate:
    """Estimate the memory of the model that `config` (a config.json, or its folder) describes, by tracing it.

    Raises ConfigError if torch, transformers or peft is not installed; raises UnsupportedError, with the reason, for a
    model that cannot be traced.
    """
    try:
        import peft  # noqa: F401
        import torch
        import transformers  # noqa: F401
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError as error:
        raise ConfigError(f"tracing needs {error.name}, not installed here: {install_extra('local')}") from error
    if run.optimizer in NOT_TRACED:
        raise UnsupportedError(
            f"--exact cannot trace {NOT_TRACED[run.optimizer]}; leave --exact out: the formula covers them"
        )
    if run.gpus > 1:
        raise UnsupportedError(
            "--exact cannot trace a model that several GPUs share; leave --exact out: the formula covers it"
        )
    if adapter is Adapter.QLORA and run.kbit_fp32:
        raise UnsupportedError(
            "--exact cannot trace a 4-bit base with an fp32 residual stream; leave --exact out: the formula covers it"
        )
    try:
        with torch.device("meta"):
            model = _model(config, adapter, run)
        with FakeTensorMode(allow_non_fake_inputs=True):
            _pretend(model)
            weights, trained, state, forward, peak = _measured(model, run)
    except (RuntimeError, ValueError, AttributeError, LookupError, TypeError, OSError, ArithmeticError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnsupportedError(f"{config} cannot be traced ({type(error).__name__}: {reason})") from error
    finally:
        torch.clear_autocast_cache()
    tokens = run.sequences * run.length
    if run.fused_loss and run.examples != "ranked":
        peak = max(peak, forward + LOGITS_FUSED * tokens * dimensions.vocab_size)
    static = weights + state
    if run.examples == "rollouts":
        peak = max(peak, static + estimate_generation_memory(dimensions, run))
    reference = weights if adapter is Adapter.FULL and run.reference else 0.0
    parts = {"weights": weights - (0.0 if adapter is Adapter.FULL else trained), "optimizer": state}
    if adapter is not Adapter.FULL:
        parts["adapter"] = trained
    parts |= {"reference model": reference, "gradients, activations, temporaries": peak - static}
    components = {name: value / GIB for name, value in parts.items() if value}
    what = f"{adapter}, {run.sequences} x {run.length} tokens, the model's own code on tensors without data"
    return memory_of_allocated(sum(components.values()), components, "traced", what)


def _model(config: Path, adapter: Adapter, run: TrainingShape) -> Any:
    import torch
    from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    whole = adapter is Adapter.FULL and run.full_weights == "fp32"
    dtype = torch.float32 if whole or (adapter is not Adapter.FULL and run.base_weights == "fp32") else torch.bfloat16
    described = AutoConfig.from_pretrained(config, local_files_only=True, trust_remote_code=False)
    attention = "eager" if run.attention == "eager" else "sdpa"
    model: Any = AutoModelForCausalLM.from_config(described, dtype=dtype, attn_implementation=attention)
    if run.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if adapter is Adapter.QLORA:
        _quantise(model, NF4_DOUBLE_BYTES if run.double_quantisation else NF4_BYTES, dtype)
    model.train()
    match adapter:
        case Adapter.FULL:
            return model
        case Adapter.PREFIX:
            return get_peft_model(
                model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=run.virtual_tokens)
            )
        case Adapter.PROMPT:
            return get_peft_model(
                model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=run.virtual_tokens)
            )
    every = run.lora_targets == ALL_LINEAR
    lora = LoraConfig(
        r=run.lora_rank,
        lora_alpha=2 * run.lora_rank,
        lora_dropout=run.lora_dropout,
        target_modules="all-linear" if every else [f"{name}_proj" for name in run.lora_targets],
        use_dora=run.dora,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _pretend(model: Any) -> None:
    """Move the model from the meta device to tensors that claim to be on the CPU, for autocast and fused attention.
    They still hold nothing."""
    import torch

    made: dict[int, Any] = {}  # what is tied stays tied
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    kind = isinstance(tensor, torch.nn.Parameter)
                    made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if kind else empty
                table[name] = made[id(tensor)]


def _quantise(model: Any, bytes_per_weight: float, compute: Any) -> None:
    """Replace every linear layer but the head by one whose weights, and what it keeps for its backward pass, take as
    many bytes as bitsandbytes' 4-bit layer."""
    import torch

    class Multiply(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, inputs: Any, packed: Any, rows: int) -> Any:
            ctx.save_for_backward(packed)
            ctx.rows = rows
            weight = inputs.new_empty(rows, inputs.shape[-1], dtype=compute)
            return inputs.to(compute) @ weight.t()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            (gradient,) = gradients
            (packed,) = ctx.saved_tensors
            columns = round(packed.numel() / bytes_per_weight / ctx.rows)
            return gradient @ gradient.new_empty(ctx.rows, columns), None, None

    class FourBit(torch.nn.Linear):
        def forward(self, inputs: Any) -> Any:
            return Multiply.apply(inputs, self.weight, self.out_features)  # type: ignore[no-untyped-call]

    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Linear and child is not head:
                made = FourBit(child.in_features, child.out_features, bias=False)
                size = round(bytes_per_weight * child.in_features * child.out_features)
                made.weight = torch.nn.Parameter(torch.empty(size, dtype=torch.uint8), requires_grad=False)
                setattr(module, name, made)


def _measured(model: Any, run: TrainingShape) -> tuple[float, float, float, float, float]:
    """Measure the bytes of all weights, of the trained ones and of the optimizer's state, and the most in memory at the
    end of the forward pass and during a step."""
    import torch

    storages = {parameter.untyped_storage()._cdata: parameter for parameter in model.parameters()}
    weights = float(sum(parameter.untyped_storage().nbytes() for parameter in storages.values()))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=run.optimizer == "adamw_fused", foreach=run.optimizer == "adamw")
    ids = torch.zeros(run.sequences, run.length, dtype=torch.long)
    tracker = memory_tracker_class()()
    tracker.known(*model.parameters(), *model.buffers())
    forward = 0.0
    with tracker:
        for _ in range(2):  # the optimizer's state is there from the second step on
            tracker.peak = tracker.live
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.autocast):
                loss = _loss(model, ids, run)
            forward = tracker.live
            loss.backward()
            del loss
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    state = float(sum(value.untyped_storage().nbytes() for row in optimizer.state.values() for value in row.values()))
    bytes_trained = float(sum(parameter.untyped_storage().nbytes() for parameter in trained))
    return weights, bytes_trained, state, weights + forward, weights + tracker.peak


def _loss(model: Any, ids: Any, run: TrainingShape) -> Any:
    if run.fused_loss or run.examples == "ranked":
        # One position's logits stand for TRL's tiles, which the caller adds.
        return model(input_ids=ids, use_cache=False, logits_to_keep=1).logits.float().sum()
    return model(input_ids=ids, labels=ids, use_cache=False).loss


def memory_tracker_class() -> type[Any]:
    """Return a class that counts the bytes of live storages; made on demand, since torch is imported on demand."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """`live` bytes beyond the known, and their `peak`."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.live = self.peak = 0
            self.seen: set[int] = set()

        def known(self, *tensors: Any) -> None:
            self.seen |= {tensor.untyped_storage()._cdata for tensor in tensors}

        def __torch_dispatch__(
            self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(made):
                if isinstance(leaf, Tensor):
                    self._count(leaf.untyped_storage())
            return made

        def _count(self, storage: Any) -> None:
            key, size = storage._cdata, storage.nbytes()
            if key in self.seen:
                return
            self.seen.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

        def _free(self, key: int, size: int) -> None:
            self.seen.discard(key)
            self.live -= size

    return Tracker
