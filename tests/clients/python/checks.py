"""Runs named checks in order, prints one line for each, and counts them."""

import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import urllib.request

_checks = []


def check(name):
    """Registers a function as a check."""

    def register(function):
        _checks.append((name, function))
        return function

    return register


def run():
    """Runs every registered check and ends the process: 0 when all held."""
    failed = 0
    for name, function in _checks:
        try:
            function()
        except Exception:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print(f"not ok {name}", flush=True)
        else:
            print(f"ok {name}", flush=True)
    print(f"{os.path.basename(sys.argv[0])}: {len(_checks) - failed} ok, {failed} not ok", flush=True)
    sys.exit(1 if failed else 0)


def equal(found, expected):
    """Fails with both values unless they are equal."""
    assert found == expected, f"{found!r} is not {expected!r}"


def fails_with(kind, function, *arguments, **named):
    """Returns the exception of this kind that the call must raise."""
    try:
        result = function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, got {result!r}")


def fetch(url):
    """The bytes behind a link."""
    with urllib.request.urlopen(url, timeout=60) as response:
        equal(response.headers.get_content_type(), "video/mp4")
        return response.read()


def is_mp4(data):
    """Fails unless the bytes are an MP4 whose frames ffprobe can count, where it is installed."""
    equal(data[4:8], b"ftyp")
    assert b"moov" in data and b"mdat" in data, "no moov or no mdat"
    if not shutil.which("ffprobe"):
        return
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(data)
        file.flush()
        command = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0"]
        command += ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", file.name]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    equal(probe.stderr, "")
    assert int(probe.stdout.strip().strip(",")) > 0, "no frames"
