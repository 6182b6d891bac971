"""The page of a night and its notification."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from harness import ROOT
from harness.cli.main import main
from harness.errors import Exit
from harness.nightly.config import Nightly
from harness.nightly.report import notify
from harness.store.nights import History, NightRecord


def test_a_page_that_cannot_be_written_is_printed_and_sent_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "results/nightly/2026-01-01.md").mkdir(parents=True)
    sent, file = tmp_path / "sent", tmp_path / "nightly.yaml"
    file.write_text(yaml.safe_dump({"notify": ["sh", "-c", f"cat > {sent}"]}))
    arguments = ["--results", str(tmp_path / "results"), "--device", "cpu", "--date", "2026-01-01"]
    assert main(["nightly", str(file), *arguments]) == Exit.OUTPUT
    assert "nothing was measured" in sent.read_text()
    printed = capsys.readouterr()
    assert "nothing was measured" in printed.out
    assert "2026-01-01.md cannot be written" in printed.err


def test_the_page_of_a_night_shows_the_histories_of_its_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results, file = tmp_path / "results", tmp_path / "nightly.yaml"
    history = [NightRecord(f"2026-01-{day:02}", "t/fcn/lip", 40.0 + day % 3, "", "") for day in range(1, 10)]
    History(results).add(history)
    file.write_text("{}")
    arguments = ["--results", str(results), "--device", "cpu", "--date", "2026-01-09"]
    assert main(["nightly", str(file), *arguments]) == Exit.NOTHING
    page = (results / "nightly" / "2026-01-09.md").read_text()
    assert "## Histories" in page
    assert "(2026-01-09/000.svg)" in page
    assert (results / "nightly" / "2026-01-09" / "000.svg").is_file()
    assert capsys.readouterr().out == f"{page}\nreport: {results / 'nightly' / '2026-01-09.md'}\n"


def test_a_failing_notification_is_said_and_costs_nothing():
    config = Nightly(notify=("false",))
    assert "not sent" in notify(config, "page", Exit.FAILED)
    assert notify(config, "page", Exit.OK) is None
    assert notify(Nightly(notify=("cat",)), "page", Exit.FAILED) is None


def test_the_shipped_example_of_a_webhook_sends_the_page(tmp_path: Path):
    """The commented line of nightly.yaml, its address replaced by a server of this test."""
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    line = next(s for s in (ROOT / "slurm/nightly.yaml").read_text().splitlines() if s.startswith("# notify: [curl"))
    (*command, address) = yaml.safe_load(line.removeprefix("# "))["notify"]
    assert address.startswith("https://")
    got: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200 if len(got) == 1 else 500)
            self.end_headers()

        def log_message(self, *about: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = Nightly(notify=(*command, "--noproxy", "*", f"http://127.0.0.1:{server.server_port}"))
        page = "# Nightly: look at this\n\n- fcn ± 0.2\n"
        assert notify(config, page, Exit.FAILED) is None
        assert "not sent" in notify(config, page, Exit.NOTHING)
        server.shutdown()
        thread.join()
    assert got == [page, page]
