"""fal's own Python client against the simulator: submit, follow, result, cancel.

Usage: fal.py http://ADDRESS
"""

import asyncio
import json
import sys
import time
import urllib.request

import fal_client
import fal_client.client

from checks import check, equal, fails_with, fetch, is_mp4, run

BASE = sys.argv[1].rstrip("/") + "/"
# Read when a client makes its URLs; there is no argument for it.
fal_client.client.QUEUE_URL_FORMAT = BASE

MODEL = "fal-ai/kling-video/v3/pro/text-to-video"
client = fal_client.SyncClient(key="id:secret")


def kite(directive="latency=1s"):
    return {"prompt": f"a red kite over dunes [sim:{directive}]", "duration": "5", "aspect_ratio": "16:9"}


def booked():
    """How many creates the simulator has sold."""
    with urllib.request.urlopen(BASE + "simulator/ledger", timeout=10) as response:
        return json.load(response)["count"]


@check("submit answers with an id and three links, and the events end with Completed")
def submit_and_follow():
    handle = client.submit(MODEL, kite("latency=2s"), priority="low", start_timeout=30)
    # The links name the app, not the whole model.
    equal(handle.response_url, f"{BASE}fal-ai/kling-video/requests/{handle.request_id}")
    equal(handle.status_url, handle.response_url + "/status")
    equal(handle.cancel_url, handle.response_url + "/cancel")
    events = list(handle.iter_events(with_logs=True, interval=0.1))
    kinds = [type(event) for event in events]
    equal(sorted(set(kinds), key=kinds.index)[-2:], [fal_client.InProgress, fal_client.Completed])
    assert all(isinstance(event.position, int) for event in events if isinstance(event, fal_client.Queued))
    done = events[-1]
    assert done.logs and {"message", "level", "timestamp"} <= set(done.logs[0]), done.logs
    assert done.metrics["inference_time"] > 0, done.metrics
    equal(done.error, None)
    is_mp4(fetch(handle.get(interval=0.1)["video"]["url"]))


@check("subscribe reports the queue and returns the file")
def subscribe():
    seen, ids = [], []
    result = client.subscribe(
        MODEL, kite(), with_logs=True, interval=0.1, on_enqueue=ids.append, on_queue_update=seen.append
    )
    equal(len(ids), 1)
    equal(type(seen[-1]), fal_client.Completed)
    video = result["video"]
    equal(video["content_type"], "video/mp4")
    is_mp4(fetch(video["url"]))


@check("status and result are found by the id alone")
def by_id():
    handle = client.submit(MODEL, kite("latency=300ms"))
    again = client.get_handle(MODEL, handle.request_id)
    equal(again.status_url, handle.status_url)
    result = client.result(MODEL, handle.request_id)
    equal(type(client.status(MODEL, handle.request_id, with_logs=True)), fal_client.Completed)
    is_mp4(fetch(result["video"]["url"]))


@check("a cancelled request ends without a video")
def cancel():
    handle = client.submit(MODEL, kite("latency=60s"))
    handle.cancel()
    deadline = time.monotonic() + 20
    while not isinstance(handle.status(), fal_client.Completed):
        assert time.monotonic() < deadline, "still running 20 s after its cancel"
        time.sleep(0.1)
    error = fails_with(fal_client.FalClientHTTPError, handle.get, interval=0.1)
    assert 400 <= error.status_code < 500, error.status_code


@check("a cancel after the end says so")
def cancel_late():
    handle = client.submit(MODEL, kite("latency=100ms"))
    handle.get(interval=0.1)
    equal(fails_with(fal_client.FalClientHTTPError, handle.cancel).status_code, 400)


@check("wrong input is queued, completes, and its result is a 422 that names the field")
def wrong_input():
    handle = client.submit(MODEL, {"prompt": "x [sim:latency=100ms]", "duration": "5s"})
    error = fails_with(fal_client.FalClientHTTPError, handle.get, interval=0.1)
    equal(error.status_code, 422)
    equal(error.response.json()["detail"][0]["loc"], ["body", "duration"])


@check("an unknown request is 404")
def unknown():
    error = fails_with(fal_client.FalClientHTTPError, client.status, MODEL, "no-such-request")
    equal(error.status_code, 404)


@check("the client repeats a create that was throttled, and only one is booked")
def throttled():
    before = booked()
    client.submit(MODEL, kite("rate_limited"))
    equal(booked(), before + 1)


@check("the asynchronous client does the same")
def asynchronous():
    async def main():
        other = fal_client.AsyncClient(key="id:secret")
        return await other.subscribe(MODEL, kite(), interval=0.1)

    is_mp4(fetch(asyncio.run(main())["video"]["url"]))


run()
