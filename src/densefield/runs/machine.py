"""Where a run computes, and what a person is told where it cannot."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, NamedTuple

from densefield.checks import InputError, check, one_line

if TYPE_CHECKING:  # the command line takes its flags from here, and its help must not wait for torch
    from densefield.runs.recipe import Precision


class Machine(NamedTuple):
    """Where a run computes; none of it changes what is learned, but for the batch's share on each device.

    Args:
        accelerator: auto, cpu, gpu, mps ... as Lightning names them.
        devices: How many devices a node, or a list such as 0,1.
        nodes: How many nodes.
        workers: Processes that read and augment.
        threads: CPU threads of this process.
        bar: A progress bar where the output is a terminal.
        checkpoint_minutes: At most so long between two checkpoints.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    workers: int = 2
    threads: int | None = None
    bar: bool = True
    checkpoint_minutes: float = 10.0


def check_machine(machine: Machine, precision: Precision) -> int:
    """Give the number of processes, one a device; raise `InputError` for numbers that cannot be and absent devices."""
    import torch
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from densefield.training.lightning import pl

    check(machine.workers >= 0, f"--workers: wanted 0 (none beside this process) or more, received {machine.workers}")
    check(machine.threads is None or machine.threads >= 1, f"--threads: wanted 1 or more, received {machine.threads}")
    check(machine.nodes >= 1, f"--nodes: wanted 1 or more, received {machine.nodes}")
    minutes = machine.checkpoint_minutes
    check(0 <= minutes < 1e6, f"--checkpoint-minutes: wanted 0 or more, received {minutes}")
    check(
        machine.devices not in (0, "0"),
        "--devices: wanted auto, how many (1 or more), or a list such as 0,1; received 0",
    )
    # Lightning's tips and its inventory of absent devices are noise to the person training.
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(  # asks for the devices, as the run will
                accelerator=machine.accelerator,
                devices=machine.devices,
                num_nodes=machine.nodes,
                precision=precision,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise InputError(
            f"--accelerator {machine.accelerator} --devices {machine.devices} with precision {precision}: cannot be "
            f"used ({one_line(error, 160)}); wanted what this machine has, or auto"
        ) from error
    if machine.threads:
        torch.set_num_threads(machine.threads)
    return trainer.world_size
