"""The weights on this machine that answer for a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.validation import read_json_object

if TYPE_CHECKING:
    from tuneport.base_models import BaseWeights


@dataclass(frozen=True)
class ServedWeights:
    """A base model's folder, and the folder of the adapter, if there is one. `key` tells base models apart."""

    key: str
    base: Path
    adapter: Path | None = None
    label: str = ""

    @classmethod
    def from_base(cls, base: BaseWeights, adapter: Path | None = None, label: str = "") -> ServedWeights:
        # A bundled model moves to another folder when it is first converted, and stays the same model.
        key = str(base.folder) if base.source == "folder" else base.name
        return cls(key, base.folder, adapter, label)

    @property
    def name(self) -> str:
        """Return the name of the adapter as it is now: another one in the same folder has another name."""
        assert self.adapter is not None
        return f"{self.label}-{self.adapter.stat().st_mtime_ns}"

    @cached_property
    def _config(self) -> dict[str, Any]:
        assert self.adapter is not None
        try:
            return read_json_object(self.adapter / "adapter_config.json")
        except (OSError, ValueError):
            return {}  # its loader says what is wrong

    @property
    def is_plain_lora(self) -> bool:
        """Return whether there is no adapter, or one that is only the product of two matrices."""
        if self.adapter is None:
            return True
        special = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices")
        return self._config.get("peft_type") == "LORA" and not any(self._config.get(name) for name in special)

    @property
    def lora_rank(self) -> int:
        if self.adapter is None:
            return 0
        ranks = [self._config.get("r"), *(self._config.get("rank_pattern") or {}).values()]
        return max((rank for rank in ranks if isinstance(rank, int)), default=0)
