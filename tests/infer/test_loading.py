"""What an engine is loaded from, where, and what is wrong with a folder that it cannot be."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.infer.answering import answer
from tests.support.tiny import tiny_adapter, tiny_model, tiny_tokenizer
from tuneport.base_models import BaseModelDevice
from tuneport.data.rows.records import Message
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.infer.batch import prefill_prompts
from tuneport.infer.engine import InferenceEngine
from tuneport.infer.incremental_detokenizer import IncrementalDetokenizer
from tuneport.infer.model.placement import (
    AvailableHardware,
    InferenceModelPlacement,
    loaded_inference_weight_bytes,
    place_inference_model,
)
from tuneport.infer.sampling import SamplingOptions

CPU, MPS, CUDA = BaseModelDevice("cpu", "bf16"), BaseModelDevice("mps", "fp32"), BaseModelDevice("cuda", "bf16")
GIB = 2**30
ONE = AvailableHardware(CUDA, None, (24 * GIB,), True)
TWO = AvailableHardware(CUDA, None, (20 * GIB, 24 * GIB), True)


@pytest.mark.parametrize(
    ("machine", "gib", "options", "expected"),
    [
        (AvailableHardware(CPU), 500, {}, {"": "cpu"}),
        (AvailableHardware(MPS), 500, {}, {"": "mps"}),
        (AvailableHardware(MPS), 1, {"device_map": "cpu"}, {"": "cpu"}),
        (ONE, 15, {}, {"": "cuda:0"}),
        (ONE, 15, {"device_map": "balanced"}, {"": "cuda:0"}),
        (ONE, 60, {"load_in_4bit": True}, {"": "cuda:0"}),
        (TWO, 15, {}, {"": "cuda:1"}),  # where there is most room
        (TWO, 30, {}, "auto"),
        (TWO, 15, {"device_map": "balanced"}, "balanced"),
        (TWO, 15, {"device_map": "cuda:0"}, {"": "cuda:0"}),
        (TWO, 15, {"device_map": "cuda"}, {"": "cuda"}),
        (TWO, 15, {"device_map": "cpu"}, {"": "cpu"}),
    ],
)
def test_where_a_model_is_loaded(machine: AvailableHardware, gib: int, options: dict[str, Any], expected: Any) -> None:
    placement = place_inference_model(machine, gib * GIB, **options)
    assert placement.device_map == expected
    assert placement.load_in_4bit == bool(options.get("load_in_4bit"))
    if "cuda" in str(expected) or placement.map:
        assert placement.device.precision == "bf16"


@pytest.mark.parametrize(
    ("machine", "gib", "options", "says"),
    [
        (ONE, 30, {}, "takes 30.0 GiB and the 1 visible GPUs have 24.0 GiB free, .*set load_in_4bit"),
        (TWO, 60, {}, "takes 60.0 GiB and the 2 visible GPUs have 44.0 GiB free"),
        (TWO, 200, {"load_in_4bit": True}, "choose a smaller model"),
        (AvailableHardware(CPU), 1, {"load_in_4bit": True}, "needs bitsandbytes: .*pip install"),
        (AvailableHardware(CPU), 1, {"device_map": "cuda"}, "cuda is not on this machine"),
        (TWO, 1, {"device_map": "cuda:2"}, "cuda:2 is not on this machine .*2 CUDA GPUs"),
        (TWO, 1, {"device_map": "cuda:x"}, "is not on this machine"),
        (TWO, 1, {"device_map": "gpu"}, "name auto, balanced"),
        (AvailableHardware(MPS), 1, {"device_map": "balanced"}, "there is none"),
    ],
)
def test_a_place_that_is_not_there_is_told(
    machine: AvailableHardware, gib: int, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        place_inference_model(machine, gib * GIB, **options)


def test_the_size_of_a_model_is_that_of_its_numbers(model: Path, tmp_path: Path) -> None:
    engine = InferenceEngine(model, CPU)
    parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    assert loaded_inference_weight_bytes(model, CPU) == 2 * parameters
    assert loaded_inference_weight_bytes(model, BaseModelDevice("cpu", "fp32")) == 4 * parameters
    for content in (b"", b"\xff" * 100):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ConfigError, match="cannot be read.*fetch the model again"):
            loaded_inference_weight_bytes(tmp_path, CPU)


def test_a_base_in_four_bits_answers_with_its_adapter(model: Path, adapter: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="4-bit bases need bitsandbytes")
    engine = InferenceEngine(model, InferenceModelPlacement(BaseModelDevice("cpu", "fp32"), load_in_4bit=True))
    assert sum(type(module).__name__ == "Linear4bit" for module in engine.model.modules()) == 14
    engine.load_adapter("tuned", adapter)
    assert engine.can_mix_adapters([None, "tuned"])
    prompt = engine.renderer.prompt_ids([Message("user", "hello")])
    base, tuned = (prefill_prompts(engine, [prompt], name)[0][0] for name in (None, "tuned"))
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, quantization_config=config)
    by_peft = PeftModel.from_pretrained(plain, str(adapter)).eval()
    with torch.inference_mode():
        expected = by_peft(torch.tensor([prompt])).logits[0, -1]
    assert torch.allclose(tuned, expected, atol=1e-3) and (tuned - base).abs().max() > 0.01


def refuses(engine: InferenceEngine, text: str = "hello") -> TuneportError:
    with pytest.raises(TuneportError) as caught:
        prompt = engine.renderer.prompt_ids([Message("user", text)])
        list(answer(engine, [prompt], SamplingOptions(max_tokens=1)))
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_folder_without_a_tokenizer_is_told(model: Path, tmp_path: Path) -> None:
    for path in (model / "config.json", model / "model.safetensors"):
        shutil.copy(path, tmp_path)
    with pytest.raises(ConfigError, match="has no tokenizer; copy"):
        InferenceEngine(tmp_path, CPU)


def test_a_tokenizer_without_a_template_is_told(tmp_path: Path) -> None:
    error = refuses(InferenceEngine(tiny_model(tmp_path, template=None), CPU))
    assert isinstance(error, UnsupportedError) and "has no chat template" in str(error)


def test_the_tokenizer_of_another_model_is_told(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=40, **size)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert re.search(r"writes token \d+ and the model knows 40: ", str(refuses(InferenceEngine(tmp_path, CPU))))


@pytest.mark.parametrize("first", [True, False])
def test_an_adapter_that_does_not_fit_leaves_the_model_as_it_was(
    engine: Any, adapter: Path, tmp_path: Path, first: bool
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=259, **size)).save_pretrained(tmp_path / "other")
    wrong = tiny_adapter(tmp_path / "wrong", tmp_path / "other")
    prompt = engine.renderer.prompt_ids([Message("user", "hello")])
    if not first:
        engine.load_adapter("good", adapter)
    base, _ = prefill_prompts(engine, [prompt], None)
    for _ in range(2):
        with pytest.raises(ConfigError, match="does not fit this model: .*size mismatch for .*shape"):
            engine.load_adapter("wrong", wrong)
    with pytest.raises(ConfigError, match="no adapter wrong is loaded"):
        list(answer(engine, [prompt], SamplingOptions(), adapter="wrong"))
    assert torch.equal(prefill_prompts(engine, [prompt], None)[0], base)
    engine.load_adapter("good", adapter)
    good, _ = prefill_prompts(engine, [prompt], "good")
    assert (good - base).abs().max() > 0.01
    fresh = InferenceEngine(Path(engine.tokenizer.name_or_path), BaseModelDevice("cpu", "fp32"))
    fresh.load_adapter("good", adapter)
    assert torch.equal(good, prefill_prompts(fresh, [prompt], "good")[0])


@pytest.mark.parametrize("config", ["", "[]", '{"peft_type": "NEW"}', '{"peft_type": "PREFIX_TUNING"}'])
def test_a_damaged_adapter_is_told(engine: Any, adapter: Path, tmp_path: Path, config: str) -> None:
    shutil.copytree(adapter, tmp_path / "damaged")
    (tmp_path / "damaged" / "adapter_config.json").write_text(config)
    with pytest.raises(ConfigError) as caught:
        engine.load_adapter("damaged", tmp_path / "damaged")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def metaspace_tokenizer() -> Any:
    """As Llama 2's and Mistral's: a word's space belongs to its first token, and a text's first space vanishes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["▁the", "▁cat", "s", "▁", "!", "<unk>", "\n", "▁the▁"]
    tokenizer = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("kind", ["bytes", "metaspace"])
def test_text_that_grows_by_tokens_is_the_text_of_all_of_them(kind: str) -> None:
    if kind == "bytes":
        tokenizer = tiny_tokenizer()
        tokens = tokenizer("Grüße 👩‍🚀 an  alle!\n\n¿Qué? " + "🎉" * 3, add_special_tokens=False)["input_ids"]
        tokens += [tokenizer.convert_tokens_to_ids("<|pad|>"), *tokens[1:4]]  # one shown as nothing, half a character
    else:
        tokenizer, tokens = metaspace_tokenizer(), [0, 1, 2, 4, 6, 0, 3, 1, 3, 3, 0, 7, 2, 1]
    whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    growing, pieces = IncrementalDetokenizer(tokenizer, ()), []
    for token in tokens:
        growing.add_token(token)
        pieces.append(growing.take_new_text(final=False))
        assert "\ufffd" not in pieces[-1]
    growing.finish()
    pieces.append(growing.take_new_text(final=True))
    assert growing.text == "".join(pieces) == whole


def test_nothing_of_a_stop_string_is_shown() -> None:
    tokenizer = tiny_tokenizer()
    growing, shown = IncrementalDetokenizer(tokenizer, ("END", "\n\n")), ""
    for token in tokenizer("one EN two\n ENDING", add_special_tokens=False)["input_ids"]:
        growing.add_token(token)
        shown += growing.take_new_text(final=growing.stopped)
        assert "END" not in shown
        if growing.stopped:
            break
    assert growing.stopped and shown == growing.text == "one EN two\n "
