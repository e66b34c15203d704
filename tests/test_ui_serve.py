"""How the screen is started: for this machine only unless there is a login, with nothing reported home."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from medmm.errors import ConfigError, StoreError
from tests.ports import free_port
from tests.scored import scored_case, write_scored
from ui import serve
from ui.access import Auth


def test_the_screen_listens_on_this_machine_only_and_reports_nothing_home(tmp_path: Path) -> None:
    command = serve.command(tmp_path, 8600)

    assert command[:4] == [sys.executable, "-m", "ui", "run"]
    assert {
        "--server.address=127.0.0.1",
        "--server.port=8600",
        "--server.enableXsrfProtection=true",
        "--server.enableCORS=true",
        "--browser.gatherUsageStats=false",
        "--client.showErrorDetails=none",
    } <= set(command)
    assert command[-2:] == ["--", str(tmp_path)]


def test_behind_a_login_only_the_host_of_the_login_gets_a_session(tmp_path: Path) -> None:
    auth = Auth.model_validate(
        {
            "auth": {
                "redirect_uri": "https://review.example/oauth2callback",
                "cookie_secret": "x" * 32,
                "client_id": "medmm",
                "client_secret": "s",
                "server_metadata_url": "https://idp.example/.well-known/openid-configuration",
            },
            "access": {"reader": ["ada"]},
        }
    )

    command = serve.command(tmp_path, 8600, serve.Place("0.0.0.0", tmp_path / "auth.toml"), auth)

    assert [word for word in command if "allowedHosts" in word] == ["--server.allowedHosts=review.example"]
    assert {"--server.address=0.0.0.0", f"--secrets.files={tmp_path / 'auth.toml'}"} <= set(command)
    assert command[-2:] == [str(tmp_path), str(tmp_path / "auth.toml")]
    assert serve.address(8600, auth) == "https://review.example"


def test_the_secrets_of_the_users_other_screens_are_not_read(tmp_path: Path) -> None:
    (told,) = [word for word in serve.command(tmp_path, 8600) if word.startswith("--secrets.files=")]

    assert not Path(told.removeprefix("--secrets.files=")).exists()


def test_the_screen_opens_without_torch_or_a_model() -> None:
    code = "import sys, ui.app; print(sorted({'torch', 'monai', 'transformers'} & set(sys.modules)))"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "[]\n"


def test_a_busy_port_gives_way_to_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((serve.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert port < serve.free_port(port) < port + 20


def test_no_free_port_at_all_is_one_line() -> None:
    with pytest.raises(ConfigError, match="Choose another one with --port"):
        serve.free_port(70_000)


@pytest.mark.parametrize("begin", [serve.start, serve.review])
def test_a_folder_that_is_not_a_scored_one_is_refused_before_anything_starts(tmp_path: Path, begin: object) -> None:
    with pytest.raises(StoreError, match="Give the folder that 'medmm score' wrote"):
        begin(tmp_path)  # type: ignore[operator]  # both take the folder first

    assert list(tmp_path.iterdir()) == []


def test_a_screen_that_ends_at_once_is_one_line_and_not_a_wait(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    with pytest.raises(StoreError, match="did not start"):
        serve.wait_until_ready(free_port(), process)


def test_another_screen_that_took_the_port_in_between_is_not_taken_for_this_one() -> None:
    class Well(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer((serve.HOST, 0), Well) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])

        with pytest.raises(StoreError, match="did not start"):
            serve.wait_until_ready(other.server_port, process)

        other.shutdown()


def test_in_the_foreground_it_says_where_it_is_and_ends_quietly_when_stopped(tmp_path: Path) -> None:
    write_scored(tmp_path, [scored_case("c1", views=())])
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # deaf where tests run behind '&'
    begin = f"review(Path({str(tmp_path)!r}), {free_port()}, False)"
    code = f"{heard}; from pathlib import Path; from ui.serve import review; {begin}"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None

    said = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)

    assert said.startswith("Review screen: http://127.0.0.1:")
    assert (process.returncode, complaints) == (0, "")


def test_the_screen_starts_answers_and_stops(tmp_path: Path) -> None:
    write_scored(tmp_path, [scored_case("c1", views=())])

    process, address = serve.start(tmp_path, free_port())
    running = process.poll() is None
    serve.stop(process)

    assert running
    assert address.startswith("http://127.0.0.1:")
    assert process.poll() is not None
