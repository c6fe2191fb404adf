import json

from click.testing import CliRunner

from cluster.cli import main


def test_the_command_prints_figures_of_ours_beside_those_of_others() -> None:
    words = ["bench", "stragglers", "--trials", "12", "--processes", "1", "--format", "json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["bench"] == "stragglers"
    assert {"host_precision", "host_recall", "cause_macro_f1"} <= {*result["figures"]}
    assert {*result["targets"]} >= {"host_precision", "false_alarms_per_100"}
    judges = {row["judge"] for row in result["rows"] if "judge" in row}
    assert {"ours", "Spark speculation", "Dr. Elephant"} <= judges
    row = next(row for row in result["rows"] if row.get("figure") == "host_recall")
    assert row["low"] <= row["value"] <= row["high"] and row["of"] > 0
