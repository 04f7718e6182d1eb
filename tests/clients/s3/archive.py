"""The archive in a bucket of a local S3: the whole way of a video through the real binary, and every way it breaks.

Usage: archive.py BINARY
"""

import atexit
import hashlib
import hmac
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import parse_qsl, quote, urlsplit

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from checks import check, equal, fails_with, is_mp4, run  # noqa: E402
from house import KEYS, House, pb, until  # noqa: E402

house = House(sys.argv[1])
atexit.register(house.close)


def key_of(task_id):
    return f"kept here/2026/{task_id}.mp4"


def kept(task_id):
    """The object of a succeeded task, which must be what the task says."""
    task = house.becomes(task_id, "SUCCEEDED")
    found = house.s3.get_object(Bucket="videos", Key=key_of(task_id))
    data = found["Body"].read()
    equal(hashlib.sha256(data).hexdigest(), task.artifact.sha256)
    equal(len(data), task.artifact.size)
    return found, data


def signature_of(link):
    """What AWS would compute for this link, written from its published algorithm."""
    parts = urlsplit(link)
    query = dict(parse_qsl(parts.query))
    given = query.pop("X-Amz-Signature")
    encoded = "&".join(f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in sorted(query))
    canonical = f"GET\n{parts.path}\n{encoded}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = query["X-Amz-Credential"].split("/", 1)[1]
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + KEYS["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{hashed}"
    return given, hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def probed(path, artifact):
    """Whether ffprobe, where it is installed, reads from the file what the task says of it."""
    if not shutil.which("ffprobe"):
        return
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json"]
    command += ["-show_entries", "stream=width,height,avg_frame_rate:format=duration", str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    stream = told["streams"][0]
    frames, seconds = map(int, stream["avg_frame_rate"].split("/"))
    equal((artifact.width, artifact.height), (stream["width"], stream["height"]))
    assert abs(artifact.frame_rate - frames / seconds) < 0.001, (artifact, told)
    assert abs(artifact.duration.ToMilliseconds() / 1000 - float(told["format"]["duration"])) < 0.002, (artifact, told)


@check("a video goes from the prompt to the bucket and out of it, and is one purchase")
def whole_way():
    path = house.folder / "kite.mp4"
    house.command("generate", "a red kite over dunes", "-m", "kling/kling-3.0", "-o", str(path))
    (key,) = house.objects()
    task_id = pathlib.PurePath(key).stem
    equal(key, key_of(task_id))
    found, data = kept(task_id)
    is_mp4(data)
    probed(path, house.task(task_id).artifact)
    assert path.read_bytes() == data
    equal(found["ContentType"], "video/mp4")
    equal(found["ContentDisposition"], f'attachment; filename="{task_id}.mp4"')
    for offset in [0, 1, 65_536, len(data) - 1, len(data)]:
        assert house.download(task_id, offset) == data[offset:], offset
    equal(fails_with(grpc.RpcError, house.download, task_id, len(data) + 1).code(), grpc.StatusCode.OUT_OF_RANGE)
    equal((house.bought(), house.unfinished()), (1, []))


@check("a link is fetched without credentials, is signed as AWS says, and ends when it was said to")
def link():
    task_id = house.submit()
    data = kept(task_id)[1]
    url = house.command("download", task_id, "--link", "90s").strip()
    query = dict(parse_qsl(urlsplit(url).query))
    equal(query["X-Amz-Expires"], "90")
    given, expected = signature_of(url)
    equal(given, expected)
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.read() == data
        equal(response.headers["Content-Type"], "video/mp4")
        assert response.headers["Content-Disposition"].startswith("attachment")
    bare = fails_with(urllib.error.HTTPError, urllib.request.urlopen, url.split("?")[0])
    equal(bare.code, 403)
    asked = pb.GetDownloadLinkRequest(task_id=task_id)
    equal(house.client.GetDownloadLink(asked).artifact.size, len(data))
    for seconds in [-1, 0, 7 * 86_400 + 1]:
        asked.lifetime.seconds = seconds
        equal(fails_with(grpc.RpcError, house.client.GetDownloadLink, asked).code(), grpc.StatusCode.INVALID_ARGUMENT)
    log = house.serve_log.read_text()
    assert "X-Amz" not in log and KEYS["AWS_SECRET_ACCESS_KEY"] not in log


@check("killed between the upload and the record, the next start adopts the file: one upload, one purchase")
def adoption():
    bought, uploads = house.bought(), house.proxy.count("POST", "?uploads")
    killed = []

    def kill():
        house.service.send_signal(signal.SIGKILL)
        killed.append(house.service.wait())

    house.proxy.completed = kill
    task_id = house.submit("a heron at dawn [sim:latency=1s]")
    until("the kill", lambda: killed)
    assert key_of(task_id) in house.objects(), "the upload was completed"
    house.start()
    kept(task_id)
    assert house.task(task_id).artifact.width > 0
    equal(house.bought() - bought, 1)
    equal(house.proxy.count("POST", "?uploads") - uploads, 1)


def refused(task_id):
    """Whether the log says that the task's file could not be stored."""
    lines = house.serve_log.read_text().splitlines()
    return any(task_id in line and "it waits at the provider" in line for line in lines)


@check("a bucket that refuses, fails or is gone keeps the video waiting, and nothing is lost or bought again")
def trouble():
    for status in [403, 404, 503]:
        bought = house.bought()
        task_id = house.submit(f"a kite [sim:latency=300ms] {status}")
        with house.proxy.broken(status):
            until("a refusal", lambda: refused(task_id))
            task = house.task(task_id)
            equal((task.state, [warning.field for warning in task.warnings]), (pb.TASK_STATE_ARCHIVING, ["artifact"]))
        kept(task_id)
        equal((list(house.task(task_id).warnings), house.bought() - bought), ([], 1))
    equal(house.unfinished(), [])


@check("what is no intact video never appears in the bucket, and what was sent of it is aborted")
def broken():
    aborted = house.proxy.count("DELETE", "uploadId")
    kept(house.submit("a kite [sim:latency=300ms] [sim:file_truncated*1]"))
    equal(house.proxy.count("DELETE", "uploadId") - aborted, 1)
    # Where the connection broke decides whether there is anything to abort.
    for fault in ["file_cut", "file_wrong_length"]:
        kept(house.submit(f"a kite [sim:latency=300ms] [sim:{fault}*1]"))
    uploads, before = house.proxy.count("POST", "?uploads"), house.objects()
    task = house.becomes(house.submit("a kite [sim:latency=300ms] [sim:file_html*99]"), "FAILED")
    equal(task.failure.kind, pb.FAILURE_KIND_ARTIFACT_REJECTED)
    equal((house.proxy.count("POST", "?uploads"), house.objects(), house.unfinished()), (uploads, before, []))


@check("told to stop in the middle of an upload, the service takes back what it has sent, and goes on after its next start")
def stopped():
    task_id = house.submit("a kite [sim:latency=300ms] [sim:download.drip*1]")
    until("the upload to begin", house.unfinished)
    equal(house.stop(), 0)
    equal(house.unfinished(), [])
    house.start()
    kept(task_id)


@check("a file that is altered or gone is DATA_LOSS, and fsck --deep names it")
def damage():
    altered, gone, intact = house.submit(), house.submit(), house.submit()
    data = kept(altered)[1]
    kept(gone), kept(intact)
    house.s3.put_object(Bucket="videos", Key=key_of(altered), Body=data[:-1] + bytes([data[-1] ^ 1]))
    house.s3.delete_object(Bucket="videos", Key=key_of(gone))
    for task_id in [altered, gone]:
        equal(fails_with(grpc.RpcError, house.download, task_id).code(), grpc.StatusCode.DATA_LOSS)
    link = pb.GetDownloadLinkRequest(task_id=gone)
    equal(fails_with(grpc.RpcError, house.client.GetDownloadLink, link).code(), grpc.StatusCode.DATA_LOSS)
    equal(house.stop(), 0)
    found = house.command("fsck", "--deep", code=2)
    assert altered in found and gone in found and intact not in found, found
    house.command("fsck")
    with house.proxy.broken(403):
        house.command("fsck", "--deep", code=3)
    house.s3.put_object(Bucket="videos", Key=key_of(altered), Body=data)
    house.s3.put_object(Bucket="videos", Key=key_of(gone), Body=b"")


@check("what was kept long enough is removed from the bucket, also while that is refused at first")
def retention():
    other = "kept here/not ours.mp4"
    house.s3.put_object(Bucket="videos", Key=other, Body=b"x")
    with house.proxy.broken(503):
        house.start(RETENTION__TASKS="1s")
        until("the bucket to be named", lambda: "the bucket cannot be used now" in house.serve_log.read_text())
        until("a refused removal", lambda: "cannot be removed now" in house.serve_log.read_text())
    until("an empty bucket", lambda: list(house.objects()) == [other])
    until("no task", lambda: not house.client.ListTasks(pb.ListTasksRequest()).tasks)


run()
