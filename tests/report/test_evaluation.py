"""The evaluation report: parsed as HTML, compared with the confusion matrix, and seen in a browser where one is."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from densefield import draw
from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.metrics import ConfusionMatrix
from densefield.report import Evaluated, Example, write_evaluation

CLASSES = ClassList(
    names=("sky", "<script>alert(1)</script>", 'a "car" & more'), colors=((9, 9, 90), (9, 90, 9), (90, 9, 9))
)
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags nest; keeps tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def example(name, iou, seed=0, size=(30, 40)):
    rng = np.random.default_rng(seed)
    target = np.where(rng.random(size) < 0.1, 255, rng.integers(0, 3, size))
    return Example(name, rng.integers(0, 256, (*size, 3), dtype=np.uint8), target, rng.integers(0, 3, size), iou)


@pytest.fixture
def confusion():
    confusion = ConfusionMatrix(3)
    confusion.counts += torch.tensor([[500, 20, 0], [30, 400, 50], [0, 0, 0]])
    return confusion


def write(path, confusion, per_end=4, **changes):
    arguments = {
        "title": "run <1>",
        "confusion": confusion,
        "classes": CLASSES,
        "examples": [example(f"image {i} <i>", i / 20, seed=i) for i in range(12)],
        "curve": {"Loss": {"train": [(0, 2.0), (1, 1.0)]}},
        "trimap": {"network": [(1, 0.4), (2, 0.5)]},
        "facts": [("images", "<12>")],
    } | changes
    write_evaluation(path, Evaluated(**arguments), per_end=per_end)
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_fetches_nothing(tmp_path, confusion):
    html = write(tmp_path / "report.html", confusion)
    page = Page(html)
    assert not {"script", "link", "iframe", "i<"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert value.startswith("data:image/")
    assert not re.search(r"https?://|@import|url\(", html)
    # Names come through as the text they are.
    text = "".join(page.text)
    for name in (*CLASSES.names, "run <1>", "<12>", "image 3 <i>"):
        assert name in text


def test_figures_are_those_of_the_confusion_matrix(tmp_path, confusion):
    html = write(tmp_path / "report.html", confusion)
    shown = re.findall(r"<dd>([0-9.–]+)<small>", html)
    wanted = [
        confusion.mean_iou(),
        confusion.pixel_accuracy(),
        confusion.mean_accuracy(),
        confusion.frequency_weighted_iou(),
    ]
    assert [float(value) for value in shown] == pytest.approx([100 * value for value in wanted], abs=0.05)
    bars = re.findall(r'class="bar"><b>([0-9.–]+)</b>', html)
    assert bars[:3] == [f"{100 * 500 / 550:.1f}", f"{100 * 500 / 520:.1f}", f"{100 * 520 / 1000:.1f}"]
    # The third class is taken for, never there: IoU 0, no accuracy, no share.
    assert bars[6:] == ["0.0", "–", "0.0"]


def test_best_and_worst_are_shown_once_each(tmp_path, confusion):
    def shown(html, heading):
        section = re.search(f"<h2>{heading}</h2>(.*?)</section>", html, re.S)
        return re.findall(r"<h3>([^<]*)<span>", section.group(1)) if section else []

    html = write(
        tmp_path / "a.html", confusion, examples=[example(str(i), i / 20, i) for i in (5, 3, 8, 1, 9, 2)], per_end=2
    )
    assert shown(html, "Best images") == ["9", "8"]
    assert shown(html, "Worst images") == ["1", "2"]
    html = write(
        tmp_path / "b.html", confusion, examples=[example("x", 0.1), example("y", math.nan), example("z", 0.2)]
    )
    assert shown(html, "Best images") == ["z"]
    assert shown(html, "Worst images") == ["x"]
    html = write(tmp_path / "c.html", confusion, examples=[])
    assert "images</h2>" not in html


def test_errors_picture_is_the_error_map(tmp_path, confusion):
    shown = example("x", 0.5)
    html = write(tmp_path / "r.html", confusion, examples=[shown])
    data = re.search(r'src="data:image/png;base64,([^"]+)" alt="Errors of x"', html).group(1)
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    drawn = drawn[::8, ::8]  # a picture of 30 × 40 is shown eight times as large
    ignored = shown.target == 255
    np.testing.assert_array_equal((drawn == draw.WRONG).all(-1), (shown.labels != shown.target) & ~ignored)
    np.testing.assert_array_equal((drawn == draw.UNCOUNTED).all(-1), ignored)


def test_a_refined_model_is_shown_beside_its_network_alone(tmp_path, confusion):
    alone = ConfusionMatrix(3)
    alone.counts += torch.tensor([[400, 120, 0], [130, 300, 50], [0, 0, 0]])
    shown = example("x", 0.5)
    shown = shown._replace(alone=(shown.labels + 1) % 3, iou_alone=0.25)
    html = write(tmp_path / "r.html", confusion, alone=alone, examples=[shown])
    text = "".join(Page(html).text)
    gain = 100 * (confusion.mean_iou() - alone.mean_iou())
    assert f"network alone {100 * alone.mean_iou():.1f}, {gain:+.1f}" in text
    assert "IoU alone 25.0 %, refined 50.0 %" in text
    bars = re.findall(r'class="bar"><b>([0-9.–]+)</b>', html)
    assert bars[:2] == [f"{100 * 400 / 650:.1f}", f"{100 * 500 / 550:.1f}"]
    captions = re.findall("<figcaption>([^<]*)</figcaption>", html)
    assert captions == ["Image", "Network alone", "Refined", "Target", "Errors of the network alone", "Errors, refined"]
    for caption, labels in (("Errors of the network alone", shown.alone), ("Errors, refined", shown.labels)):
        data = re.search(rf'src="data:image/png;base64,([^"]+)" alt="{caption} of x"', html).group(1)
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))[::8, ::8]
        np.testing.assert_array_equal(drawn, draw.error_map(labels, shown.target))


def test_many_classes_stay_light(tmp_path):
    names = tuple(f"class {i}" for i in range(150))
    classes = ClassList(names, tuple((i, 255 - i, 7) for i in range(150)))
    confusion = ConfusionMatrix(150)
    confusion.update(*np.random.default_rng(0).integers(0, 150, (2, 40_000)))
    html = write(tmp_path / "r.html", confusion, classes=classes, examples=[])
    assert "The grid shows the 60 most frequent of 150 classes." in html
    assert len(html) < 3_000_000


def test_nothing_is_written_when_the_parts_do_not_fit(tmp_path, confusion):
    path = tmp_path / "report.html"
    path.write_text("the last one")
    broken = example("odd", 0.5)._replace(labels=np.zeros((3, 3), int))
    with pytest.raises(InputError, match=r"examples: odd has an image of \(30, 40\)"):
        write(path, confusion, examples=[broken])
    with pytest.raises(InputError, match="classes: received 3 names, wanted 4"):
        write(path, ConfusionMatrix(4))
    assert path.read_text() == "the last one"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser")
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser(tmp_path, confusion, dark):
    report, shot = tmp_path / "report.html", tmp_path / "shot.png"
    write(report, confusion)
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=500,4200"
    command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    command += ["--force-dark-mode"] if dark else []
    subprocess.run([*command, report.as_uri()], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    ground = (0x11, 0x13, 0x17) if dark else (0xF6, 0xF7, 0xF9)
    # Nothing is wider than a phone: both edges show the ground from top to bottom.
    assert (pixels[:, :8] == ground).all()
    assert (pixels[:, -8:] == ground).all()
    # The pictures of errors are there, in their colors.
    for color in (draw.WRONG, draw.UNCOUNTED):
        assert (pixels == color).all(-1).sum() > 1000
