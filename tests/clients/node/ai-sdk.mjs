// The AI SDK with its fal provider against the simulator. It polls the result
// alone and knows neither status nor cancel.
//
// Usage: node ai-sdk.mjs http://ADDRESS

import assert from "node:assert/strict";

import { createFal } from "@ai-sdk/fal";
import { experimental_generateVideo as generateVideo } from "ai";

import { check, fetchVideo, isMp4, run } from "./checks.mjs";

const base = process.argv[2].replace(/\/$/, "");
const queue = "https://queue.fal.run";
const requests = [];

// The provider knows fal's host alone and refuses links to another one: its
// requests are turned to the simulator, and the links in the answers back.
async function swappedFetch(url, init) {
  requests.push(`${init?.method ?? "GET"} ${new URL(url).pathname}`);
  const response = await fetch(String(url).replace(queue, base), init);
  const text = (await response.text()).replaceAll(`${base}/fal-ai`, `${queue}/fal-ai`);
  return new Response(text, { status: response.status, headers: { "content-type": "application/json" } });
}

const fal = createFal({ apiKey: "id:secret", fetch: swappedFetch });
const download = async ({ url }) => ({ data: await fetchVideo(url), mediaType: "video/mp4" });

const generate = (model, settings, options = {}) =>
  generateVideo({
    model: fal.video(model),
    providerOptions: { fal: { pollIntervalMs: 200, ...options } },
    maxRetries: 0,
    download,
    ...settings,
  });

check("text to video with Veo, a length and a shape", async () => {
  const prompt = "a chef plating a dish [sim:latency=1s]";
  requests.length = 0;
  const { video } = await generate("veo3.1", { prompt, aspectRatio: "16:9", duration: 8, seed: 1 });
  assert.equal(requests[0], "POST /fal-ai/veo3.1");
  assert.ok(requests.length > 2 && requests.slice(1).every((line) => /^GET .*\/requests\/[^/]+$/.test(line)));
  isMp4(video.uint8Array);
});

check("text to video with Kling, with options of its own", async () => {
  const prompt = "a red kite over dunes [sim:latency=500ms]";
  const options = { negativePrompt: "rain", cfg_scale: 0.5 };
  const { video } = await generate("kling-video/v3/pro/text-to-video", { prompt, aspectRatio: "9:16" }, options);
  isMp4(video.uint8Array);
});

check("image to video", async () => {
  const prompt = { image: "https://img.example/a.png", text: "slow push in [sim:latency=300ms]" };
  const { video } = await generate("kling-video/v2.1/master/image-to-video", { prompt });
  isMp4(video.uint8Array);
});

check("a length that Kling does not take, as this client writes it, is refused when it runs", async () => {
  const prompt = "a red kite [sim:latency=100ms]";
  await assert.rejects(generate("kling-video/v3/pro/text-to-video", { prompt, duration: 5 }), (error) => {
    assert.equal(error.statusCode, 422);
    return true;
  });
});

await run();
