"""What stands between a file and its numbers: one line for what cannot be read, and nothing beside it."""

import logging

import numpy as np
import pytest
import tifffile

from densefield.checks import InputError
from densefield.images import read_image


def test_a_damaged_file_is_told_by_its_error_alone(tmp_path, capfd, caplog):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) - 60])
    # The first directory's second entry claims a type that does not exist.
    (tmp_path / "odd.tif").write_bytes(whole[:22] + b"\xff\xff" + whole[24:])
    for name in ("cut.tif", "odd.tif"):
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("tifffile").disabled


def test_volumes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", np.zeros((16, 16, 16, 3), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(InputError, match=r"v\.tif: holds volumes"):
        read_image(tmp_path / "v.tif")
