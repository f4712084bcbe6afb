import pytest

from kd3d.recipes.outlook import Activity, Outlook, one_command

LENGTHS = {"teacher": 100.0, "distilled/seed0": 200.0, "baseline/seed0": 200.0}


def training(name, elapsed_s, fraction):
    return Activity(name, elapsed_s, fraction, trains=True)


def test_before_anything_is_known_only_the_count_is_told():
    outlook = Outlook(LENGTHS)
    assert outlook.text([]) == " | 0 of 3 runs done"
    assert outlook.text([training("teacher", 5.0, 0.0)]) == " | 0 of 3 runs done"
    assert outlook.text([Activity("teacher", 5.0, 0.5)]) == " | 0 of 3 runs done"  # evaluation


def test_other_kinds_are_taken_to_last_as_long_until_one_has_begun():
    # the teacher takes 10 / 0.25 = 40 s, of which 30 are left; two students of 40 s each
    text = Outlook(LENGTHS).text([training("teacher", 10.0, 0.25)])
    assert text == " | 0 of 3 runs done, about 1 min 50 s left"


def test_a_student_follows_the_steps_of_students():
    outlook = Outlook({**LENGTHS, "control-wall-clock/seed0": 300.0})
    outlook.end("teacher", 40.0)
    outlook.end("distilled/seed0", 20.0)  # 0.1 s a step
    # baseline: 8 / 0.5 = 16 s, 8 left; control: 300 steps of (0.1 + 0.08) / 2 s = 27 s
    text = outlook.text([training("baseline/seed0", 8.0, 0.5)])
    assert text == " | 2 of 4 runs done, about 0 min 35 s left"


def test_a_run_under_evaluation_has_no_training_left_and_keeps_its_pace():
    outlook = Outlook(LENGTHS)
    outlook.text([training("teacher", 10.0, 0.25)])  # 40 s
    text = outlook.text([Activity("teacher", 3.0, 0.5)])
    assert text == " | 0 of 3 runs done, about 1 min 20 s left"  # two students of 40 s


def test_jobs_share_the_rest_and_exports_come_after():
    outlook = Outlook(LENGTHS, jobs=2, exports=2)
    outlook.end("teacher", 40.0)
    outlook.end("distilled/seed0", 20.0)
    # 20 s of one student on two jobs, and twice 30 s of export
    assert outlook.text([]) == " | 2 of 3 runs done, about 1 min 10 s left"


def test_an_evaluation_alone_counts_as_done_but_tells_no_pace():
    outlook = Outlook({"teacher": 0.0, "baseline/seed0": 10.0})
    outlook.end("teacher", 500.0)
    assert outlook.text([]) == " | 1 of 2 runs done"


@pytest.mark.parametrize(
    ("fraction", "said"),
    [(0.0, ""), (0.25, " | about 0 min 30 s left of it")],  # 10 / 0.25 - 10
)
def test_a_command_alone(fraction, said):
    assert one_command([Activity("prepare", 10.0, fraction)]) == said
