"""`cluster model export` and `info` as a user calls them, on a network that takes seconds."""

import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest
import torch

from cluster.errors import ClusterError
from cluster.model import export
from cluster.model.convert import convert, write_onnx
from cluster.model.forms import OUTPUTS, prove
from cluster.model.scenes import scene
from cluster.model.seeded import seeded_state
from cluster.model.weights import MEAN, STD, load_weights
from job.errors import JobError
from job.images.source import list_images
from job.model import Architecture, Model
from job.yolact.priors import make_priors

ROOT = Path(__file__).parents[2]
ARCHITECTURE = Architecture(
    input_size=128,
    backbone="resnet-light",
    num_classes=6,
    num_prototypes=8,
    fpn_channels=32,
    aspect_ratios=(1.0, 0.5, 2.0),
    scales=(16.0, 32.0, 64.0, 96.0, 120.0),
)
CLASSES = ["circle", "square", "triangle", "star", "ring", "cross"]


def cluster(*arguments):
    return subprocess.run(
        [ROOT / ".venv/bin/cluster", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def said(result, code):
    """The one sentence of an error."""
    assert result.returncode == code, result
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for seed in range(50_000, 50_003):
        cv2.imwrite(str(folder / f"{seed}.png"), scene(seed).image)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    stored = {
        "architecture": dataclasses.asdict(ARCHITECTURE),
        "class_names": CLASSES,
        "state_dict": seeded_state(ARCHITECTURE, 5, mean=MEAN, std=STD),
    }
    torch.save(stored, path)
    return path


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def exported(request, tmp_path_factory, checkpoint, images):
    """Precision, folder and what the command printed."""
    folder = tmp_path_factory.mktemp("models") / "new" / "shapes"
    result = cluster(
        *("model", "export", "--weights", checkpoint, "--precision", request.param),
        *("--output", folder, "--images", images, "--format", "json"),
        *("--score-threshold", 0.2),
    )
    assert result.returncode == 0, result.stderr
    return request.param, folder, result


def test_export_writes_a_model(exported, checkpoint):
    precision, folder, result = exported
    described = json.loads(result.stdout)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["shapes"]  # no temporary folder
    assert sorted(p.name for p in folder.iterdir()) == [
        *("model.bin", "model.json", "model.xml", "priors.npy")
    ]
    model = Model.load(folder)
    assert model.architecture == ARCHITECTURE
    assert model.class_names == tuple(CLASSES)
    assert (model.mean, model.std, model.score_threshold) == (MEAN, STD, 0.2)
    np.testing.assert_array_equal(model.priors(), make_priors(ARCHITECTURE))
    assert described["name"] == "shapes"
    assert described["precision"] == precision
    assert described["digest"] == model.digest
    priors = 3 * (16**2 + 8**2 + 4**2 + 2**2 + 1)
    assert described["inputs"] == {"image": [1, 3, 128, 128]}
    assert described["outputs"] == {
        "loc": [1, priors, 4],
        "conf": [1, priors, 7],
        "mask": [1, priors, 8],
        "proto": [1, 32, 32, 8],
    }
    network = load_weights(str(checkpoint)).network
    unused = sum(p.numel() for p in network.semantic_seg_conv.parameters())
    parameters = sum(p.numel() for p in network.parameters()) - unused
    assert described["made"]["parameters"] == parameters
    # Batch normalisation is folded away; constants of Resize and the like are small.
    width = {"fp32": 4, "fp16": 2}[precision]
    assert described["files"]["model.bin"] == pytest.approx(width * parameters, rel=0.05)


def test_export_proves_the_conversion(exported, images):
    precision, _, result = exported
    proof = json.loads(result.stdout)["made"]["proof"]
    forms = ["PyTorch", "ONNX", f"OpenVINO {precision.upper()}"]
    assert list(proof["median_ms"]) == forms
    assert all(milliseconds > 0 for milliseconds in proof["median_ms"].values())
    assert [(d["form"], d["output"]) for d in proof["differences"]] == [
        (form, output) for form in forms[1:] for output in OUTPUTS
    ]
    bounds = {"ONNX": 1e-4, "OpenVINO FP32": 1e-4, "OpenVINO FP16": 5e-2}
    assert all(0 <= d["relative"] < bounds[d["form"]] for d in proof["differences"])
    assert proof["images"] == 3
    assert proof["objects_total"] > 0
    assert "Comparing the forms on image 3 of 3: 50002.png" in result.stderr


def test_info_tells_what_export_told(exported):
    precision, folder, result = exported
    again = cluster("model", "info", folder, "--format", "json")
    assert json.loads(again.stdout) == json.loads(result.stdout)
    text = " ".join(cluster("model", "info", folder).stdout.split())
    made = json.loads(result.stdout)["made"]
    for part in (
        f"shapes, {precision} weights",
        "circle, square, triangle, star, ring, cross",
        f"{made['parameters']:,} parameters",
        "image [1, 3, 128, 128]",
        "opset 11",
    ):
        assert part in text


def test_the_same_weights_give_the_same_digest(exported, checkpoint, images, tmp_path):
    precision, folder, _ = exported
    # A fresh process, as always: OpenVINO numbers names in an IR through a process's life.
    result = cluster(
        *("model", "export", "--weights", checkpoint, "--precision", precision),
        *("--output", tmp_path / "again", "--name", "other", "--images", images / "50000.png"),
    )
    assert result.returncode == 0, result.stderr
    again = Model.load(tmp_path / "again")
    assert again.digest == Model.load(folder).digest
    assert again.name == "other"


def test_a_folder_in_use_is_not_touched(checkpoint, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = cluster("model", "export", "--weights", checkpoint, "--output", tmp_path)
    assert "exists and is not an empty folder" in said(result, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_what_cannot_be_exported_leaves_nothing(checkpoint, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(JobError, match=r"torn.png cannot be compared"):
        convert(
            weights=str(checkpoint),
            precision="fp32",
            output=tmp_path / "model",
            name="model",
            images=str(tmp_path / "torn.png"),
            score_threshold=0.15,
            tell=lambda _: None,
        )
    result = cluster("model", "export", "--weights", "none.pth", "--output", tmp_path / "model")
    assert "--weights none.pth: No such file or directory" in said(result, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["torn.png"]


def test_info_says_when_a_file_was_changed(exported, tmp_path):
    _, folder, _ = exported
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model.bin").open("r+b") as file:
        file.write(b"\xff")
    assert "digest" in said(cluster("model", "info", tmp_path), 2)


def test_the_graph_is_opset_11_of_standard_operators(checkpoint, tmp_path):
    write_onnx(load_weights(str(checkpoint)).network, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx")
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 11)]
    assert [i.name for i in graph.graph.input] == ["image"]
    assert [o.name for o in graph.graph.output] == list(OUTPUTS)
    # Simplified: shapes are numbers, nothing computes them.
    assert {"Shape", "Gather", "BatchNormalization"}.isdisjoint(n.op_type for n in graph.graph.node)


def test_a_conversion_that_finds_other_objects_fails(exported, checkpoint, images, tmp_path):
    _, folder, _ = exported
    network = load_weights(str(checkpoint)).network
    write_onnx(network, tmp_path / "model.onnx")
    network.prediction_layers[0].bbox_layer.weight.data *= 1.2
    listed = list_images(str(images)).images
    with pytest.raises(JobError, match="the ONNX form finds other objects than PyTorch"):
        prove(network, tmp_path / "model.onnx", Model.load(folder), listed, lambda _: None)


def test_ctrl_c_ends_the_export(tmp_path):
    command = [ROOT / ".venv/bin/cluster", "model", "export", "--weights", "seeded:0"]
    with subprocess.Popen(
        [*command, "--output", tmp_path / "model"], stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stderr.readline() == "Loading seeded:0\n"
        children = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGINT)
        rest = parent.stderr.read()
    assert parent.returncode == 1
    assert rest == "Stopped.\n"
    assert len(children) == 1
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert list(tmp_path.iterdir()) == []


def test_without_pytorch_it_says_how_to_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PYTHON", tmp_path / "python")
    with pytest.raises(ClusterError, match="make export-env"):
        export.export_model(weights="seeded:0", precision="fp32", output=tmp_path / "model")
