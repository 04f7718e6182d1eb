"""A service whose videos go to a local S3, with its simulated provider, as processes of their own."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import boto3
import grpc
from botocore.config import Config

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "examples/python"))

from proxy import Proxy  # noqa: E402
from stubs import pb, rpc  # noqa: E402, F401

PATIENCE = 60
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-the-test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test", "AWS_REGION": "eu-west-1"}


def until(what, holds, patience=PATIENCE):
    """Waits for something that nobody announces."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


class House:
    """Everything, in a temporary folder."""

    def __init__(self, binary, archive=None):
        """`archive` makes the settings of another archive than moto's from the folder's name."""
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.processes = []
        self.environment = {**os.environ, **KEYS}
        self.archive = archive(self.folder) if archive else self.start_s3()
        simulator = [binary, "simulator", "--listen", "127.0.0.1:0", "--short-side", "96"]
        simulator += ["--ledger", str(self.folder / "ledger.jsonl")]
        self.simulator = self.spawn("simulator", simulator, r"listening simulator=(\S+)")
        self.start()

    def start_s3(self):
        """Starts moto with an empty bucket; returns the settings that lead there."""
        moto = [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p", "0"]
        address = self.spawn("moto", moto, r"Running on http://(\S+)")
        self.proxy = Proxy(address)
        self.s3 = boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        self.s3.create_bucket(Bucket="videos")
        return {
            "ARCHIVE__URL": "s3://videos/kept here/2026",
            "ARCHIVE__ENDPOINT": self.proxy.url,
            "ARCHIVE__ALLOW_HTTP": "true",
        }

    def spawn(self, name, command, pattern):
        """Starts a process and waits for the line that tells its address."""
        self.log = self.folder / f"{name}-{len(self.processes)}.log"
        with open(self.log, "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        self.processes.append(process)

        def announced():
            found = re.search(pattern, self.log.read_text())
            assert found or process.poll() is None, self.log.read_text()
            return found

        return until(f"{name} to start", announced)[1]

    def start(self, **settings):
        """Starts the service, with more settings if given, written as they are in the environment."""
        fixed = {
            "SERVER__GRPC_LISTEN": "127.0.0.1:0",
            "SERVER__CALLBACK_LISTEN": "127.0.0.1:0",
            "SERVER__ADMIN_LISTEN": "127.0.0.1:0",
            "STORE__PATH": str(self.folder / "store"),
            **self.archive,
            "POLLING__MIN_INTERVAL": "100ms",
            "POLLING__MAX_INTERVAL": "500ms",
            "NETWORK__ALLOW": "127.0.0.0/8",
            "ACCOUNTS__0__NAME": "kling",
            "ACCOUNTS__0__PROVIDER": "kling",
            "ACCOUNTS__0__API_KEY": "kling-key-of-the-test",
            "ACCOUNTS__0__BASE_URL": f"http://{self.simulator}",
        }
        for name, value in {**fixed, **settings}.items():
            self.environment[f"VIDEOGEN_{name}"] = value
        self.address = self.spawn("serve", [self.binary, "serve"], r"listening grpc=(\S+)")
        self.service = self.processes[-1]
        self.serve_log = self.log
        self.client = rpc.VideoGenStub(grpc.insecure_channel(self.address))

    def stop(self, how=signal.SIGTERM):
        """Ends the service."""
        self.service.send_signal(how)
        return self.service.wait(timeout=PATIENCE)

    def close(self):
        """Ends everything."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments, code=0):
        """Runs a command of the binary that must end with this code; returns what it printed."""
        server = ["--server", f"http://{self.address}"] if arguments[0] not in ("fsck",) else []
        ran = subprocess.run(
            [self.binary, *server, *arguments], env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert ran.returncode == code, (arguments, ran)
        return ran.stdout

    def submit(self, prompt="a red kite over dunes"):
        """Submits; returns the id."""
        return json.loads(self.command("submit", prompt, "-m", "kling/kling-3.0", "--json"))["id"]

    def task(self, task_id):
        """The task as it stands."""
        return self.client.GetTask(pb.GetTaskRequest(task_id=task_id)).task

    def becomes(self, task_id, state, patience=PATIENCE):
        """Waits until the task is in this state."""
        wanted = pb.TaskState.Value(f"TASK_STATE_{state}")
        until(f"{task_id} to be {state}", lambda: self.task(task_id).state == wanted, patience)
        return self.task(task_id)

    def download(self, task_id, offset=0):
        """The stored bytes from an offset on."""
        stream = self.client.DownloadVideo(pb.DownloadVideoRequest(task_id=task_id, offset=offset))
        return b"".join(message.chunk for message in stream)

    def objects(self):
        """What the bucket holds: names and sizes."""
        return {held["Key"]: held["Size"] for held in self.s3.list_objects_v2(Bucket="videos").get("Contents", [])}

    def unfinished(self):
        """The uploads that were begun and neither completed nor aborted."""
        return self.s3.list_multipart_uploads(Bucket="videos").get("Uploads", [])

    def bought(self):
        """How many videos were bought."""
        return len((self.folder / "ledger.jsonl").read_text().splitlines())
