from kd3d.report.pareto import pareto_front, pareto_picture


def test_the_front_holds_what_no_other_beats():
    points = [(2.0, 5.0), (1.0, 3.0), (3.0, 4.0), (2.0, 4.0), (4.0, 9.0), (4.0, 8.0)]
    # (3, 4) and (2, 4) are no larger than (2, 5), and (4, 8) is smaller than (4, 9)
    assert pareto_front(points) == [1, 0, 4]


def test_one_point_and_equal_points():
    assert pareto_front([(1.0, 1.0)]) == [0]
    assert pareto_front([(1.0, 1.0), (1.0, 1.0)]) == [0]
    assert pareto_front([]) == []


def test_a_picture_is_written_by_its_suffix(tmp_path):
    points = [(1.0, 2.0), (2.0, 3.0)]
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = pareto_picture(
            points, tmp_path / f"p.{suffix}", budget_ms=1.5, best=points[0], title="toy"
        )
        assert path.read_bytes().startswith(start)
