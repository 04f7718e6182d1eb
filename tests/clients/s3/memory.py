"""What the service holds in memory at most while large videos go in and out, four at a time each way.

Usage: memory.py BINARY [MIB [LIMIT_MIB]]; by default videos of 1024 MiB, within 150 MiB. It takes nine times as much disk.
"""

import atexit
import hashlib
import pathlib
import re
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from checks import check, equal, run  # noqa: E402
from house import House, pb  # noqa: E402
from sink import Sink  # noqa: E402

BINARY = sys.argv[1]
SIZE = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
LIMIT = int(sys.argv[3]) if len(sys.argv) > 3 else 150
AT_ONCE = 4


def held(house, line):
    """What the service holds, in MiB: VmRSS now, VmHWM at most since its start."""
    status = pathlib.Path(f"/proc/{house.service.pid}/status").read_text()
    return int(re.search(rf"{line}:\s+(\d+) kB", status)[1]) / 1024


def read(house, task_id, found):
    """Downloads a video and keeps its digest only."""
    digest = hashlib.sha256()
    for message in house.client.DownloadVideo(pb.DownloadVideoRequest(task_id=task_id)):
        digest.update(message.chunk)
    found[task_id] = digest.hexdigest()


def transfers(house):
    """Four in, and then four in and four out at once."""
    idle = held(house, "VmRSS")
    prompt = f"a kite [sim:latency=1s] [sim:file_large={SIZE}]"
    first = [house.submit(prompt) for _ in range(AT_ONCE)]
    began = time.monotonic()
    digests = {task_id: house.becomes(task_id, "SUCCEEDED", 1200).artifact.sha256 for task_id in first}
    took = time.monotonic() - began
    into = held(house, "VmHWM")
    second = [house.submit(prompt) for _ in range(AT_ONCE)]
    found = {}
    readers = [threading.Thread(target=read, args=(house, task_id, found)) for task_id in first]
    began = time.monotonic()
    for reader in readers:
        reader.start()
    for task_id in second:
        assert house.becomes(task_id, "SUCCEEDED", 1200).artifact.size > SIZE << 20
    for reader in readers:
        reader.join()
    both = held(house, "VmHWM")
    equal(found, digests)
    print(
        f"   {AT_ONCE} videos of {SIZE} MiB: {idle:.0f} MiB idle, at most {into:.0f} MiB with {AT_ONCE} coming in"
        f" ({took:.0f} s), at most {both:.0f} MiB with {AT_ONCE} more coming in and {AT_ONCE} going out"
        f" ({time.monotonic() - began:.0f} s)"
    )
    assert both < LIMIT, f"{both:.0f} MiB is not below {LIMIT}"


@check("to and from a local folder")
def folder():
    house = House(BINARY, lambda folder: {"ARCHIVE__URL": f"file:{folder}/videos"})
    atexit.register(house.close)
    transfers(house)
    house.close()


@check("to and from a bucket")
def bucket():
    with tempfile.TemporaryDirectory() as kept:
        sink = Sink(kept)
        settings = {"ARCHIVE__URL": "s3://videos/x", "ARCHIVE__ENDPOINT": sink.url, "ARCHIVE__ALLOW_HTTP": "true"}
        house = House(BINARY, lambda _: settings)
        atexit.register(house.close)
        transfers(house)
        house.close()


run()
