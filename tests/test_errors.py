import pytest

from kd3d.errors import UserError, user_errors

FROM_A_WORKER = """Caught FileNotFoundError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 349, in _worker_loop
    data = fetcher.fetch(index)
FileNotFoundError: [Errno 2] No such file or directory: 'images/7.png'
"""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("pair 'neck': no loss"), "pair 'neck': no loss"),
        (FileNotFoundError(2, "No such file", "a.pth"), "a.pth: no such file"),
        (NotADirectoryError(20, "Not a directory", "a/b"), "a/b: not a directory"),
        (
            FileExistsError(17, "File exists", "a", None, "b"),
            "[Errno 17] File exists: 'a' -> 'b'",
        ),
        (
            FileNotFoundError(FROM_A_WORKER),
            "[Errno 2] No such file or directory: 'images/7.png'",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_code_2(capsys, error, says):
    with pytest.raises(SystemExit) as ended, user_errors():
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {says}\n"


def test_a_defect_of_ours_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), user_errors():
        _ = 1 / 0
    assert not capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as ended, user_errors(go_on="add --resume"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; add --resume\n"


def interrupted_in_a_library():
    try:
        raise KeyboardInterrupt
    except BaseException:
        raise SyntaxError("failed to format") from None


def test_an_interrupt_that_a_library_turned_into_its_own_error_is_one(capsys):
    with pytest.raises(SystemExit) as end, user_errors("go on"):
        interrupted_in_a_library()
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted; go on\n"
