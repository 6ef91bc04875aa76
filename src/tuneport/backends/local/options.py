"""`[backends.local.options]` in `tuneport.toml`: where runs run, and who answers for local models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tuneport.devices import NAMES_IN_WORDS, check_device_names
from tuneport.training_options import SlurmOptions
from tuneport.validation import validate_toml_table

if TYPE_CHECKING:
    from tuneport.settings import Settings


class LocalBackendOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    startup_seconds: float = Field(default=600.0, gt=0, description="time to load a model for chat")
    silence_seconds: float = Field(default=600.0, gt=0, description="longest silence within an answer")
    engine: Literal["auto", "tuneport", "vllm"] = Field(default="auto", description="auto: vLLM if it is installed")
    device_map: str = Field(default="auto", description="auto, balanced, sequential, or cpu, mps, cuda, cuda:N")
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(default=None, description="None: what is fastest here")
    load_in_4bit: bool = Field(default=False, description="the base model, to answer prompts with less memory")
    serve_url: str | None = Field(
        default=None, repr=False, description="an OpenAI-compatible server that answers instead"
    )
    serve_api_key_env: str | None = Field(default=None, pattern=r"^[A-Z_][A-Z0-9_]*$", description="its key's variable")
    devices: tuple[str, ...] | None = Field(default=None, description=f"devices that runs may use: {NAMES_IN_WORDS}")
    executor: Literal["process", "slurm", "ray"] = Field(
        default="process", description="the executor of runs that choose none"
    )
    slurm: SlurmOptions = SlurmOptions()

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None:
            check_device_names(names)
        return names

    @classmethod
    def from_settings(cls, settings: Settings, name: str) -> LocalBackendOptions:
        """Return the table of the backend called `name`. Raises ConfigError that names a wrong line."""
        table = settings.project.backends.get(name)
        return validate_toml_table(cls, {} if table is None else table.options, f"backends.{name}.options")
