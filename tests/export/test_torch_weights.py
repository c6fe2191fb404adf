"""Which files load as weights, and what is said of those that do not."""

import dataclasses
from pathlib import Path

import pytest
import torch

from cluster.model import coco
from cluster.model.network import Yolact
from cluster.model.weights import load_weights
from job.errors import UsageError
from job.model import YOLACT_RESNET50, Architecture

STATE = Path(__file__).parent / "data" / "yolact_resnet50_state_dict.tsv"

SMALL = Architecture(
    input_size=64,
    backbone="resnet-light",
    num_classes=3,
    num_prototypes=4,
    fpn_channels=8,
    aspect_ratios=(1.0, 0.5, 2.0),
    scales=(8.0, 16.0, 24.0, 32.0, 48.0),
)


@pytest.fixture(scope="module")
def published_state():
    """What the published file holds, by its own description; the values are random."""
    state = {}
    generator = torch.Generator().manual_seed(0)
    for line in STATE.read_text().splitlines()[1:]:
        key, shape, kind = line.split("\t")
        if not key.endswith("num_batches_tracked"):
            sizes = [int(n) for n in shape.split("x")]
            state[key] = torch.rand(sizes, generator=generator, dtype=getattr(torch, kind))
    return state


def checkpoint(path, **changes):
    network = Yolact(SMALL)
    stored = {
        "architecture": dataclasses.asdict(SMALL),
        "class_names": ["a", "b", "c"],
        "state_dict": network.state_dict(),
        "iteration": 5,
    }
    torch.save(stored | changes, path)
    return network


def test_the_network_has_the_published_names_shapes_and_types():
    expected = [tuple(line.split("\t")) for line in STATE.read_text().splitlines()[1:]]
    found = [
        (
            key,
            "x".join(str(n) for n in value.shape) or "scalar",
            str(value.dtype).removeprefix("torch."),
        )
        for key, value in Yolact(YOLACT_RESNET50).state_dict().items()
    ]
    assert len(expected) == 354
    assert sorted(found) == sorted(expected)


def test_a_file_like_the_published_one_loads(tmp_path, published_state):
    path = tmp_path / "yolact_resnet50_54_800000.pth"
    redundant = {
        "fpn.downsample_layers.2.weight": torch.zeros(256, 256, 3, 3),
        "fpn.downsample_layers.2.bias": torch.zeros(256),
        "backbone.layer1.0.conv1.weight": torch.zeros(1),
    }
    torch.save(published_state | redundant, path, _use_new_zipfile_serialization=False)
    loaded = load_weights(str(path))
    state = loaded.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in published_state.items())
    assert not loaded.network.training
    assert not loaded.published
    assert loaded.class_names == coco.NAMES
    assert loaded.category_ids[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13)
    assert loaded.category_ids[-1] == 90
    assert len(loaded.category_ids) == len(set(loaded.class_names)) == 80


def test_a_file_that_differs_from_the_published_one_is_refused(tmp_path, published_state):
    path = tmp_path / "broken.pth"
    del published_state["proto_net.10.bias"]
    published_state["proto_net.11.bias"] = torch.zeros(32)
    published_state["semantic_seg_conv.bias"] = torch.zeros(20)
    torch.save(published_state, path)
    with pytest.raises(UsageError) as raised:
        load_weights(str(path))
    assert str(raised.value) == (
        f"{path} does not fit resnet50 at 550 px: it lacks proto_net.10.bias, "
        "has unknown proto_net.11.bias, has another shape of semantic_seg_conv.bias"
    )


def test_a_checkpoint_carries_its_architecture_and_classes(tmp_path):
    network = checkpoint(tmp_path / "checkpoint.pt")
    loaded = load_weights(str(tmp_path / "checkpoint.pt"))
    assert loaded.architecture == SMALL
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.category_ids == (1, 2, 3)
    assert len(loaded.sha256) == 64
    state = loaded.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": {"input_size": 64}}, "is an incomplete checkpoint"),
        ({"class_names": ["a", "b"]}, "2 class names for 3 classes"),
        ({"state_dict": {}}, "it lacks backbone.conv1.weight, backbone.bn1.weight"),
        ({"state_dict": None}, "holds no state_dict"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, changes, said):
    checkpoint(tmp_path / "checkpoint.pt", **changes)
    with pytest.raises(UsageError, match=said):
        load_weights(str(tmp_path / "checkpoint.pt"))


def test_what_is_no_weights_file_is_refused(tmp_path):
    (tmp_path / "notes.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for source, said in {
        str(tmp_path / "absent.pth"): "No such file or directory: give a file or seeded:N",
        str(tmp_path): "Is a directory",
        str(tmp_path / "notes.pth"): "no file of PyTorch weights",
        str(tmp_path / "list.pth"): "holds no state_dict",
        "seeded:": "give a whole number from 0",
        "seeded:-1": "give a whole number from 0",
        "seeded:x": "give a whole number from 0",
    }.items():
        with pytest.raises(UsageError, match=said) as raised:
            load_weights(source)
        assert "\n" not in str(raised.value)


def test_a_file_cannot_run_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(UsageError, match="no file of PyTorch weights"):
        load_weights(str(tmp_path / "harmful.pth"))
    assert not (tmp_path / "harm").exists()
