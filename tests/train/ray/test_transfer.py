"""What travels to a Ray cluster and back arrives as it was, however large."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tuneport.errors import ConfigError, TrainingError
from tuneport.train.ray import transfer as parcels
from tuneport.train.ray.transfer import (
    pack_folder_for_ray_training,
    receive_folder_over_ray,
    send_folder_over_ray,
    unpack_on_ray_node,
)


@pytest.fixture
def small_pieces(monkeypatch: Any) -> None:
    monkeypatch.setattr(parcels, "PIECE_BYTES", 1000)


def test_files_are_cut_into_packages_and_whole_again(tmp_path: Path, monkeypatch: Any, small_pieces: None) -> None:
    sources = {f"data/{size}": tmp_path / f"{size}.bin" for size in (0, 1, 999, 1000, 1001, 3500)}
    for path in sources.values():
        path.write_bytes(os.urandom(int(path.stem)))
    packed = pack_folder_for_ray_training(sources, tmp_path / "parts")

    parts = list((tmp_path / "parts").iterdir())
    assert all(sum(f.stat().st_size for f in part.rglob("*") if f.is_file()) <= 1000 for part in parts)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "parts")])  # Ray puts each package there
    for row in packed:
        arrived = unpack_on_ray_node(row, tmp_path / "arrived")
        assert arrived.read_bytes() == sources[row.name].read_bytes()


def test_a_package_that_did_not_arrive_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (row,) = pack_folder_for_ray_training({"a": tmp_path / "a"}, tmp_path / "parts")
    with pytest.raises(TrainingError, match="did not arrive"):
        unpack_on_ray_node(row.model_copy(update={"pieces": ["tuneport_part_9999"]}), tmp_path)


def test_what_is_too_much_to_travel_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(parcels, "TRAVELLING_BYTES", 10)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 11)
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        pack_folder_for_ray_training({"model": tmp_path / "model.safetensors"}, tmp_path / "parts")


def test_a_folder_comes_back_in_pieces_or_not_at_all(tmp_path: Path, small_pieces: None) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(os.urandom(5000))
    (folder / "inner" / "state.json").write_text("{}")
    sent: dict[int, bytes] = {}
    about = send_folder_over_ray(folder, sent.__setitem__)

    assert about["pieces"] == len(sent) > 5 and all(len(piece) <= 1000 for piece in sent.values())
    receive_folder_over_ray(about, iter(sent.values()), tmp_path / "arrived")
    assert (tmp_path / "arrived" / "weights").read_bytes() == (folder / "weights").read_bytes()
    assert (tmp_path / "arrived" / "inner" / "state.json").read_text() == "{}"
    with pytest.raises(TrainingError, match="damaged"):
        receive_folder_over_ray(about, iter([*list(sent.values())[:-1], b"other"]), tmp_path / "again")
