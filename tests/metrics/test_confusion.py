"""`ConfusionMatrix` against scikit-learn on random cases with absent classes and ignored pixels."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics

from densefield.checks import InputError
from densefield.metrics import ConfusionMatrix, confusion_counts
from drawing import seeded


def random_case(seed):
    """Labels and target over a random subset of the classes, some pixels ignored."""
    rng = np.random.default_rng(seeded(seed))
    num_classes = int(rng.integers(2, 9))
    shape = tuple(rng.integers(1, 14, size=3))
    in_target = rng.choice(num_classes, size=rng.integers(1, num_classes + 1), replace=False)
    in_labels = rng.choice(num_classes, size=rng.integers(1, num_classes + 1), replace=False)
    target = rng.choice(in_target, size=shape)
    labels = np.where(rng.random(shape) < 0.5, target, rng.choice(in_labels, size=shape))
    target[rng.random(shape) < 0.2] = 255
    target.flat[0] = in_target[0]
    return num_classes, labels, target


@pytest.mark.parametrize("seed", range(40))
def test_equals_scikit_learn(seed):
    num_classes, labels, target = random_case(seed)
    confusion = ConfusionMatrix(num_classes)
    confusion.update(torch.from_numpy(labels), torch.from_numpy(target))

    y_true, y_pred = target[target != 255], labels[target != 255]
    classes = list(range(num_classes))
    wanted = metrics.confusion_matrix(y_true, y_pred, labels=classes)
    np.testing.assert_array_equal(confusion.counts, wanted)
    assert confusion.pixel_accuracy() == pytest.approx(metrics.accuracy_score(y_true, y_pred))

    in_target = np.isin(classes, y_true)
    in_either = in_target | np.isin(classes, y_pred)
    iou = metrics.jaccard_score(y_true, y_pred, labels=classes, average=None, zero_division=0)
    recall = metrics.recall_score(y_true, y_pred, labels=classes, average=None, zero_division=0)
    np.testing.assert_allclose(confusion.iou_per_class(), np.where(in_either, iou, np.nan))
    np.testing.assert_allclose(confusion.accuracy_per_class(), np.where(in_target, recall, np.nan))
    assert confusion.mean_iou() == pytest.approx(iou[in_either].mean())
    assert confusion.mean_accuracy() == pytest.approx(recall[in_target].mean())
    weighted = metrics.jaccard_score(y_true, y_pred, labels=classes, average="weighted", zero_division=0)
    assert confusion.frequency_weighted_iou() == pytest.approx(weighted)
    assert confusion.frequency_per_class().sum().item() == pytest.approx(1)


def test_sum_of_parts_is_the_whole_and_not_a_mean_of_images():
    num_classes, labels, target = 4, *(np.random.default_rng(seeded(s)).integers(0, 4, (6, 9, 5)) for s in (1, 2))
    whole = ConfusionMatrix(num_classes)
    whole.update(labels, target)
    first, second = ConfusionMatrix(num_classes), ConfusionMatrix(num_classes)
    for image in range(6):
        (first if image < 2 else second).update(labels[image], target[image])
    first.merge(second)
    assert torch.equal(first.counts, whole.counts)
    assert first.mean_iou() == whole.mean_iou()


def test_empty_is_undefined_and_reset_empties():
    confusion = ConfusionMatrix(3)
    confusion.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    for figure in ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou"):
        assert math.isnan(getattr(confusion, figure)())
    confusion.update(np.zeros(4, int), np.ones(4, int))
    assert confusion.mean_iou() == 0
    confusion.reset()
    assert confusion.counts.sum() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_any_integer_type(dtype):
    target = np.array([[0, 1], [255, 2]], dtype)
    labels = np.array([[0, 2], [255, 2]], np.uint8)
    counts = confusion_counts(labels, target, 3)
    assert counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_negative_ignore_index_and_narrow_labels():
    counts = confusion_counts(torch.tensor([1, 1], dtype=torch.uint8), torch.tensor([-1, 1]), 2, ignore_index=-1)
    assert counts.tolist() == [[0, 0], [0, 1]]


def test_counts_stay_exact_beyond_float32():
    confusion = ConfusionMatrix(2)
    confusion.counts += torch.tensor([[2**40, 0], [1, 2**24 + 1]])
    wanted = (2**40 + 2**24 + 1) / (2**40 + 2**24 + 2)
    assert confusion.pixel_accuracy() == wanted != 1.0


ONE_PROCESS = """
import sys, numpy as np, torch, torch.distributed
from densefield.metrics import ConfusionMatrix
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
confusion = ConfusionMatrix(3)
confusion.update(np.array([0, rank]), np.array([2, 1]))
confusion.all_reduce()
torch.save(confusion.counts, f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_all_reduce_sums_over_processes(tmp_path):
    processes = [subprocess.Popen([sys.executable, "-c", ONE_PROCESS, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for rank in range(2):
        counts = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert counts.tolist() == [[0, 0, 0], [1, 1, 0], [2, 0, 0]]


def test_all_reduce_alone_changes_nothing():
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([0, 1]), np.array([0, 0]))
    confusion.all_reduce()
    assert confusion.counts.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "target", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"labels: wanted the target's shape \(3, 2\)"),
        (np.array([3]), np.array([0]), "labels: holds class 3 .* wanted 0 to 2"),
        (np.array([0]), np.array([3]), "target: holds class 3"),
        (np.array([-1]), np.array([0]), "labels: holds class -1"),
        (np.array([0.0]), np.array([0]), "labels: wanted an array of class indices"),
        (torch.zeros(1), torch.zeros(1, dtype=torch.long), "labels: wanted an integer tensor"),
    ],
)
def test_bad_input(labels, target, message):
    with pytest.raises(InputError, match=message):
        ConfusionMatrix(3).update(labels, target)


def test_merge_of_other_classes_is_refused():
    with pytest.raises(InputError, match="counts 4 classes, wanted 3"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))
