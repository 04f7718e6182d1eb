// fal's own JavaScript client against the simulator: submit, follow, result, cancel.
//
// Usage: node fal.mjs http://ADDRESS

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { ApiError, createFalClient, ValidationError } from "@fal-ai/client";

import { check, fetchVideo, isMp4, run } from "./checks.mjs";

const base = process.argv[2].replace(/\/$/, "");
const model = "fal-ai/kling-video/v3/pro/text-to-video";

// The client knows fal's hosts alone: every request is turned to the simulator.
const fal = createFalClient({
  credentials: "id:secret",
  requestMiddleware: async (request) => {
    const { pathname, search } = new URL(request.url);
    return { ...request, url: `${base}${pathname}${search}` };
  },
});

const kite = (directive = "latency=1s") => ({
  prompt: `a red kite over dunes [sim:${directive}]`,
  duration: "5",
  aspect_ratio: "16:9",
});

const completed = (requestId) => fal.queue.subscribeToStatus(model, { requestId, logs: true, pollInterval: 100 });

check("submit, status by status, and the result", async () => {
  const submitted = await fal.queue.submit(model, { input: kite("latency=2s") });
  assert.equal(submitted.status, "IN_QUEUE");
  assert.equal(typeof submitted.queue_position, "number");
  const requestId = submitted.request_id;
  assert.equal(submitted.status_url, `${base}/fal-ai/kling-video/requests/${requestId}/status`);
  const words = [];
  const done = await fal.queue.subscribeToStatus(model, {
    requestId,
    logs: true,
    pollInterval: 100,
    onQueueUpdate: (update) => words.at(-1) === update.status || words.push(update.status),
  });
  assert.deepEqual(words.slice(-2), ["IN_PROGRESS", "COMPLETED"]);
  assert.ok(done.logs.length > 0 && done.metrics.inference_time > 0, JSON.stringify(done));
  const result = await fal.queue.result(model, { requestId });
  assert.equal(result.requestId, requestId, "the id comes from the header x-fal-request-id");
  isMp4(await fetchVideo(result.data.video.url));
});

check("subscribe by polling", async () => {
  const updates = [];
  const result = await fal.subscribe(model, {
    input: kite(),
    logs: true,
    pollInterval: 100,
    onQueueUpdate: (update) => updates.push(update.status),
  });
  assert.equal(updates.at(-1), "COMPLETED");
  isMp4(await fetchVideo(result.data.video.url));
});

check("subscribe by the stream of server-sent events", async () => {
  const updates = [];
  const result = await fal.subscribe(model, {
    input: kite(),
    logs: true,
    mode: "streaming",
    connectionMode: "server",
    onQueueUpdate: (update) => updates.push(update.status),
  });
  assert.equal(updates.at(-1), "COMPLETED");
  assert.ok(updates.includes("IN_PROGRESS"), updates.join());
  isMp4(await fetchVideo(result.data.video.url));
});

check("a cancelled request ends without a video", async () => {
  const { request_id: requestId } = await fal.queue.submit(model, { input: kite("latency=60s") });
  await fal.queue.cancel(model, { requestId });
  const status = await Promise.race([completed(requestId), sleep(20_000, null, { ref: false })]);
  assert.equal(status?.status, "COMPLETED");
  await assert.rejects(fal.queue.result(model, { requestId }), (error) => error.status >= 400 && error.status < 500);
});

check("a cancel after the end says so", async () => {
  const { request_id: requestId } = await fal.queue.submit(model, { input: kite("latency=100ms") });
  await completed(requestId);
  await assert.rejects(
    fal.queue.cancel(model, { requestId }),
    (error) => error instanceof ApiError && error.status === 400,
  );
});

check("wrong input is queued, completes, and its result is a validation error that names the field", async () => {
  const input = { prompt: "x [sim:latency=100ms]", duration: "5s" };
  const { request_id: requestId } = await fal.queue.submit(model, { input });
  await completed(requestId);
  await assert.rejects(fal.queue.result(model, { requestId }), (error) => {
    assert.ok(error instanceof ValidationError, error);
    assert.equal(error.getFieldErrors("duration").length, 1);
    return true;
  });
});

check("the client repeats a create that was throttled", async () => {
  const result = await fal.subscribe(model, { input: kite("rate_limited"), pollInterval: 100 });
  isMp4(await fetchVideo(result.data.video.url));
});

await run();
