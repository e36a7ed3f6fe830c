"""Recipes: training runs as short files of objects, one for every published table row."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from densefield.checks import InputError, likely
from densefield.runs.files import read_plain, validated
from densefield.runs.overrides import laid_over, written_out
from densefield.runs.recipe import Recipe

_HOMES = {
    "sample_demo": "samples",
    "sample_demo_quick": "samples",
    "sample_fc_densenet56": "samples",
    "camvid_fc_densenet56": "camvid_fc_densenet",
    "camvid_fc_densenet67": "camvid_fc_densenet",
    "camvid_fc_densenet103": "camvid_fc_densenet",
    "camvid_classic_upsampling": "camvid_fc_densenet",
    "camvid_fc_densenet56_cpu": "camvid_fc_densenet",
    "camvid_deeplab_cpu": "camvid_deeplab",
    "camvid_deeplab_crf_cpu": "camvid_deeplab",
    "camvid_deeplab_embeddings_cpu": "camvid_deeplab",
    "sample_deeplab_crf": "sample_deeplab",
    "sample_deeplab_embeddings": "sample_deeplab",
    "em_unet": "em_unet",
    "voc_fcn32s": "fcn",
    "voc_fcn16s": "fcn",
    "voc_fcn8s": "fcn",
    "voc_fcn8s_at_once": "fcn",
    "voc_fcn32s_alexnet": "fcn",
    "voc_deeplab_7x7": "deeplab_v1",
    "voc_deeplab_4x4": "deeplab_v1",
    "voc_deeplab_4x4_rate4": "deeplab_v1",
    "voc_deeplab_largefov": "deeplab_v1",
    "voc_deeplab_v2_largefov": "deeplab_v2",
    "voc_deeplab_v2_aspp_s": "deeplab_v2",
    "voc_deeplab_v2_aspp_l": "deeplab_v2",
    "voc_deeplab_v2_resnet101": "deeplab_v2",
    "camvid_segnet": "segnet",
    "voc_deconvnet": "deconvnet",
    "voc_dilation_front_end": "dilation",
    "voc_dilation8": "dilation",
}


def recipe_names() -> tuple[str, ...]:
    """The names of the built-in recipes."""
    return tuple(_HOMES)


def find_recipe(name_or_path: str, overrides: Sequence[str] = (), say: Callable[[str], object] | None = None) -> Recipe:
    """A built-in recipe by name, or one from a YAML file, with flags such as `--stages.0.epochs 5` laid over it.

    `say` is given the line on what an older version wrote into its run and nothing read, which is left out. Raises
    `InputError` naming the recipe, the key and the likely meant key.
    """
    if name_or_path in _HOMES:
        module = importlib.import_module(f"densefield.recipes.{_HOMES[name_or_path]}")
        recipe: Recipe = getattr(module, name_or_path)
        if not overrides:
            return recipe
        plain = recipe.model_dump(mode="json", exclude_unset=True)
    else:
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            hint, known = likely(name_or_path, list(_HOMES)), ", ".join(_HOMES)
            raise InputError(f"recipe {name_or_path!r} is not known{hint} Built in are: {known}; or give a .yaml file")
        plain = written_out(read_plain(path, say), name_or_path)
    return validated(laid_over(plain, overrides, name_or_path), name_or_path)
