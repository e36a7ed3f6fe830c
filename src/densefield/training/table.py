"""The table of metrics, one row an epoch, that a resumed run carries on."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from densefield.checks import InputError
from densefield.files import atomic_write
from densefield.training.lightning import pl


class MetricsTable(pl.Callback):
    """Keeps `path` as CSV: epoch (from 1), step, then every metric logged in that epoch.

    Lightning's own CSV logger begins anew on resuming and so loses the curve's beginning. Rows from this epoch on are
    replaced: they come from a run that was killed after its last checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table with this epoch's row."""
        metrics = trainer.callback_metrics  # on every process: reading sums over them
        if not trainer.is_global_zero:
            return
        validated = trainer.fit_loop.epoch_loop._should_check_val_epoch()
        found = {
            name: f"{float(value):.6g}" for name, value in metrics.items() if validated or not name.startswith("val/")
        }
        row = {"epoch": str(trainer.current_epoch + 1), "step": str(trainer.global_step), **found}
        rows = [old for old in self._rows() if int(old["epoch"]) <= trainer.current_epoch]
        rows.append(row)
        columns = ["epoch", "step", *sorted({name for one in rows for name in one} - {"epoch", "step"})]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                return [row for row in csv.DictReader(file) if (row.get("epoch") or "").isdigit()]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"{self.path}: no table of metrics ({error}); remove it, and the curve begins anew"
            ) from error
