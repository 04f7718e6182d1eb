"""Buys one video and keeps it, as a careful backend does.

Each of the three calls survives a server that goes away for a while: Submit is
repeated under the same request id, so that nothing is bought twice; Watch goes
on after the last revision seen; the download goes on at the last byte written.
"""

import argparse
import hashlib
import os
import random
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from stubs import pb, rpc

PATIENCE = 300.0  # Seconds that a server may be away before we give up.


def patiently(call):
    """Repeats a call while the server is away, with growing pauses. Only UNAVAILABLE is worth repeating."""
    give_up, pause = time.monotonic() + PATIENCE, 0.5
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > give_up:
                raise
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, 10.0)


def submit(videogen, request_id, spec):
    """Returns the task, and whether it was there already: a repeated request id buys nothing."""
    request = pb.SubmitRequest(request_id=request_id, spec=spec)
    response, call = patiently(lambda: videogen.Submit.with_call(request, timeout=10))
    return response.task, ("videogen-replayed", "true") in call.initial_metadata()


def watch(videogen, task, tell=lambda task: None):
    """Follows a task to its end and returns its final state."""

    def follow():
        nonlocal task
        for event in videogen.Watch(pb.WatchRequest(task_id=task.id, after_revision=task.revision)):
            if event.HasField("task"):  # The other kind is a heartbeat.
                task = event.task
                tell(task)
        return task

    return patiently(follow)


def download(videogen, task, path):
    """Fetches the file of a task, and puts it in its place only when its digest is right."""
    digest, part = hashlib.sha256(), path + ".part"
    with open(part, "wb") as file:

        def fetch():
            for response in videogen.DownloadVideo(pb.DownloadVideoRequest(task_id=task.id, offset=file.tell())):
                digest.update(response.chunk)
                file.write(response.chunk)

        patiently(fetch)
    if digest.hexdigest() != task.artifact.sha256:
        raise ValueError(f"{part} is not what the server stored")
    os.replace(part, path)


def violations(error):
    """What is wrong with a request, as pairs of field and description."""
    status, bad = rpc_status.from_call(error), error_details_pb2.BadRequest()
    details = [detail for detail in (status.details if status else []) if detail.Unpack(bad)]
    return [(violation.field, violation.description) for violation in (bad.field_violations if details else [])]


def arguments(argv):
    parser = argparse.ArgumentParser(description="Buys one video and keeps it.")
    parser.add_argument("prompt")
    parser.add_argument("-m", "--model", default="kling/kling-3.0")
    parser.add_argument("-o", "--output", default="video.mp4")
    parser.add_argument("-d", "--duration", type=int, metavar="SECONDS")
    parser.add_argument("--aspect-ratio", metavar="W:H")
    parser.add_argument("--start-image", metavar="URL")
    parser.add_argument("--end-image", metavar="URL")
    parser.add_argument("--mode", help="one of the provider's own options: std, pro or 4k")
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--request-id", default=str(uuid.uuid4()), help="to take up an earlier request")
    return parser.parse_args(argv)


def specify(args):
    spec = pb.Spec(model=args.model, prompt=args.prompt, aspect_ratio=args.aspect_ratio)
    if args.duration:
        spec.duration.FromSeconds(args.duration)
    if args.start_image:
        spec.start_image.uri = args.start_image
    if args.end_image:
        spec.end_image.uri = args.end_image
    if args.mode:
        spec.provider_options.update({"mode": args.mode})
    return spec


def tell(task):
    state = pb.TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
    percent = f" {task.progress.percent:.0f} %" if task.progress.HasField("percent") else ""
    print(f"{state}{percent}", flush=True)


def main(argv=None):
    args = arguments(argv)
    print(f"request id {args.request_id}", flush=True)
    with grpc.insecure_channel(args.server) as channel:
        videogen = rpc.VideoGenStub(channel)
        try:
            task, replayed = submit(videogen, args.request_id, specify(args))
            print(f"task {task.id}{' (already there)' if replayed else ''}", flush=True)
            task = watch(videogen, task, tell)
            if task.state != pb.TASK_STATE_SUCCEEDED:
                sys.exit(task.failure.message or "cancelled")
            download(videogen, task, args.output)
        except grpc.RpcError as error:
            lines = [f"{error.code().name}: {error.details()}"]
            sys.exit("\n  ".join(lines + [f"{field}: {words}" for field, words in violations(error)]))
    print(f"{args.output}: {task.artifact.size} bytes, {task.artifact.width}x{task.artifact.height}")


if __name__ == "__main__":
    main()
