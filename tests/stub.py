"""A stand-in W&B server, as a process that a test may kill and start again, where this machine has its script."""

import gzip
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "shared" / "tools" / "wandb_stub.py"
WANDB = Path(sys.executable).with_name("wandb")
KEY = "c0ffee" * 6 + "c0ff"  # of any account


class Stub:
    """A server on a free port; started again, on the same one, it has forgotten all."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(SCRIPT), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = int(self.url.rpartition(":")[2])

    @property
    def is_up(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def dump(self) -> dict:
        with urllib.request.urlopen(f"{self.url}/__dump") as answer:
            return json.load(answer)


class Recorder(ThreadingHTTPServer):
    """Passes all requests on to a server, and keeps their heads and bodies."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Passer)
        self.target, self.url = target, f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[tuple[bytes, bytes]] = []

    def __enter__(self) -> "Recorder":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Passer(BaseHTTPRequestHandler):
    """One request: to be kept and passed on."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.requests.append((f"{self.path}\n{self.headers}".encode(), told))
        request = urllib.request.Request(f"{self.server.target}{self.path}", body or None, dict(self.headers))
        request.method = self.command
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    do_GET = do_PUT = do_HEAD = do_POST
