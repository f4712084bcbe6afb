import json

import pytest
from toys_bundle import write_bundle

from kd3d.profiling.on_vehicle import main


def test_it_measures_and_writes_one_result(tmp_path, capsys):
    folder = write_bundle(tmp_path / "bundle", precisions=("fp32", "int8"))
    out, progress = tmp_path / "result.json", tmp_path / "progress"
    main(
        [
            *(str(folder), "--backend", "onnxruntime", "--precision", "fp32", "int8"),
            *("--threads", "1", "--batch", "2", "--energy-s", "0"),
            *("--out", str(out), "--progress", str(progress)),
        ]
    )
    results = json.loads(out.read_text())["results"]
    assert [one["conditions"]["precision"] for one in results] == ["fp32", "int8"]
    assert results[0]["conditions"]["batch"] == 2
    assert results[0]["metrics"]["iterations"] == 200
    assert progress.read_text() == "400 400"
    printed = capsys.readouterr().out
    assert printed.startswith("onnxruntime fp32: p50 ")
    assert printed.endswith(f"wrote {out}\n")


def test_a_latency_takes_the_backends_own_float32(tmp_path, monkeypatch):
    opened = []

    def measure(arms, *_, **__):
        opened.extend(arm.backend for arm in arms)
        return []

    monkeypatch.setattr("kd3d.profiling.on_vehicle.measure_backends", measure)
    folder = write_bundle(tmp_path / "bundle")
    main([str(folder), "--backend", "onnxruntime", "--out", str(tmp_path / "result.json")])
    assert [backend.exact for backend in opened] == [False]


def test_mistakes_are_one_line(tmp_path, capsys):
    out = ["--backend", "onnxruntime", "--out", str(tmp_path / "result.json")]
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path), *out])
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "result.json").exists()


def test_a_result_that_cannot_be_written_is_told_before_it_is_measured(
    tmp_path, capsys, monkeypatch
):
    folder = write_bundle(tmp_path / "bundle")
    monkeypatch.setattr("kd3d.profiling.on_vehicle.measure_on_vehicle", lambda args: 1 / 0)
    with pytest.raises(SystemExit) as end:
        main([str(folder), "--backend", "onnxruntime", "--out", str(folder / "sample.npz" / "r")])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("; choose another --out\n")


def test_a_batch_that_no_engine_takes_is_told_before_one_is_built(tmp_path, capsys, monkeypatch):
    folder = write_bundle(tmp_path / "bundle")
    content = json.loads((folder / "export.json").read_text())
    content["profiles"] = {"x": {"min": [1, 8], "opt": [1, 8], "max": [4, 8]}}
    (folder / "export.json").write_text(json.dumps(content))
    opened = []
    monkeypatch.setattr(
        "kd3d.profiling.on_vehicle.open_bundle", lambda *args, **options: opened.append(args)
    )
    backends = ["--backend", "onnxruntime", "tensorrt", "--batch", "5"]
    with pytest.raises(SystemExit) as end:
        main([str(folder), *backends, "--out", str(tmp_path / "result.json")])
    assert end.value.code == 2
    assert "takes 1 to 4; export it with --batch 5" in capsys.readouterr().err
    assert opened == []
