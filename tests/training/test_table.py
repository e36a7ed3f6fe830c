from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as pl
import torch

from densefield.checks import InputError
from densefield.training import MetricsTable


def end_epoch(table: MetricsTable, epoch: int, *, validated: bool = True, **metrics: float) -> None:
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(_should_check_val_epoch=lambda: validated))
    found = {name.replace("_", "/", 1): torch.tensor(value) for name, value in metrics.items()}
    trainer = SimpleNamespace(
        is_global_zero=True, current_epoch=epoch, global_step=10 * (epoch + 1), callback_metrics=found, fit_loop=loop
    )
    table.on_train_epoch_end(cast(pl.Trainer, trainer), cast(pl.LightningModule, None))


def test_a_row_an_epoch_without_stale_validation(tmp_path: Path) -> None:
    table = MetricsTable(tmp_path / "metrics.csv")
    end_epoch(table, 0, train_loss=2.0, validated=False)
    end_epoch(table, 1, train_loss=1.5, val_iou=0.25)
    end_epoch(table, 2, train_loss=1.25, val_iou=0.25, validated=False)
    text = (tmp_path / "metrics.csv").read_text()
    assert text == "epoch,step,train/loss,val/iou\n1,10,2,\n2,20,1.5,0.25\n3,30,1.25,\n"


def test_a_resumed_run_carries_the_table_on_and_replaces_what_it_repeats(tmp_path: Path) -> None:
    first = MetricsTable(tmp_path / "metrics.csv")
    for epoch in range(3):
        end_epoch(first, epoch, train_loss=9.0 - epoch)
    resumed = MetricsTable(tmp_path / "metrics.csv")
    end_epoch(resumed, 1, train_loss=4.0)
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,train/loss\n1,10,9\n2,20,4\n"


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"epoch,step\n\xff\xfe,3\n")
    with pytest.raises(InputError, match=r"metrics\.csv: no table of metrics"):
        end_epoch(MetricsTable(tmp_path / "metrics.csv"), 0, train_loss=2.0)
