"""Kling's requests as its users' clients send them, against the simulator.

The legacy bodies are those observed from the AI SDK's Kling provider, with a
token signed by a library of its own; the new standard follows the documents.
No code of VideoGen's adapters takes part.

Usage: kling.py http://ADDRESS
"""

import sys
import time
import uuid
import warnings

import httpx
import jwt

from checks import check, equal, fetch, is_mp4, run

BASE = sys.argv[1].rstrip("/")
http = httpx.Client(base_url=BASE, timeout=30)
QUICK = "[sim:latency=300ms]"
# The example pair is shorter than a real one.
warnings.filterwarnings("ignore", module="jwt")


def token(secret="sk-example", age=0):
    """A new token for every call, as that client makes them: these claims and no others."""
    now = int(time.time()) - age
    claims = {"iss": "ak-example", "exp": now + 1800, "nbf": now - 5}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"alg": "HS256", "typ": "JWT"})


def bearer(credential):
    return {"authorization": f"Bearer {credential}"}


def legacy_headers():
    return bearer(token()) | {"idempotency-key": f"aisdk_vid_{uuid.uuid4().hex}", "user-agent": "ai/7.0.173"}


def accepted(response):
    """The data of an envelope that says yes twice: by its status and by its code."""
    equal(response.status_code, 200)
    body = response.json()
    equal((body["code"], body["message"]), (0, "SUCCEED"))
    assert body["request_id"], body
    return body["data"]


def refused(response, status, code):
    equal((response.status_code, response.json()["code"]), (status, code))


def until(query, word):
    """Queries until the state is final, and checks that it is this one."""
    deadline = time.monotonic() + 60
    while True:
        task = query()
        state = task.get("task_status", task.get("status"))
        if state in ("succeed", "succeeded", "failed"):
            equal(state, word)
            return task
        assert state in ("submitted", "processing"), state
        assert time.monotonic() < deadline, "not final after a minute"
        time.sleep(0.1)


def legacy(kind, body):
    """The whole way of one legacy task, to its first file."""
    path = f"/v1/videos/{kind}"
    task = accepted(http.post(path, json=body, headers=legacy_headers()))
    equal(task["task_status"], "submitted")
    assert isinstance(task["task_id"], str) and isinstance(task["created_at"], int), task
    done = until(lambda: accepted(http.get(f"{path}/{task['task_id']}", headers=bearer(token()))), "succeed")
    equal(done["task_info"].get("external_task_id"), body.get("external_task_id"))
    video = done["task_result"]["videos"][0]
    assert isinstance(video["duration"], str), "a duration is a string of seconds"
    is_mp4(fetch(video["url"]))


@check("legacy: text to video as the AI SDK sends it")
def text():
    body = {"model_name": "kling-v3", "prompt": f"a kite {QUICK}", "negative_prompt": "rain", "sound": "on"}
    body |= {"mode": "pro", "aspect_ratio": "16:9", "duration": "7", "external_task_id": f"job-{uuid.uuid4()}"}
    legacy("text2video", body)


@check("legacy: image to video with an end frame as the AI SDK sends it")
def image():
    body = {"model_name": "kling-v2-6", "prompt": f"a kite {QUICK}", "image": "https://img.example/a.png"}
    body |= {"image_tail": "AAECAw==", "cfg_scale": 0.5, "mode": "pro", "duration": "5"}
    legacy("image2video", body)


@check("legacy: motion control as the AI SDK sends it")
def motion():
    body = {"model_name": "kling-v3", "video_url": "https://img.example/a.mp4", "character_orientation": "image"}
    body |= {"mode": "std", "prompt": f"a dance {QUICK}", "image_url": "https://img.example/a.png"}
    legacy("motion-control", body | {"keep_original_sound": "yes"})


@check("legacy: several images as the AI SDK sends them")
def several():
    images = [{"image": "https://img.example/a.png"}, {"image": "https://img.example/b.png"}]
    legacy("multi-image2video", {"model_name": "kling-v1-6", "image_list": images, "prompt": f"a kite {QUICK}"})


@check("legacy: a task is found by our own id too, and a second one under it is refused")
def external_id():
    ours = f"job-{uuid.uuid4()}"
    body = {"model_name": "kling-v3", "prompt": f"a kite {QUICK}", "external_task_id": ours}
    task = accepted(http.post("/v1/videos/text2video", json=body, headers=legacy_headers()))
    found = accepted(http.get(f"/v1/videos/text2video/{ours}", headers=bearer(token())))
    equal(found["task_id"], task["task_id"])
    again = http.post("/v1/videos/text2video", json=body, headers=legacy_headers())
    assert again.json()["code"] != 0, again.text


@check("legacy: an end frame in mode std is refused")
def end_frame_std():
    body = {"model_name": "kling-v2-6", "prompt": "x", "image": "https://img.example/a.png"}
    body |= {"image_tail": "https://img.example/b.png", "mode": "std", "duration": "5"}
    refused(http.post("/v1/videos/image2video", json=body, headers=legacy_headers()), 400, 1201)


@check("tokens: none, forged, outdated, and one on the new standard are each refused by their code")
def credentials():
    body = {"model_name": "kling-v3", "prompt": "x"}
    refused(http.post("/v1/videos/text2video", json=body), 401, 1001)
    refused(http.post("/v1/videos/text2video", json=body, headers=bearer(token("other"))), 401, 1002)
    refused(http.post("/v1/videos/text2video", json=body, headers=bearer(token(age=3600))), 401, 1004)
    refused(http.post("/text-to-video/kling-3.0", json={"prompt": "x"}, headers=bearer(token())), 401, 1002)


def task_by(parameter, value):
    """One task of the new standard, by an id of either kind."""
    tasks = accepted(http.get("/tasks", params={parameter: value}, headers=bearer("api-key")))
    equal(len(tasks), 1)
    return tasks[0]


def standard(path, body):
    """The whole way of one task of the new standard."""
    ours = f"job-{uuid.uuid4()}"
    body = body | {"options": {"external_task_id": ours}}
    task = accepted(http.post(path, json=body, headers=bearer("api-key")))
    equal((task["status"], task["external_id"]), ("submitted", ours))
    equal(task_by("external_task_ids", ours)["id"], task["id"])
    done = until(lambda: task_by("task_ids", task["id"]), "succeeded")
    output = done["outputs"][0]
    equal(output["type"], "video")
    assert isinstance(output["duration"], str) and done["billing"], done
    is_mp4(fetch(output["url"]))


@check("new: text to video")
def new_text():
    settings = {"resolution": "1080p", "aspect_ratio": "16:9", "duration": 5, "audio": "off", "multi_shot": False}
    standard("/text-to-video/kling-3.0", {"prompt": f"a red kite {QUICK}", "settings": settings})


@check("new: image to video with first and last frame")
def new_image():
    contents = [
        {"type": "prompt", "text": f"slow push in {QUICK}"},
        {"type": "first_frame", "url": "https://img.example/a.png"},
        {"type": "last_frame", "url": "https://img.example/b.png"},
    ]
    standard("/image-to-video/kling-3.0", {"contents": contents, "settings": {"resolution": "1080p", "duration": 5}})


@check("new: one query serves twenty tasks and refuses twenty-one")
def batch():
    def create(number):
        body = {"prompt": f"kite {number} [sim:latency=60s]"}
        return accepted(http.post("/text-to-video/kling-3.0", json=body, headers=bearer("api-key")))["id"]

    ids = [create(number) for number in range(21)]
    twenty = http.get("/tasks", params={"task_ids": ",".join(ids[:20])}, headers=bearer("api-key"))
    equal({task["id"] for task in accepted(twenty)}, set(ids[:20]))
    more = http.get("/tasks", params={"task_ids": ",".join(ids)}, headers=bearer("api-key"))
    equal(more.json()["code"], 1201)


@check("new: a failed task is a success of HTTP that says why")
def failed():
    body = {"prompt": "x [sim:latency=200ms] [sim:fail]"}
    task = accepted(http.post("/text-to-video/kling-3.0", json=body, headers=bearer("api-key")))
    assert until(lambda: task_by("task_ids", task["id"]), "failed")["message"], "no reason"


run()
