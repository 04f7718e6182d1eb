// Buys one video with the AI SDK and its fal provider, as its page shows it: one
// blocking call, with its defaults.
//
// Usage: FAL_KEY=... node ai-sdk.mjs http://SIMULATOR PROMPT FILE

import { writeFileSync } from "node:fs";

import { createFal } from "@ai-sdk/fal";
import { experimental_generateVideo as generateVideo } from "ai";

const [base, prompt, file] = process.argv.slice(2);
// The lines that point the client at the simulator: requests there, and the links
// in the answers back, because the provider refuses those to another host. The
// download is given for the same reason: the SDK's own refuses a loopback address.
const queue = "https://queue.fal.run";
const fal = createFal({
  fetch: async (url, init) => {
    const response = await fetch(String(url).replace(queue, base), init);
    const text = (await response.text()).replaceAll(`${base}/fal-ai`, `${queue}/fal-ai`);
    const { status, statusText, headers } = response;
    return new Response(text, { status, statusText, headers });
  },
});
const download = async ({ url }) => {
  const response = await fetch(url);
  return { data: new Uint8Array(await response.arrayBuffer()), mediaType: "video/mp4" };
};

const { video } = await generateVideo({
  model: fal.video("veo3.1"),
  prompt,
  aspectRatio: "16:9",
  download,
});
writeFileSync(file, video.uint8Array);
