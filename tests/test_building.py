import json
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import Registry
from mmengine.runner import set_random_seed
from torch.utils.data import DataLoader

from kd3d.building import building
from kd3d.checkpoints import use_safe_loading
from kd3d.errors import UserError

LAYERS = Registry("layer")
OURS = Registry("layer", parent=LAYERS, scope="ours")
THEIRS = Registry("layer", parent=LAYERS, scope="theirs")


@LAYERS.register_module()
class Stem:
    def __init__(self, width, inner=None):
        if width < 0:
            raise ValueError(f"expected a width above 0,\n  got {width}")
        if width == 0:
            raise AssertionError
        self.inner = OURS.build(inner) if inner else None


@THEIRS.register_module()
class Twig:
    pass


@OURS.register_module()
class Branch:
    def __init__(self, ann_file):
        json.loads(ann_file)


def refusal(config):
    with pytest.raises(UserError) as error, building("a.py"):
        OURS.build(config)
    text = str(error.value)
    assert text.startswith("config a.py: ")
    return text.removeprefix("config a.py: ")


def test_a_seed_that_numpy_does_not_take():
    wanted = r"^config a\.py: seed -1: .* between 0 and 2.*--seed"
    with pytest.raises(UserError, match=wanted), building("a.py"):
        set_random_seed(-1)


@OURS.register_module()
class Frames:
    def __init__(self, ann_file="", info_path="", folder=""):
        Path(folder, ann_file or info_path or "hidden.pkl").read_bytes()


def test_a_data_set_that_is_not_there():
    hint = "no such file; make the data set or link it there, or change"
    text = refusal({"type": "Stem", "width": 1, "inner": {"type": "Frames", "ann_file": "x.pkl"}})
    assert text == f"x.pkl: {hint} ann_file"
    text = refusal({"type": "Frames", "folder": "data", "info_path": "x.pkl"})  # ObjectSample's
    assert text == f"data/x.pkl: {hint} folder or info_path"
    assert refusal({"type": "Frames"}) == f"hidden.pkl: {hint} the path in the config"


@OURS.register_module()
class Panoptic:
    def __init__(self, error):
        raise error("panopticapi is not installed, please install it by: pip install panopticapi")


@pytest.mark.parametrize("error", [ImportError, RuntimeError])  # mmdet has both
def test_a_package_that_is_not_installed(error):
    assert refusal({"type": "Panoptic", "error": error}).startswith(
        "Panoptic cannot be built: panopticapi is not installed, please install it by: pip install"
    )


class Pictures:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return Path("0.png").read_bytes()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_not_there_when_it_is_read(workers):
    with pytest.raises(UserError) as error, building("a.py"):
        next(iter(DataLoader(Pictures(), num_workers=workers)))
    text = str(error.value)
    assert "0.png" in text
    assert text.startswith("config a.py: ")
    assert text.endswith("; make the data set or link it there, or change the path in the config")
    assert len(text.splitlines()) == 1


class Backbone(BaseModule):
    def __init__(self, source, *, frozen_stages=-1):
        super().__init__({"type": "Pretrained", "checkpoint": source})
        self.frozen_stages, self.norm_eval = frozen_stages, frozen_stages > 0
        self.stem = torch.nn.Linear(1, 1)


class Model(BaseModule):
    def __init__(self, **backbone):
        super().__init__()
        self.backbone = Backbone(**backbone)


def not_pretrained(**backbone):
    with pytest.raises(UserError) as error, building("a.py"):
        Model(**backbone).init_weights()
    return str(error.value)


def test_pretrained_weights_of_a_torchvision_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # so that importing it fails
    text = not_pretrained(source="torchvision://resnet18", frozen_stages=1)
    assert text == (
        "config a.py: model.backbone.init_cfg wants torchvision://resnet18, and torchvision is not "
        "installed (pip install the torchvision that belongs to torch "
        f"{torch.__version__}), or train from scratch: --cfg-options model.backbone.init_cfg=None "
        "model.backbone.frozen_stages=-1 model.backbone.norm_eval=False"
    )


@pytest.mark.parametrize(("stages", "change"), [(0, ""), (1, " model.backbone.frozen_stages=0")])
def test_no_stage_of_an_efficientnet_is_frozen_by_0_and_not_by_minus_1(monkeypatch, stages, change):
    monkeypatch.setitem(globals(), "Backbone", type("EfficientNet", (Backbone,), {}))
    text = not_pretrained(source="open-mmlab://no", frozen_stages=stages).replace(
        " model.backbone.norm_eval=False", ""
    )
    assert text.endswith(f"--cfg-options model.backbone.init_cfg=None{change}")


def test_a_torchvision_of_another_torch(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('no operator nms')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    text = not_pretrained(source="torchvision://resnet18")
    assert "and torchvision cannot be imported: no operator nms (pip install" in text


def test_pretrained_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    text = not_pretrained(source="https://nowhere.invalid/r18-0123abcd.pth")
    assert "model.backbone.init_cfg wants https://nowhere.invalid/r18-0123abcd.pth, and " in text
    assert "it cannot be had (<urlopen error no route to host>); download it elsewhere" in text
    assert text.endswith("or train from scratch: --cfg-options model.backbone.init_cfg=None")


def test_pretrained_weights_at_a_path_that_is_not_there():
    use_safe_loading()  # as every tool does
    text = not_pretrained(source="no/such.pth")
    assert "wants no/such.pth, and checkpoint no/such.pth: no such file; check the path" in text
    assert "or train from scratch: --cfg-options" in text


def test_pretrained_weights_of_an_unknown_name():
    text = not_pretrained(source="open-mmlab://resnet18_caffe_")
    assert "and there is no model 'resnet18_caffe_'; mend its name, or train from scratch" in text


def test_an_unknown_optimizer():
    settings = {"type": "OptimWrapper", "optimizer": {"type": "AdamX", "lr": 0.1}}
    with pytest.raises(UserError) as error, building("a.py"):
        build_optim_wrapper(torch.nn.Linear(1, 1), settings)
    text = str(error.value)
    assert text.startswith("config a.py: there is no optimizer type 'AdamX'; did you mean 'Adam")


def test_an_unknown_type_and_the_near_ones_of_the_whole_family():
    assert refusal({"type": "Stemm"}) == "there is no layer type 'Stemm'; did you mean 'Stem'?"
    assert refusal({"type": "Brunch"}).endswith("did you mean 'Branch'?")
    assert refusal({"type": "Pool"}).endswith("; check its spelling")


@pytest.mark.parametrize("written", ["Twig", "Twigg", "ours.Twig"])
def test_a_type_of_another_library_is_suggested_with_its_scope(written):
    """As mmdet's types in a config of mmdet3d are written."""
    assert refusal({"type": written}).endswith(f"{written!r}; did you mean 'theirs.Twig'?")


def test_the_innermost_type_is_named():
    inner = {"type": "Branch", "wide": 3}
    text = refusal({"type": "Stem", "width": 1, "inner": inner})
    assert text.startswith("Branch cannot be built: ")
    assert "unexpected keyword argument 'wide'" in text


def test_a_value_that_a_constructor_refuses_is_shown_with_its_place():
    text = refusal({"type": "Stem", "width": -1})
    assert text.startswith(
        "Stem cannot be built: expected a width above 0, got -1 (test_building.py:"
    )


def test_an_error_without_text_is_quoted_from_its_line():
    text = refusal({"type": "Stem", "width": 0})
    assert text.startswith("Stem cannot be built: raise AssertionError (test_building.py:")


def test_an_annotation_file_that_is_no_json():
    text = refusal({"type": "Branch", "ann_file": "{"})
    assert text.startswith("Branch: { is cut off or no JSON (Expecting property name")


def test_errors_from_elsewhere_pass_through():
    with pytest.raises(KeyError), building("a.py"):
        _ = {}["key"]
    with pytest.raises(UserError, match=r"^mine$"), building("a.py"):
        raise UserError("mine")
    with pytest.raises(RuntimeError, match="ours"), building("a.py"):
        raise RuntimeError("ours")
    with pytest.raises(PermissionError), building("a.py"):
        raise PermissionError("x")
