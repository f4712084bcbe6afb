"""NuScenesFastMetric against mmdet3d's NuScenesMetric, built from configs as the Runner does."""

import copy
import json

import nuscenes_detections
import nuscenes_tables
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.metric import NuScenesFastMetric

pytest.importorskip("mmdet3d")


@pytest.fixture(scope="module")
def data():
    return nuscenes_tables.random_data_set(0, frames=6, objects=25)


@pytest.fixture
def dataroot(data, tmp_path):
    return data.write(tmp_path / "nuscenes")


@pytest.fixture
def infos(data, dataroot):
    found = nuscenes_detections.infos_of(data, data.tokens(["scene-0103", "scene-0916"]))
    nuscenes_detections.write_infos(dataroot / "infos.pkl", found)
    return found


@pytest.fixture
def samples(data, infos):
    return nuscenes_detections.detections(data, infos, seed=1)


def evaluator(kind: str, dataroot, **options) -> Evaluator:
    """By its type name in mmdet3d's scope, with the options of mmdet3d's nuScenes configs."""
    config = {
        "type": kind,
        "data_root": str(dataroot),
        "ann_file": str(dataroot / "infos.pkl"),
        "metric": "bbox",
        "backend_args": None,
        **options,
    }
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        built = Evaluator(config)
    built.dataset_meta = nuscenes_detections.META
    return built


def run(built: Evaluator, samples: list) -> dict:
    for sample in samples:
        built.process([copy.deepcopy(sample)])
    return built.evaluate(len(samples))


def test_equal_to_mmdet3d_and_writes_the_same_file(dataroot, samples, tmp_path):
    import mmdet3d.evaluation  # noqa: F401  (registers its metric)

    theirs = run(
        evaluator("NuScenesMetric", dataroot, jsonfile_prefix=str(tmp_path / "mmdet3d")), samples
    )
    built = evaluator("NuScenesFastMetric", dataroot, predictions=str(tmp_path / "ours.json"))
    ours = run(built, samples)
    before = "NuScenes metric/pred_instances_3d_NuScenes/"
    assert ours["NuScenes/NDS"] == theirs[f"{before}NDS"]
    assert ours["NuScenes/mAP"] == theirs[f"{before}mAP"]
    for name in ("mATE", "mASE", "mAOE", "mAVE", "mAAE"):
        assert f"{ours[f'NuScenes/{name}']:.4f}" == f"{theirs[before + name]:.4f}"
    accuracy = built.metrics[0].accuracy
    for name, aps in accuracy.label_aps.items():
        for distance_m, ap in aps.items():
            assert f"{ap:.4f}" == f"{theirs[f'{before}{name}_AP_dist_{distance_m}']:.4f}"
    path = tmp_path / "mmdet3d" / "pred_instances_3d" / "results_nusc.json"
    written = [json.loads(p.read_text()) for p in (path, tmp_path / "ours.json")]
    assert written[0] == written[1]
    assert list(written[0]["results"]) == list(written[1]["results"])
    assert sum(map(len, written[0]["results"].values())) > 50


def test_boxes_of_cameras_are_joined_as_mmdet3d_does(dataroot, infos, data, tmp_path, monkeypatch):
    import mmdet3d.evaluation  # noqa: F401  (registers its metric)

    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)  # upstream's joining asks for it
    nuscenes_detections.add_cameras(infos)
    nuscenes_detections.write_infos(dataroot / "infos.pkl", infos)
    seen = nuscenes_detections.camera_detections(data, infos, seed=2)
    assert len(seen) == 6 * len(infos)
    theirs = run(
        evaluator("NuScenesMetric", dataroot, jsonfile_prefix=str(tmp_path / "mmdet3d")), seen
    )
    ours = run(
        evaluator("NuScenesFastMetric", dataroot, predictions=str(tmp_path / "ours.json")), seen
    )
    for name in ("NDS", "mAP"):
        before = "NuScenes metric/pred_instances_3d_NuScenes/"
        assert ours[f"NuScenes/{name}"] == theirs[before + name]
    path = tmp_path / "mmdet3d" / "pred_instances_3d" / "results_nusc.json"
    written = [json.loads(p.read_text())["results"] for p in (path, tmp_path / "ours.json")]
    assert written[0] == written[1]
    found = [box for frame in written[0].values() for box in frame]
    given = sum(len(sample.pred_instances_3d.labels_3d) for sample in seen)
    assert 20 < len(found) < given  # boxes that two cameras see are one
    assert len({box["attribute_name"] for box in found}) > 4


def test_boxes_of_cameras_have_to_be_whole(dataroot, infos, data):
    nuscenes_detections.add_cameras(infos)
    nuscenes_detections.write_infos(dataroot / "infos.pkl", infos)
    seen = nuscenes_detections.camera_detections(data, infos, seed=2)
    with pytest.raises(UserError, match="CAM_BACK_RIGHT was not tested; test all cameras"):
        run(evaluator("NuScenesFastMetric", dataroot), seen[:-1])
    del seen[0].pred_instances_3d.attr_labels
    with pytest.raises(UserError, match="expected boxes with velocity and attribute"):
        run(evaluator("NuScenesFastMetric", dataroot), seen)


def test_tables_are_read_once_and_the_file_is_cached(dataroot, infos, samples):
    built = evaluator("NuScenesFastMetric", dataroot)
    first = run(built, samples)
    assert len(list((dataroot / ".kd3d").glob("*.npz"))) == 1
    for table in (dataroot / "v1.0-mini").glob("sa*.json"):
        table.unlink()
    assert run(built, samples) == first


def test_custom_split_is_read_in_the_order_of_the_tables(data, dataroot, tmp_path):
    tokens = data.tokens(["scene-0103", "scene-0061"])
    infos = nuscenes_detections.infos_of(data, tokens)
    nuscenes_detections.write_infos(dataroot / "infos.pkl", infos)
    path = tmp_path / "results.json"
    built = evaluator("NuScenesFastMetric", dataroot, split="our_val", predictions=str(path))
    run(built, nuscenes_detections.detections(data, infos, seed=2)[::-1])
    accuracy = built.metrics[0].accuracy
    assert accuracy.frames == len(tokens)
    devkit, _ = nuscenes_tables.devkit_answer(dataroot, "v1.0-mini", "our_val", path)
    assert accuracy.nds == devkit.nd_score  # equal scores are matched from the last frame on
    assert accuracy.tp_errors == devkit.tp_errors
    where = {"data_root": str(dataroot), "version": "v1.0-mini", "split": "our_val"}
    assert built.metrics[0].tested == where


def test_nothing_found_scores_zero(dataroot, samples):
    for sample in samples:
        sample.pred_instances_3d = sample.pred_instances_3d[:0]
    values = run(evaluator("NuScenesFastMetric", dataroot), samples)
    assert values["NuScenes/NDS"] == 0.0
    assert values["NuScenes/mATE"] == 1.0


def test_samples_of_another_split_are_refused(dataroot, samples):
    with pytest.raises(UserError, match=r"11 samples .* were tested, but split mini_val has 12"):
        run(evaluator("NuScenesFastMetric", dataroot), samples[1:])


def test_boxes_without_velocity_or_with_nan_are_refused(dataroot, samples):
    from mmdet3d.structures import LiDARInstance3DBoxes

    found = samples[1].pred_instances_3d
    tensor = found.bboxes_3d.tensor.clone()
    found.bboxes_3d = LiDARInstance3DBoxes(tensor[:, :7])
    with pytest.raises(UserError, match="has to predict them"):
        run(evaluator("NuScenesFastMetric", dataroot), samples)
    tensor[0, 0] = torch.nan
    found.bboxes_3d = LiDARInstance3DBoxes(tensor, box_dim=9)
    with pytest.raises(UserError, match="a predicted box is NaN"):
        run(evaluator("NuScenesFastMetric", dataroot), samples)


def test_what_it_cannot_evaluate_is_refused(dataroot):
    from mmdet3d.structures import DepthInstance3DBoxes

    metric = NuScenesFastMetric(str(dataroot), "infos.pkl")
    boxes = {"bboxes_3d": DepthInstance3DBoxes(torch.zeros(0, 7))}
    with pytest.raises(UserError, match="camera's, got DepthInstance3DBoxes"):
        metric.process(None, [{"pred_instances_3d": boxes}])
    with pytest.raises(UserError, match="expected metric='bbox', got 'track'"):
        NuScenesFastMetric(str(dataroot), "infos.pkl", metric="track")
    with pytest.raises(UserError, match=r"\['tram'\] are no classes"):
        metric.dataset_meta = {"classes": ("tram",), "version": "v1.0-mini"}
    with pytest.raises(UserError, match="set split"):
        metric.dataset_meta = {"classes": ("car",), "version": "v1.0-test"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"data_root": "/nope"}, r"/nope/v1\.0-mini: expected the tables of nuScenes"),
        ({"version": "v1.0-trainval"}, "v1.0-trainval: expected the tables of nuScenes"),
        ({"split": "our_vall"}, "expected a list of scenes under 'our_vall'"),
        ({"split": "val"}, "expected a version that ends with 'trainval'"),
        ({"ann_file": "no.pkl"}, r"ann_file='no.pkl': no such file, nor is it /.*/no\.pkl;"),
    ],
)
def test_tables_split_and_infos_are_looked_for_before_the_first_sample(dataroot, option, says):
    with pytest.raises(UserError, match=says):
        evaluator("NuScenesFastMetric", dataroot, **option)


def test_an_info_file_of_another_split_or_kind_is_refused(dataroot, infos, samples):
    for info in infos:
        info["lidar_points"]["lidar_path"] = f"samples/{info['token']}.pcd.bin"
    nuscenes_detections.write_infos(dataroot / "infos.pkl", infos)
    samples[3].set_metainfo({"lidar_path": f"data/{infos[3]['token']}.pcd.bin"})
    run(evaluator("NuScenesFastMetric", dataroot), samples)
    samples[3].set_metainfo({"lidar_path": "data/other.pcd.bin"})
    with pytest.raises(UserError, match=r"sample 3 of the dataset is other\.pcd\.bin, but in"):
        run(evaluator("NuScenesFastMetric", dataroot), samples)
    nuscenes_detections.write_infos(dataroot / "infos.pkl", infos[:2])
    with pytest.raises(UserError, match=r"it is missing; give dataset and evaluator the same"):
        run(evaluator("NuScenesFastMetric", dataroot), samples[:3])
    nuscenes_detections.write_infos(dataroot / "infos.pkl", [{"token": "a"}])
    with pytest.raises(UserError, match="expected an info file as mmdet3d"):
        run(evaluator("NuScenesFastMetric", dataroot), samples)


def test_a_subset_is_evaluated_alone(dataroot, samples):
    with pytest.raises(UserError, match="were tested, but"):
        run(evaluator("NuScenesFastMetric", dataroot), samples[::2])
    whole = run(evaluator("NuScenesFastMetric", dataroot), samples)
    assert run(evaluator("NuScenesFastMetric", dataroot, subset=True), samples) == whole
    half = evaluator("NuScenesFastMetric", dataroot, subset=True)
    found = run(half, samples[::2])
    assert half.metrics[0].conditions["frames"] == len(samples[::2])
    assert 0 < found["NuScenes/NDS"] <= 1
    # frames that were not tested are not missed: fewer ground truth boxes than in the whole
    assert half.metrics[0].accuracy.nds != pytest.approx(whole["NuScenes/NDS"], abs=1e-6)
