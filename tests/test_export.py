"""Networks leave torch: as ONNX they say the same, and a scan is segmented where there is no torch."""

import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SHARED
from known_networks import loaded

from helpers import export, files, predict
from helpers.cascade import onnx_engine, pipeline, rules, weights
from helpers.intake import phantom
from helpers.runs import HERE
from helpers.scans.labels import read_mask
from helpers.scans.volume import in_our_axes, read_volume, write_on_grid
from helpers.slices.recipe import Recipe

pytest.importorskip("onnx", reason="onnx isn't installed: pip install onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed: pip install onnxruntime")
CARD = {"neighbours": 1, "norm": (97.0, 61.0), "recipe": Recipe(windows=((0, 255),), size=64).as_dict()}
SHAPES = {
    "gate": {"model": "classifier", "in_channels": 3, "width": 2, "levels": 2},
    "liver": {"model": "unet", "in_channels": 3, "width": 4, "levels": 2, "unshuffle": 2},
    "tumour": {"model": "unet", "in_channels": 3, "classes": 3, "width": 4, "levels": 1},
}
WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ImportError(f"there is no {name} here")
sys.meta_path.insert(0, Blocked())
from helpers import predict
code = predict.main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def random_network(shape):
    """Weights and BatchNorm statistics drawn at random, so that answers lie all over 0 to 1."""
    network = weights.build(**shape)
    for name, tensor in network.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn_like(tensor) / max(1, tensor[0].numel()) ** 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def random():
    torch.manual_seed(0)
    cards = {stage: CARD | {"stage": stage, "network": shape} for stage, shape in SHAPES.items()}
    return {stage: weights.TrainedNetwork(random_network(SHAPES[stage]), card) for stage, card in cards.items()}


@pytest.fixture(scope="module")
def folder(random, tmp_path_factory):
    """The random networks as ONNX."""
    out = tmp_path_factory.mktemp("onnx")
    assert max(export.write(random, out).values()) < 1e-5
    return out


def test_probabilities_are_those_of_torch(random, folder):
    networks, defaults = onnx_engine.load_networks(folder)
    assert set(networks) == set(SHAPES) and defaults == rules.Rules()
    planes = export.grey_planes((5, 70, 33), CARD)
    for stage, trained in random.items():
        wanted, got = trained.probability(planes), networks[stage].probability(planes)
        assert got.dtype == np.float32 and got.shape == wanted.shape
        assert np.ptp(wanted) > 1e-3 and np.abs(got - wanted).max() < 1e-5, stage
        elsewhere = pickle.loads(pickle.dumps(networks[stage]))  # as a process of its own gets it
        assert np.array_equal(elsewhere.probability(planes), got)


def test_batch_norm_is_in_the_convolutions(folder):
    for stage in SHAPES:
        content = (folder / f"{stage}.onnx").read_bytes()  # names of operators are plain text
        assert b"Conv" in content and b"BatchNormalization" not in content


@pytest.mark.parametrize("logit", [np.nan, np.inf])
def test_what_is_not_finite_becomes_no_probability(random, tmp_path, logit):
    trained = random["liver"]
    network = weights.build(**SHAPES["liver"]).eval()
    network.head.bias.data[:] = logit
    export.write_graph(weights.TrainedNetwork(network, trained.card), tmp_path / "a.onnx")
    exported = onnx_engine.OnnxNetwork(trained.card, tmp_path / "a.onnx")
    assert np.isnan(exported.probability(np.zeros((1, 3, 32, 32), np.uint8))).all()


class OfOneSize(torch.nn.Conv2d):
    """Answers by the size of the plane, of which a trace keeps the one that it saw."""

    def forward(self, x):
        return super().forward(x) + float(x.shape[2] == 64)


class Diagonal(torch.nn.Conv2d):
    """Takes what ONNX has no operator for."""

    def forward(self, x):
        return super().forward(x).diag_embed().sum(-1)


@pytest.mark.parametrize(("kind", "reason"), [(OfOneSize, "its probabilities lie 0.[0-9]* from torch's"), (Diagonal, ".*diag_embed")])
def test_a_network_that_onnx_cannot_hold_is_refused(tmp_path, kind, reason):
    network = weights.TrainedNetwork(kind(3, 1, 1), CARD | {"stage": "liver"})
    with pytest.raises(ValueError, match=f"the liver network can't be exported: {reason}"):
        export.write({"liver": network}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_scan_is_segmented_without_torch(tmp_path, scan):
    """The same mask as torch's, in a process that can't import it, with the rules that were exported."""
    networks, mask = loaded(), tmp_path / "mask.nii.gz"
    export.write(networks, tmp_path / "onnx")
    card = files.read_json(tmp_path / "onnx" / onnx_engine.CARD)
    card["rules"] |= {"min_liver_ml": 1.0, "min_lesion_ml": 0.05, "smooth_mm": 0.0}
    files.write_json(tmp_path / "onnx" / onnx_engine.CARD, card)
    scan.hu[scan.hu == 0] = -1000  # air
    write_on_grid(scan.hu, scan, tmp_path / "a.nii")
    words = [tmp_path / "a.nii", "--run", tmp_path / "onnx", "-o", mask]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True, cwd=HERE)
    assert done.returncode == predict.DONE, done.stderr
    labels = read_mask(mask, scan)
    wanted = pipeline.segment(scan, networks, rules.Rules(min_liver_ml=1.0, min_lesion_ml=0.05, smooth_mm=0.0)).labels
    assert np.array_equal(labels, wanted) and set(np.unique(labels)) == {0, 1, 2}


@pytest.mark.parametrize("made", ["phantom", "real scan"])
def test_the_shipped_networks_draw_the_same_mask(tmp_path, made):
    """Probabilities within a level (1/255) of torch's in float32, and every voxel of the mask the same."""
    if made == "phantom":
        hu, _, spacing_mm = phantom.volume(1, size=64)
        volume = in_our_axes(hu, spacing_mm)
    elif (file := SHARED / "true_hu" / "ct.nii.gz").is_file():
        volume = read_volume(file)
    else:
        pytest.skip("the real scan of ../shared isn't here")
    middle = len(volume.hu) // 2
    volume = replace(volume, hu=volume.hu[middle - 8 : middle + 8])
    shipped = weights.load_networks(HERE / "checkpoints" / predict.SHIPPED, "cpu")
    assert max(export.write(shipped, tmp_path).values()) < 1e-3
    shipped = {stage: replace(trained, precision="32-true") for stage, trained in shipped.items()}
    networks, defaults = onnx_engine.load_networks(tmp_path)
    few = replace(defaults, min_liver_ml=0.0)  # slices
    wanted, got = (pipeline.segment(volume, some, few, keep_probability=True) for some in (shipped, networks))
    assert wanted.labels.any() and np.array_equal(got.labels, wanted.labels)
    for organ, probability in wanted.probability.items():
        assert np.abs(probability.astype(int) - got.probability[organ]).max() <= 1


def test_torch_that_is_missing_is_said(own_root, scan):
    (own_root / "checkpoints" / "mine").mkdir(parents=True)
    scan.hu[scan.hu == 0] = -1000
    write_on_grid(scan.hu, scan, own_root / "a.nii")
    words = [own_root / "a.nii", "--run", own_root / "checkpoints" / "mine", "-o", own_root / "m.nii"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *map(str, words)], capture_output=True, text=True, cwd=HERE)
    assert done.returncode == predict.FAILED and "torch isn't installed; take --engine onnx" in done.stderr


def edited(card, **values):
    """Write cascade.json with other values."""
    files.write_json(card, files.read_json(card) | values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "cascade.json").unlink(), "holds no cascade.json, so no networks for ONNX; export"),
        (lambda d: (d / "cascade.json").write_text("{"), "cascade.json: is damaged, or of another version"),
        (lambda d: edited(d / "cascade.json", version=2), r"of another version than 1, which this program reads \(2\)"),
        (lambda d: edited(d / "cascade.json", rules={"max_fat_fraction": 1}), "'max_fat_fraction' is no parameter any more"),
        (lambda d: (d / "liver.onnx").unlink(), "liver.onnx: is missing; export"),
        (lambda d: shutil.copy(d / "liver.onnx", d / "tumour.onnx"), "tumour.onnx: is damaged, or not the file"),
        (lambda d: (d / "gate.onnx").write_bytes(b"cut off"), "gate.onnx: is damaged, or not the file"),
        (lambda d: unreadable(d, "gate"), r"gate.onnx: ONNX Runtime [\d.]* can't read it"),
        (lambda d: of_recipe(d, "gate", size=128), "the gate learnt from other pixels than the liver's network"),
        (lambda d: edited(d / "cascade.json", networks=[]), "cascade.json: is damaged, or was changed by hand"),
        (lambda d: edited(d / "cascade.json", networks={}), "cascade.json: names no network for liver"),
        (lambda d: edited(d / "cascade.json", rules={}), "changed by hand .KeyError: 'neck_widths_mm'"),
        (lambda d: exchanged(d, "liver", "tumour"), "onnx: holds the (liver|tumour) network"),
        (lambda d: of_recipe(d, "tumour", windows=[[0, 1], [0, 2]]), "tumour.onnx: takes 3 channels, its recipe gives 6"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(folder, tmp_path, spoil, message):
    shutil.copytree(folder, tmp_path / "onnx")
    spoil(tmp_path / "onnx")
    with pytest.raises(ValueError, match=message):
        onnx_engine.load_networks(tmp_path / "onnx")


def of_recipe(folder, stage, **values):
    """Have cascade.json say that a stage's network is of another recipe."""
    card = files.read_json(folder / onnx_engine.CARD)
    card["networks"][stage]["card"]["recipe"] |= values
    files.write_json(folder / onnx_engine.CARD, card)


def exchanged(folder, *stages):
    """Have cascade.json say, hashes included, that two networks are each other's."""
    card = files.read_json(folder / onnx_engine.CARD)
    (folder / "x").write_bytes((folder / f"{stages[0]}.onnx").read_bytes())
    shutil.copy(folder / f"{stages[1]}.onnx", folder / f"{stages[0]}.onnx")
    shutil.move(folder / "x", folder / f"{stages[1]}.onnx")
    networks = card["networks"]
    networks |= {stages[0]: networks[stages[1]], stages[1]: networks[stages[0]]}
    files.write_json(folder / onnx_engine.CARD, card)


def unreadable(folder, stage):
    """A file as a newer ONNX may be: whole, and not to be read."""
    (folder / f"{stage}.onnx").write_bytes(b"of another kind")
    card = files.read_json(folder / onnx_engine.CARD)
    card["networks"][stage]["sha256"] = files.sha256(folder / f"{stage}.onnx")
    files.write_json(folder / onnx_engine.CARD, card)


def test_wrong_words_are_refused(own_root, capsys):
    assert export.main(["--run", "never"]) == export.USAGE and "run 'never' has no checkpoints" in capsys.readouterr().err
    (own_root / "checkpoints" / "mine").mkdir(parents=True)
    assert export.main(["--run", "mine"]) == export.FAILED
    assert "liver: holds no final weights; train this stage with notebook 04" in capsys.readouterr().err
