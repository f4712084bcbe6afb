import multiprocessing
import os

import pytest
import torch

from kd3d.distill.cache_entry import filled, flattened, from_bytes, to_bytes
from kd3d.distill.cache_store import FeatureStore
from kd3d.errors import UserError

HALF = torch.float16


def entry(value):
    return to_bytes([torch.full((2, 3), float(value)), torch.tensor([value])], HALF)


def content(store, key):
    found = store.read(key)
    return None if found is None else [t.tolist() for t in from_bytes(*found, HALF)]


def expected(value):
    return [[[float(value)] * 3] * 2, [value]]


def test_nested_tensors_lose_and_get_back_their_nesting():
    tensors = []
    a, b, c = (torch.tensor([float(i)]) for i in range(3))
    skeleton = flattened([({"heatmap": a, "reg": b},), None, c], tensors)
    assert skeleton == [[{"heatmap": 0, "reg": 1}], None, 2]
    assert filled(skeleton, tensors) == [[{"heatmap": a, "reg": b}], None, c]
    with pytest.raises(UserError, match="a tap reads str"):
        flattened(["text"], [])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_floats_are_rounded_and_integers_kept(dtype):
    given = [torch.tensor([1.0001, -3.3]), torch.tensor([7, 2**40]), torch.tensor([True])]
    got = from_bytes(*to_bytes(given, dtype), dtype)
    assert torch.equal(got[0], given[0].to(dtype).float())
    assert torch.equal(got[1], given[1])
    assert torch.equal(got[2], given[2])


def test_a_value_beyond_half_precision_is_refused():
    with pytest.raises(UserError, match=r"7e\+04 is beyond torch.float16; set dtype='bfloat16'"):
        to_bytes([torch.tensor([7e4])], torch.float16)
    to_bytes([torch.tensor([7e4])], torch.bfloat16)


def test_a_damaged_nesting_counts_as_absent_and_is_written_again(tmp_path):
    store = FeatureStore(tmp_path)
    assert store.skeleton() is None
    for nesting in ([[0], None], [1]):
        store.set_skeleton(nesting)
        assert FeatureStore(tmp_path).skeleton() == nesting
        (tmp_path / "skeleton.json").write_text("")  # a power failure
        assert store.skeleton() is None
    assert [path.name for path in tmp_path.iterdir()] == ["skeleton.json"]


def test_entries_survive_the_process(tmp_path):
    store = FeatureStore(tmp_path)
    for value in (1, 2):
        store.write(f"key{value}", *entry(value))
    assert content(store, "key1") == expected(1)
    assert store.read("key3") is None
    store.close()
    again = FeatureStore(tmp_path)
    assert len(again) == 2
    assert content(again, "key2") == expected(2)
    assert again.size_bytes == 2 * (6 * 2 + 8)  # six halves and an int64 each


def test_a_corrupt_entry_is_absent_and_can_be_written_again(tmp_path):
    store = FeatureStore(tmp_path)
    store.write("a", *entry(1))
    store.write("b", *entry(2))
    store.close()
    (data,) = tmp_path.glob("data-*.bin")
    content_bytes = bytearray(data.read_bytes())
    content_bytes[3] ^= 0xFF
    data.write_bytes(content_bytes)
    again = FeatureStore(tmp_path)
    assert content(again, "a") is None
    assert content(again, "b") == expected(2)
    assert again.corrupt == 1
    again.write("a", *entry(3))
    assert content(again, "a") == expected(3)


def damaged(folder):
    """Writes "a" in a process of its own and spoils its bytes; the name of that process's files."""
    store = FeatureStore(folder)
    before = set(folder.glob("data-*.bin"))
    store.write("a", *entry(1))
    store.close()
    (data,) = set(folder.glob("data-*.bin")) - before
    data.write_bytes(b"\xff" * data.stat().st_size)
    return data.stem.removeprefix("data-")


@pytest.mark.parametrize("damaged_last", [False, True])
def test_a_corrupt_entry_does_not_hide_the_one_made_again(tmp_path, damaged_last):
    """Whatever order the index files are read in; here that of their times, either way round."""
    name = damaged(tmp_path)
    mender = FeatureStore(tmp_path)
    assert mender.read("a") is None
    mender.write("a", *entry(3))
    mender.close()
    index = tmp_path / f"index-{name}.jsonl"
    times_ns = (other.stat().st_mtime_ns for other in tmp_path.glob("index-*.jsonl"))
    time_ns = max(times_ns) + 10**9 if damaged_last else 0
    os.utime(index, ns=(time_ns, time_ns))
    again = FeatureStore(tmp_path)
    assert content(again, "a") == expected(3)
    assert content(again, "a") == expected(3)
    assert (len(again), again.corrupt) == (1, 0)


def test_an_older_entry_stands_in_for_a_corrupt_newer_one(tmp_path):
    store = FeatureStore(tmp_path)
    for value in (1, 2):
        store.write("a", *entry(value))
    assert content(store, "a") == expected(2)
    store.close()
    (data,) = tmp_path.glob("data-*.bin")
    content_bytes = bytearray(data.read_bytes())
    content_bytes[-1] ^= 0xFF
    data.write_bytes(content_bytes)
    again = FeatureStore(tmp_path)
    assert content(again, "a") == expected(1)
    assert (len(again), again.corrupt) == (1, 0)


def test_a_key_whose_places_are_all_corrupt_is_one_lost_entry(tmp_path):
    for _ in range(2):
        damaged(tmp_path)
    again = FeatureStore(tmp_path)
    assert again.read("a") is None
    assert (len(again), again.corrupt) == (0, 1)


def test_data_cut_off_behind_the_index_is_corrupt(tmp_path):
    store = FeatureStore(tmp_path)
    store.write("a", *entry(1))
    store.write("b", *entry(2))
    store.close()
    (data,) = tmp_path.glob("data-*.bin")
    data.write_bytes(data.read_bytes()[:-1])
    again = FeatureStore(tmp_path)
    assert content(again, "a") == expected(1)
    assert content(again, "b") is None


def test_half_a_line_of_an_interrupted_index_is_passed_over(tmp_path):
    store = FeatureStore(tmp_path)
    store.write("a", *entry(1))
    store.write("b", *entry(2))
    store.close()
    (index,) = tmp_path.glob("index-*.jsonl")
    index.write_bytes(index.read_bytes()[:-9])
    again = FeatureStore(tmp_path)
    assert content(again, "a") == expected(1)
    assert again.read("b") is None
    again.write("b", *entry(2))
    assert content(FeatureStore(tmp_path), "b") == expected(2)


def test_a_damaged_line_costs_its_entry_only(tmp_path):
    store = FeatureStore(tmp_path)
    for key in "abc":
        store.write(key, *entry(1))
    store.close()
    (index,) = tmp_path.glob("index-*.jsonl")
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(lines[0] + b'{"key": "b", "off\n' + lines[2])
    again = FeatureStore(tmp_path)
    assert [again.read(key) is None for key in "abc"] == [False, True, False]
    assert again.corrupt == 1


def write_many(folder, keys):
    store = FeatureStore(folder)
    for key in keys:
        store.write(f"key{key}", *entry(key))
    store.close()


def test_processes_share_a_folder_without_harm(tmp_path):
    reader = FeatureStore(tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=write_many, args=(tmp_path, range(start, 60, 2))) for start in (0, 1)
    ]
    writers.append(context.Process(target=write_many, args=(tmp_path, range(20))))  # again
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(reader) == 0
    reader.refresh()
    assert len(reader) == 60
    assert all(content(reader, f"key{key}") == expected(key) for key in range(60))
