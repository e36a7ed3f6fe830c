"""Flags: each has its help, the same wherever it stands, and what they say arrives."""

from __future__ import annotations

import importlib
import math

import cyclopts
import pytest

from densefield.checks import InputError
from densefield.cli.app import COMMANDS, run
from densefield.cli.flags import CRF, Pixels, Preset
from densefield.images.bands import Reading
from densefield.refine import presets

SHARED = ("--bands", "--certainty", "--device", "--labels", "--preset", "--suffix", "--workers")


def flags(command: str) -> dict[str, str]:
    """The help of each flag of a command, by the flag."""
    module, _, name = COMMANDS[command][0].partition(":")
    app = cyclopts.App()
    app.default(getattr(importlib.import_module(f"densefield.cli.{module}"), name))
    arguments = app.assemble_argument_collection(parse_docstring=True)
    return {argument.name: argument.parameter.help or "" for argument in arguments if argument.show}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_flag_has_its_help(command: str) -> None:
    assert [name for name, text in flags(command).items() if not text] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_list_has_a_flag_that_empties_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run([*command.split(), "--help"])
    assert "--empty" not in capsys.readouterr().out


@pytest.mark.parametrize("flag", SHARED)
def test_a_flag_of_several_refining_commands_says_the_same_in_each(flag: str) -> None:
    commands = ("refine", "refine search", "evaluate", "predict", "affinity")
    texts = [found[flag] for found in map(flags, commands) if flag in found]
    assert len(texts) > 1
    assert len(set(texts)) == 1


@pytest.mark.parametrize("command", ["data check", "refine", "refine search"])
def test_a_command_without_a_model_says_what_counts_there(command: str) -> None:
    assert "without a model as the file says" in " ".join(flags(command)["--bands"].split())


@pytest.mark.parametrize("preset", Preset.__args__)
def test_a_preset_s_numbers_are_replaced_one_by_one(preset: Preset) -> None:
    spatial, bilateral = getattr(presets, preset.upper().replace("-", "_"))
    assert repr(CRF(preset).kernels) == repr((spatial, bilateral))
    smooth, colors = CRF(preset, beta=5.5, spatial_weight=7.5).kernels
    assert (smooth.theta_gamma, smooth.weight) == (spatial.theta_gamma, 7.5)
    assert (colors.theta_alpha, colors.theta_beta, colors.weight) == (bilateral.theta_alpha, 5.5, bilateral.weight)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma", "bilateral_weight", "spatial_weight"])
@pytest.mark.parametrize("number", [0.0, -3.0, math.nan, math.inf])
def test_a_number_without_sense_is_told_by_its_flag(name: str, number: float) -> None:
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')}: wanted a positive finite number, received"):
        _ = CRF(**{name: number}).kernels  # type: ignore[arg-type]


def test_updates_are_ten_or_what_is_said() -> None:
    assert (CRF().updates, CRF(iterations=0).updates) == (10, 0)
    with pytest.raises(InputError, match="iterations: wanted 0 or more, received -1"):
        _ = CRF(iterations=-1).updates


def test_how_pixels_are_read() -> None:
    assert Pixels("4,3,2", "0,4095").reading == Reading((4, 3, 2), (0, 4095))
