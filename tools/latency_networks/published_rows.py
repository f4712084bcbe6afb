"""Which network a published Orin latency is of, by the row's model and input."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What a published row measured.

    Attributes:
        network: its name in ``networks.NETWORKS``; None where no graph stands for it.
        reason: why there is none, or what the graph leaves out.
    """

    network: str | None
    reason: str = ""


_SPARSE = Row(None, "sparse convolutions of NVIDIA's own library; no ONNX graph, work by voxels")
_HOST = Row(None, "a CUDA kernel around the network: points to voxels, or boxes and NMS")
_DLA = "measured on the DLA, not the GPU"
_STAGES = "several engines and kernels in a row, and a view transform of its own"
_PLUGIN = "custom plugins (deformable attention, rotation) between its parts"

_YOLO = "1x3x640x640"
_CENTERPOINT = "RPN 1x256x180x180; avg 82.5k voxels"
_FRAMES = "6019 val frames, 10.8k-135k voxels"
_BEV = "6x3x256x704 -> BEV 128x128"

ROWS: dict[tuple[str, str], Row] = {
    **{
        (f"{family}{letter}", _YOLO): Row(f"{family.lower()}{letter}")
        for family, letters in (("YOLO26", "nsl"), ("YOLO11", "nmx"), ("YOLOv8", "nsx"))
        for letter in letters
    },
    **{
        ("YOLOv5s QAT", f"{batch}x3x672x672"): Row(
            f"yolov5s_raw_672_b{batch}", "outputs of the last convolutions, as the sample has them"
        )
        for batch in (1, 2, 4, 8, 12, 16)
    },
    ("resnet50", "1x3x224x224"): Row("resnet50"),
    ("ssd-resnet34", "1x3x1200x1200"): Row("ssd_resnet34_1200", "NMS is left out"),
    ("CenterPoint voxel0075 nuScenes: Voxelization", _CENTERPOINT): _HOST,
    ("CenterPoint voxel0075 nuScenes: 3D backbone (SCN)", _CENTERPOINT): _SPARSE,
    ("CenterPoint voxel0075 nuScenes: RPN+Head", _CENTERPOINT): Row("centerpoint_voxel_dense"),
    ("CenterPoint voxel0075 nuScenes: Decode+NMS", _CENTERPOINT): _HOST,
    ("SCN sparse-conv backbone (perf-float16-centerpoint-zyx)", _FRAMES): _SPARSE,
    ("SCN sparse-conv backbone (perf-int8)", _FRAMES): _SPARSE,
    ("SCN sparse-conv backbone (perf-float16-bevfusion-xyz)", _FRAMES): _SPARSE,
    ("PointPillars KITTI 3-class: Voxelization", "canvas 1x64x496x432"): _HOST,
    ("PointPillars KITTI 3-class: Decoder & NMS", "canvas 1x64x496x432"): _HOST,
    ("BEVFusion R50+SCN", "6x3x256x704"): Row(None, _STAGES),
    ("BEVFusion R50+SCN PTQ", "6x3x256x704"): Row(None, _STAGES),
    ("BEVDet-R50-4D-LT-depth: Image stage (R50, 6x3x256x704)", _BEV): Row("bevdet_r50_image_stage"),
    ("BEVDet-R50-4D-LT-depth: BEVpool", _BEV): Row(None, "a CUDA kernel of its own"),
    ("BEVDet-R50-4D-LT-depth: Align feature", _BEV): Row(None, "a CUDA kernel of its own"),
    ("PETR-vov-p4", "6x3x320x800"): Row(
        "petr_vov99_320x800", "the images' position codes are an input, not computed"
    ),
    ("PETRv2-vov-p4", "6x3x320x800 x2 frames (cached)"): Row(
        None, "its handling of the cached frame is not published in enough detail"
    ),
    ("VAD-Tiny", "6 cams"): Row(None, _PLUGIN),
    ("Far3D VoV-99", "7x3x640x960"): Row(None, _PLUGIN),
    ("UniAD-tiny", "6 cams"): Row(None, _PLUGIN),
    ("OpenCLIP ViT-B/32", "8x3x224x224"): Row("clip_vit_b32_b8"),
    ("NanoSAM ResNet18 image encoder", "1x3x1024x1024"): Row("nanosam_resnet18_1024"),
    ("MobileSAM image encoder", "1x3x1024x1024"): Row("mobilesam_1024"),
    ("RetinaNet ResNeXt-50", "1x3x800x800"): Row(None, f"{_DLA} (graph: retinanet_resnext50_800)"),
    ("ResNet-34 backbone", "1x3x768x1280"): Row(
        None, f"{_DLA} (graph: resnet34_backbone_768x1280)"
    ),
    ("RetinaNet ResNet-34", "1x3x768x1280"): Row(
        None, f"{_DLA} (graph: retinanet_resnet34_768x1280)"
    ),
    ("SSD-ResNet-34", "1x3x1200x1200"): Row(None, f"{_DLA} (graph: ssd_resnet34_1200)"),
}
