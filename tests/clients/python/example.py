"""The Python example against a running service, as its reader would use it.

Usage: example.py ADDRESS
"""

import contextlib
import io
import os
import pathlib
import re
import runpy
import sys
import tempfile
import uuid

import grpc

from checks import check, equal, fails_with, is_mp4, run

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "examples/python"))

import generate  # noqa: E402
from stubs import pb, rpc  # noqa: E402

SERVER = sys.argv[1]
videogen = rpc.VideoGenStub(grpc.insecure_channel(SERVER))
FRAMES = ["--start-image", "https://example.com/a.png", "--end-image", "https://example.com/b.png"]
QUICK = "[sim:latency=1s]"


def command(*arguments):
    """Runs generate.py as from a shell: what it printed, and why it ended."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            generate.main([*arguments, "--server", SERVER])
            reason = None
        except SystemExit as end:
            reason = end.code
    return out.getvalue(), reason


def makes_a_video(*arguments):
    """Runs generate.py, which must leave an intact file; returns what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "video.mp4")
        out, reason = command(*arguments, "-o", path)
        equal(reason, None)
        equal(os.listdir(folder), ["video.mp4"])
        is_mp4(pathlib.Path(path).read_bytes())
    return out


@check("text to video, from the prompt to the file")
def text():
    out = makes_a_video(f"A chef plating a dish {QUICK}", "-d", "5", "--aspect-ratio", "9:16")
    assert re.search(r"^task [0-9a-f-]{36}$", out, re.MULTILINE), out
    assert "\nrunning" in out and "\nsucceeded" in out, out


@check("text to video through fal")
def fal():
    makes_a_video(f"A chef plating a dish {QUICK}", "-m", "fal/fal-ai/kling-video/v3/pro/text-to-video")


@check("image to video with a start and an end frame in mode pro")
def frames():
    makes_a_video(f"slow push in {QUICK}", "-m", "kling/kling-v2-6", "--mode", "pro", *FRAMES)


@check("the same in mode std is INVALID_ARGUMENT and names spec.end_image")
def frames_std():
    args = generate.arguments(["slow push in", "-m", "kling/kling-v2-6", "--mode", "std", *FRAMES])
    error = fails_with(grpc.RpcError, generate.submit, videogen, str(uuid.uuid4()), generate.specify(args))
    equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    equal([field for field, _ in generate.violations(error)], ["spec.end_image"])
    out, reason = command("slow push in", "-m", "kling/kling-v2-6", "--mode", "std", *FRAMES)
    assert "task" not in out and "\n  spec.end_image: " in reason, (out, reason)


@check("a repeated request id answers with the same task and buys nothing")
def replay():
    request_id = f"order-{uuid.uuid4()}"
    spec = pb.Spec(model="kling/kling-3.0", prompt=f"a red kite {QUICK}")
    first, first_replayed = generate.submit(videogen, request_id, spec)
    again, again_replayed = generate.submit(videogen, request_id, spec)
    equal((again.id, first_replayed, again_replayed), (first.id, False, True))
    final = generate.watch(videogen, first)
    equal(final.state, pb.TASK_STATE_SUCCEEDED)
    equal(len(final.attempts), 1)


@check("a request id under another spec is ALREADY_EXISTS")
def reused():
    request_id = f"order-{uuid.uuid4()}"
    generate.submit(videogen, request_id, pb.Spec(model="kling/kling-3.0", prompt=f"one {QUICK}"))
    other = pb.Spec(model="kling/kling-3.0", prompt=f"two {QUICK}")
    error = fails_with(grpc.RpcError, generate.submit, videogen, request_id, other)
    equal(error.code(), grpc.StatusCode.ALREADY_EXISTS)


@check("revisions grow, and a watch that begins again goes on after the last one seen")
def resume():
    spec = pb.Spec(model="kling/kling-3.0", prompt=f"a blue kite {QUICK}")
    task, _ = generate.submit(videogen, str(uuid.uuid4()), spec)
    for event in videogen.Watch(pb.WatchRequest(task_id=task.id)):
        if event.HasField("task") and event.task.state == pb.TASK_STATE_RUNNING:
            task = event.task
            break
    revisions = [task.revision]
    final = generate.watch(videogen, task, lambda task: revisions.append(task.revision))
    equal(revisions, sorted(set(revisions)))
    equal((final.state, final.revision), (pb.TASK_STATE_SUCCEEDED, revisions[-1]))


@check("a task that fails says why")
def failure():
    out, reason = command("x [sim:latency=200ms] [sim:fail]")
    assert "\nfailed" in out and reason, (out, reason)


@check("the quickstart is the one of the README, and leaves a file")
def quickstart():
    source = pathlib.Path(generate.__file__).with_name("quickstart.py").read_text()
    assert f"```python\n{source}```" in (ROOT / "README.md").read_text(), "README.md quotes another one"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        script = pathlib.Path("quickstart.py")
        script.write_text(source.replace("127.0.0.1:50051", SERVER))
        with contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(str(script))
        is_mp4(pathlib.Path("fox.mp4").read_bytes())


run()
