"""tools/train.py: what it leaves, how it goes on, and what it says to mistakes."""

import shutil
import signal
import time
import warnings

import pytest
import torch
import toys

from kd3d.report.record import Record

EVERY_2 = {"type": "CheckpointHook", "interval": 2, "by_epoch": False, "max_keep_ckpts": 2}


@pytest.fixture(scope="module")
def config(tmp_path_factory, written):
    return written(tmp_path_factory.mktemp("toy"), distilled=True)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, written, start):
    """A distilled training that got a SIGINT after its first checkpoint."""
    folder = tmp_path_factory.mktemp("interrupted")
    hooks = {"checkpoint": EVERY_2}
    config = written(folder, distilled=True, iterations=100_000, default_hooks=hooks)
    process = start("train.py", config, "--work-dir", folder / "run")
    try:
        while not (folder / "run/last_checkpoint").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return config, process.returncode, out + err


def test_a_plain_run_leaves_checkpoint_and_record(run, written, tmp_path):
    done = run("train.py", written(tmp_path), "--work-dir", tmp_path / "run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"checkpoints and record: {tmp_path / 'run'}"
    record = Record.read(tmp_path / "run/record-training.json")
    assert record.kind == "training"
    assert record.metrics["iterations"] == 4
    assert not [name for name in record.metrics if name.startswith("gradient_share")]
    assert (tmp_path / "run/iter_4.pth").is_file()


def test_the_record_of_a_distilled_run_tells_role_seed_and_pairs(run, config, tmp_path):
    flags = ["--seed", "3", "--role", "distilled", "--name", "distilled/seed3"]
    done = run("train.py", config, "--work-dir", tmp_path, *flags)
    assert done.returncode == 0
    record = Record.read(tmp_path / "record-training.json")
    assert (record.role, record.name, record.seed) == ("distilled", "distilled/seed3", 3)
    assert record.config == str(config)
    assert record.metrics["gradient_share/neck"] > 0
    assert record.metrics["gradient_share/response"] > 0


def test_resume_goes_on_from_the_latest_checkpoint(run, config, tmp_path):
    common = ["train.py", config, "--work-dir", tmp_path, "--cfg-options"]
    interval = "default_hooks.checkpoint.interval=2"
    assert run(*common, interval).returncode == 0
    (tmp_path / "iter_2.pth").unlink()
    done = run(*common, interval, "train_cfg.max_iters=6", "--resume")
    assert done.returncode == 0
    assert not (tmp_path / "iter_2.pth").exists()  # iteration 2 was not run again
    assert Record.read(tmp_path / "record-training.json").metrics["iterations"] == 6


def test_resume_says_when_there_is_nothing_to_resume(run, config, tmp_path):
    done = run("train.py", config, "--work-dir", tmp_path, "--resume")
    assert done.returncode == 0
    assert f"nothing to resume in {tmp_path}" in done.stdout


def test_nothing_is_left_to_resume(run, refused, config, tmp_path):
    common = ["train.py", config, "--work-dir", tmp_path]
    assert run(*common).returncode == 0
    text = refused(*common, "--resume")
    last = tmp_path / "iter_4.pth"
    assert text.startswith(f"checkpoint {last}: it is at 4 of train_cfg.max_iters=4, nothing is")
    assert "by --cfg-options train_cfg.max_iters=..., or resume an earlier" in text
    shorter = ["--cfg-options", "train_cfg.max_iters=3"]
    (tmp_path / "record-training.json").unlink()
    assert "it is at 4 of train_cfg.max_iters=3" in refused(*common, "--resume", *shorter)
    elsewhere = ["train.py", config, "--work-dir", tmp_path / "other", "--resume", last]
    assert "it is at 4 of train_cfg.max_iters=4" in refused(*elsewhere)
    # as an end between the last checkpoint and the record leaves it: a recipe resumes this
    assert run(*common, "--resume").returncode == 0
    assert Record.read(tmp_path / "record-training.json").metrics["iterations"] == 4


def test_nothing_is_left_to_resume_of_epochs(refused, run, written, tmp_path):
    epochs = {
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 1},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
    }
    config = written(tmp_path, **epochs)
    options = ["train_dataloader.sampler.type=DefaultSampler", "param_scheduler=None"]
    common = ["train.py", config, "--work-dir", tmp_path / "run", "--cfg-options", *options]
    assert run(*common).returncode == 0
    assert "it is at 1 of train_cfg.max_epochs=1" in refused(*common, "--resume")


def test_weights_of_another_model_to_start_from(run, refused, written, config, tmp_path):
    assert run("train.py", config, "--work-dir", tmp_path / "first").returncode == 0
    weights = tmp_path / "first/iter_4.pth"
    start = [f"load_from={weights}"]

    def training(model, name):
        (tmp_path / name).mkdir()
        plain = written(tmp_path / name, model=model)
        return ["train.py", plain, "--work-dir", tmp_path / name / "run", "--cfg-options", *start]

    text = refused(*training(toys.retinanet(8, 16), "wider"))
    assert text.startswith(f"load_from, checkpoint {weights} does not fit RetinaNet of its config")
    assert text.endswith("its init_cfg=dict(type='Pretrained', ...)")

    own = torch.load(weights, weights_only=True)["state_dict"]
    others = sum(name.startswith("bbox_head.retina_cls.") for name in own)
    said = f"{len(own) - others} of the model's {len(own)} weights fit, the others start as"
    with pytest.warns(UserWarning, match=said):
        assert run(*training(toys.retinanet(classes=3), "classes")).returncode == 0
    with_more = torch.load(weights, weights_only=True)
    with_more["state_dict"]["extra.weight"] = torch.zeros(2, 2)
    torch.save(with_more, tmp_path / "more.pth")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert run(*training(toys.retinanet(), "same")).returncode == 0
        start[:] = [f"load_from={tmp_path / 'more.pth'}"]
        assert run(*training(toys.retinanet(), "more")).returncode == 0
    assert not [str(each.message) for each in warned if "weights fit" in str(each.message)]


def test_an_interrupt_before_the_first_checkpoint_says_so(run, config, tmp_path, monkeypatch):
    def interrupt(runner):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmengine.runner.Runner.train", interrupt)
    done = run("train.py", config, "--work-dir", tmp_path)
    assert done.returncode == 130
    said = "interrupted; there is no checkpoint yet: run the same command again to start anew"
    assert said in done.stderr.splitlines()


def test_an_interrupt_ends_with_130_and_says_how_to_go_on(interrupted):
    _, code, printed = interrupted
    assert code == 130
    assert "Traceback" not in printed
    lines = printed.splitlines()
    assert (
        "interrupted; add --resume to the same command to go on from the last checkpoint" in lines
    )


def test_an_interrupted_run_is_resumed(interrupted, start):
    config, _, _ = interrupted
    work_dir = config.parent / "run"
    saved = (work_dir / "last_checkpoint").read_text()
    reached = int(saved.rpartition("_")[2].removesuffix(".pth"))
    options = ["--cfg-options", f"train_cfg.max_iters={reached + 2}"]
    process = start("train.py", config, "--work-dir", work_dir, "--resume", *options)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == f"checkpoints and record: {work_dir}"
    assert (work_dir / f"iter_{reached + 2}.pth").is_file()


def test_a_wrong_path_in_a_process_of_its_own(start, error_of, tmp_path):
    (tmp_path / "student.py").touch()
    process = start("train.py", tmp_path / "studnet.py")
    out, err = process.communicate(timeout=100)
    process.stdout, process.stderr = out, err
    assert error_of(process) == (
        f"config {tmp_path / 'studnet.py'}: no such file; did you mean {tmp_path / 'student.py'}?"
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("model.type=RetinaNett", "no model type 'RetinaNett'; did you mean 'RetinaNet'"),
        ("model.bakbone.depth=18", "no 'bakbone' there; did you mean backbone?"),
        ("tran_cfg.max_iters=5", "no 'tran_cfg'; did you mean train_cfg"),
        ("model.neck.wide=5", "FPN cannot be built: FPN.__init__() got an unexpected keyword"),
        ("model.type.x=5", "--cfg-options does not fit config"),
        ("param_scheduler.2.end=5", "'2' is in a list of 2"),
        ("optim_wrapper.optimizer.lr=-1", "SGD cannot be built: Invalid learning rate: -1"),
        ("train_cfg=None", "it has no train_cfg"),
        ("custom_hooks.0.pairs.0.wieght=1.0", "pair 'neck': unknown ['wieght']"),
        ("custom_hooks.0.pairs.0.loss.type=FeatureL3", "no type 'FeatureL3'"),
        ("custom_hooks.0.teacher.config=no.py", "teacher config no.py: no such file"),
        ("custom_hooks.0.teacher.config=mmdet::retinanet/no.py", "retinanet/no.py"),
        ("custom_hooks.0.teacher.config=LICENSE", "teacher config LICENSE: cannot be read"),
        ("custom_hooks.0.type=DistilHook", "did you mean 'DistillHook'"),
        ("model.neck.in_channels=[8,16,32]", "FPN cannot be built: assert"),
        ("custom_hooks.0.teacher.checkpoint=no.pth", "checkpoint no.pth: no such file"),
        ("train_dataloader.dataset.ann_file=no.json", "no.json: no such file; make the data set"),
        (
            "train_dataloader.dataset.data_prefix.img=no",
            "no/0.png: no such file; make the",
        ),
    ],
)
def test_mistakes_in_a_config(refused, config, tools, tmp_path, option, says, monkeypatch):
    monkeypatch.chdir(tools.parent)
    text = refused("train.py", config, "--work-dir", tmp_path, "--cfg-options", option)
    assert says in text
    assert len(text.splitlines()) <= 4


def test_frames_without_labels_need_a_teacher(refused, config, tmp_path):
    options = ["train_dataloader.dataset.type=Unlabelled", "custom_hooks=[]"]
    text = refused("train.py", config, "--work-dir", tmp_path, "--cfg-options", *options)
    assert text.startswith(f"{config}: train_dataloader has Unlabelled frames, but custom_hooks")
    assert "learn that nothing is there; add the hook with a teacher, or leave" in text


def test_an_image_missing_in_a_worker_process(refused, config, tmp_path):
    options = ["train_dataloader.dataset.data_prefix.img=no", "train_dataloader.num_workers=1"]
    plain = [*options, "custom_hooks=[]"]
    text = refused("train.py", config, "--work-dir", tmp_path, "--cfg-options", *plain)
    assert text.startswith(f"config {config}: [Errno 2] No such file or directory: 'no/")
    assert len(text.splitlines()) == 1


def test_classes_that_are_not_in_the_annotation_file(refused, config, tmp_path):
    dataset = "train_dataloader.dataset"
    options = [f"{dataset}.metainfo.classes=['bus']", f"{dataset}.filter_cfg.filter_empty_gt=True"]
    text = refused("train.py", config, "--work-dir", tmp_path, "--cfg-options", *options)
    assert "is left; compare metainfo.classes with the categories in the file" in text


def test_an_annotation_file_that_is_cut_off(refused, written, tmp_path):
    config = written(tmp_path)
    annotations = tmp_path / "data/annotations.json"
    annotations.write_text(annotations.read_text()[:100])
    text = refused("train.py", config, "--work-dir", tmp_path / "run")
    assert f"CocoDataset: {annotations} is cut off or no JSON" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("model = dict(", "cannot be read: SyntaxError"),
        ("model = 1 / 0", "cannot be read: ZeroDivisionError"),
        ("_base_ = ['no.py']", "no.py"),
        ("_base_ = ['mmdet::retinanet/no.py']", "no.py"),
        ("custom_imports = dict(imports=['no_such_module'])", "no_such_module"),
        ("x = 1", "it has no model, train_dataloader, train_cfg, optim_wrapper"),
    ],
)
def test_a_config_file_that_cannot_be_used(refused, tmp_path, content, says):
    (tmp_path / "wrong.py").write_text(content + "\n")
    text = refused("train.py", tmp_path / "wrong.py", "--work-dir", tmp_path)
    assert text.startswith(f"config {tmp_path / 'wrong.py'}: ")
    assert says in text


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--auto-scale-lr"], "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...)"),
        (["--launcher", "pytorch"], "--launcher pytorch"),
        (["--resume", "no.pth"], "checkpoint no.pth: no such file"),
    ],
)
def test_flags_that_cannot_be_served(refused, config, tmp_path, flags, says, monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert says in refused("train.py", config, "--work-dir", tmp_path, *flags)


def test_a_misspelt_role_is_refused_before_training(run, config, tmp_path):
    done = run("train.py", config, "--work-dir", tmp_path / "run", "--role", "studnt")
    assert done.returncode == 2
    assert "argument --role: invalid choice: 'studnt'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_amp_without_a_gpu(refused, config, tmp_path):
    assert "--amp needs a GPU" in refused("train.py", config, "--work-dir", tmp_path, "--amp")


def test_options_that_are_no_pairs(run, config, tmp_path):
    for option in ("train_cfg.max_iters", "train_cfg.max_iters=[1,(2]"):
        done = run("train.py", config, "--work-dir", tmp_path, "--cfg-options", option)
        assert done.returncode == 2
        assert "error: argument --cfg-options: expected key=value" in done.stderr


def test_checkpoints_that_cannot_be_resumed(run, refused, written, config, tmp_path):
    other = tmp_path / "other"
    options = ["--work-dir", other / "run"]
    assert run("train.py", written(other, model=toys.retinanet(4, 16)), *options).returncode == 0
    whole = other / "run/iter_4.pth"
    text = refused("train.py", config, "--work-dir", tmp_path, "--resume", whole)
    assert f"checkpoint {whole} does not fit RetinaNet" in text

    cut = tmp_path / "cut.pth"
    shutil.copy(whole, cut)
    with cut.open("r+b") as file:
        file.truncate(1000)
    text = refused("train.py", config, "--work-dir", tmp_path, "--resume", cut)
    assert f"checkpoint {cut}: cut off" in text

    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": torch.load(whole, weights_only=True)["state_dict"]}, bare)
    text = refused("train.py", other / "plain.py", *options, "--resume", bare)
    assert "holds weights but no meta, optimizer" in text

    sorted_keys = tmp_path / "sorted.pth"
    checkpoint = torch.load(whole, weights_only=True)
    checkpoint["state_dict"] = dict(sorted(checkpoint["state_dict"].items()))
    torch.save(checkpoint, sorted_keys)
    text = refused("train.py", other / "plain.py", *options, "--resume", sorted_keys)
    assert text.endswith("resume with the config that lies beside the checkpoint")
