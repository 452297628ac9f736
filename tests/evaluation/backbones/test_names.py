import subprocess
import sys

import pytest

from unstir.errors import InputError
from unstir.evaluation.backbones.names import BackboneName
from unstir.evaluation.metrics import by_backbone


def test_a_name_and_a_path():
    assert str(BackboneName.parse("inception@a/b@c.pth")) == "inception@a/b@c.pth"
    assert BackboneName.parse("inception@a/b@c.pth").name == "inception"
    assert BackboneName.parse("torchvision:resnet50").path is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("incepton", "did you mean 'inception'"),
        ("torchvision:", "no backbone is called 'torchvision:'"),
        ("classifier@x", "takes no path"),
        ("clip@", "names no path"),
    ],
)
def test_wrong_names_are_told(text, message):
    with pytest.raises(InputError, match=message):
        BackboneName.parse(text)


def test_each_metric_is_read_by_its_own_backbone_or_by_the_one_asked_for():
    found = by_backbone(["fcd", "fid", "recall", "fd", "bpd"], "clip")
    assert {str(name): metrics for name, metrics in found.items()} == {
        "classifier": ["fcd"],
        "inception": ["fid"],
        "clip": ["recall", "fd"],
    }
    # By weights of the user's own, if they are of the metric's own backbone.
    found = by_backbone(["fid", "kd"], "inception@x.pth")
    assert {str(name): metrics for name, metrics in found.items()} == {"inception@x.pth": ["fid", "kd"]}
    assert [str(name) for name in by_backbone(["recall"])] == ["classifier"]
    assert [str(name) for name in by_backbone(["recall"], labelled=False)] == ["efficientnet-lite0"]


def test_names_need_no_torch():
    code = "import sys, unstir.cli.evaluate; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
