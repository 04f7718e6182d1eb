// Runs named checks in order, prints one line for each, and counts them.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const checks = [];

/** Registers a check. */
export const check = (name, body) => checks.push([name, body]);

/** Runs every registered check and ends the process: 0 when all held. */
export async function run() {
  let failed = 0;
  for (const [name, body] of checks) {
    try {
      await body();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(error);
      console.log(`not ok ${name}`);
    }
  }
  console.log(`${basename(process.argv[1])}: ${checks.length - failed} ok, ${failed} not ok`);
  process.exit(failed ? 1 : 0);
}

/** The bytes behind a link. */
export async function fetchVideo(url) {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "video/mp4");
  return new Uint8Array(await response.arrayBuffer());
}

/** Fails unless the bytes are an MP4 whose frames ffprobe can count, where it is installed. */
export function isMp4(bytes) {
  assert.equal(Buffer.from(bytes.subarray(4, 8)).toString("latin1"), "ftyp");
  const folder = mkdtempSync(join(tmpdir(), "videogen-"));
  try {
    const file = join(folder, "video.mp4");
    writeFileSync(file, bytes);
    const show = ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
    const probe = spawnSync("ffprobe", ["-v", "error", "-count_frames", "-select_streams", "v:0", ...show, file]);
    if (probe.error?.code === "ENOENT") return;
    assert.equal(probe.stderr.toString(), "");
    assert.ok(Number.parseInt(probe.stdout.toString(), 10) > 0, "no frames");
  } finally {
    rmSync(folder, { recursive: true });
  }
}
