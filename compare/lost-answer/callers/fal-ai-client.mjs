// Buys one video with fal's own JavaScript client, as its page shows it: one
// blocking call, with its defaults.
//
// Usage: FAL_KEY=... node fal-ai-client.mjs http://SIMULATOR PROMPT FILE

import { writeFileSync } from "node:fs";

import { fal } from "@fal-ai/client";

const [base, prompt, file] = process.argv.slice(2);
// The lines that point the client at the simulator.
fal.config({
  requestMiddleware: async (request) => {
    const { pathname, search } = new URL(request.url);
    return { ...request, url: `${base}${pathname}${search}` };
  },
});

const result = await fal.subscribe("fal-ai/veo3.1", {
  input: { prompt, aspect_ratio: "16:9" },
});
const video = await fetch(result.data.video.url);
writeFileSync(file, Buffer.from(await video.arrayBuffer()));
