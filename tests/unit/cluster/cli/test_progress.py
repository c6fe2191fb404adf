import pytest

from cluster.cli.progress import ProgressListener


def test_a_host_that_is_slow_so_far_is_told_when_others_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressListener(quiet=False) as listener:
        listener.forming([], "")
        listener.forming(["node3"], "node3 is 2.00x slower than its peers")
        listener.forming(["node3"], "node3 is 2.05x slower than its peers")
        listener.forming([], "")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "So far node3 is 2.00x slower than its peers",
        "So far no host is slow any more",
    ]


def test_a_program_that_reads_json_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressListener(quiet=True) as listener:
        listener.forming(["node3"], "node3 is 2.00x slower than its peers")
    assert capsys.readouterr().err == ""
