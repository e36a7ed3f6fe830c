from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from densefield.checks import InputError
from densefield.training import AtomicCheckpointIO, KeepBest


def test_a_checkpoint_comes_back_as_written(tmp_path: Path) -> None:
    io = AtomicCheckpointIO()
    io.save_checkpoint({"weights": torch.arange(3), "epoch": 4}, tmp_path / "a" / "last.ckpt")
    loaded = io.load_checkpoint(tmp_path / "a" / "last.ckpt")
    assert loaded["epoch"] == 4
    assert torch.equal(loaded["weights"], torch.arange(3))
    io.remove_checkpoint(tmp_path / "a" / "last.ckpt")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"epoch": 1}, path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"last\.ckpt.*No space left"):
        io.save_checkpoint({"epoch": 2}, path)
    assert io.load_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"x": Bomb()}, tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match=r"bad\.ckpt: not a usable checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pickled", [b"q", b"\x80\x02]q\x01u.", b"\x80\x02}X\x01\x00\x00\x00au.", b"\x80\x02K\x03."])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, pickled: bytes) -> None:
    torch.save({"epoch": 1}, tmp_path / "good.ckpt")
    with zipfile.ZipFile(tmp_path / "good.ckpt") as old, zipfile.ZipFile(tmp_path / "bad.ckpt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(InputError, match=r"bad\.ckpt: .*; delete it, and its stage starts again") as caught:
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt")
    assert "\n" not in str(caught.value)


def trainer(value: float) -> pl.Trainer:
    found = {"val/mean_iou": torch.tensor(value)}
    return cast(
        pl.Trainer,
        SimpleNamespace(
            sanity_checking=False,
            callback_metrics=found,
            is_global_zero=True,
            current_epoch=0,
            optimizers=[SimpleNamespace(param_groups=[{"lr": 1e-3}])],
            precision="bf16-mixed",
            datamodule=SimpleNamespace(round_steps=None),
        ),
    )


def test_only_a_better_value_is_kept_and_the_best_is_remembered() -> None:
    kept: list[float] = []
    callback = KeepBest("val/mean_iou", lambda value, epoch: kept.append(value), floor=0.2)
    module = cast(pl.LightningModule, nn.Linear(2, 2))
    for value in (0.1, 0.5, 0.5, 0.4, 0.75):
        callback.on_validation_end(trainer(value), module)
    assert kept == [0.5, 0.75]
    resumed = KeepBest("val/mean_iou", lambda value, epoch: kept.append(value))
    resumed.load_state_dict(callback.state_dict())
    resumed.on_validation_end(trainer(0.7), module)
    assert kept == [0.5, 0.75]
    better = KeepBest("val/mean_iou", lambda value, epoch: kept.append(value), floor=0.8)
    better.load_state_dict(callback.state_dict())
    better.on_validation_end(trainer(0.78), module)
    assert kept == [0.5, 0.75]


def test_what_is_no_number_is_never_kept() -> None:
    callback = KeepBest("val/mean_iou", lambda value, epoch: None, title="stage 1/1")
    layer = nn.Linear(2, 2)
    with pytest.raises(InputError, match="stage 1/1: val/mean_iou is undefined; wanted labelled validation pixels"):
        callback.on_validation_end(trainer(float("nan")), cast(pl.LightningModule, layer))
    nn.init.constant_(layer.bias, float("nan"))
    with pytest.raises(InputError, match=r"epoch 1: weights are NaN .*rate 1\.0e-03, precision bf16-mixed.*32-true"):
        callback.on_validation_end(trainer(0.5), cast(pl.LightningModule, layer))
