// A receiver that verifies VideoGen's events with the library of npm. It turns the first try of each event away, ends
// when every event that is named was taken, and says what it has checked.
//
// Usage: receiver.mjs SECRET PREVIOUS_SECRET EVENT...

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const [secret, previous, ...wanted] = process.argv.slice(2);
const stranger = `whsec_${Buffer.from("of somebody else altogether").toString("base64")}`;

/** Fails unless the event is signed by both secrets and by nothing else. */
function verify(body, headers) {
  const refuses = (secret, body, headers) => assert.throws(() => new Webhook(secret).verify(body, headers));
  for (const one of [secret, previous]) {
    assert.deepEqual(new Webhook(one).verify(body, headers), JSON.parse(body));
    for (let at = 0; at < body.length; at += Math.max(1, Math.floor(body.length / 50))) {
      const altered = Buffer.from(body);
      altered[at] ^= 1;
      refuses(one, altered, headers);
    }
    refuses(one, body, { ...headers, "webhook-id": "evt_other" });
    refuses(one, body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) - 1) });
  }
  refuses(stranger, body, headers);
}

const [tries, bodies, taken] = [new Map(), new Map(), new Map()];

function end(code, line) {
  console.log(line);
  process.exit(code);
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const id = request.headers["webhook-id"];
  try {
    verify(body, request.headers);
    assert.ok((bodies.get(id) ?? body).equals(body), "a further try has another body");
  } catch (error) {
    end(1, `not ok: ${error.stack}`);
  }
  bodies.set(id, body);
  tries.set(id, (tries.get(id) ?? 0) + 1);
  const takes = tries.get(id) > 1;
  response.writeHead(takes ? 200 : 500).end();
  if (takes) taken.set(id, JSON.parse(body).type);
  if ([...taken.values()].sort().join() !== wanted.toSorted().join()) return;
  for (const [id, kind] of taken) {
    console.log(`ok ${kind} ${id}: ${tries.get(id)} tries, verified with both secrets, every altered one refused`);
  }
  response.on("close", () => process.exit(0));
});

setTimeout(() => end(1, `not ok: not every event came; taken ${[...taken.values()]}`), 120_000);
server.listen(0, "127.0.0.1", () => console.log(`listening receiver=127.0.0.1:${server.address().port}`));
