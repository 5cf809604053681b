/** Starting wasm from where the user says. A file of its own, because a process starts it once. */

import { after, before, test } from "node:test";
import { assert } from "chai";
import { GossamerError, init, load } from "gossamer-embed";
import { failure, TINY } from "../support/models.mjs";
import { serve } from "../support/server.mjs";

let server;
before(async () => {
  server = await serve();
});
after(() => server.close());

test("wasm that is not there, or not wasm, is explained; afterwards it can be had from elsewhere", async () => {
  const { origin } = server;
  for (const [options, code, word] of [
    [{ url: `${origin}/nowhere.wasm` }, "not_found", "HTTP 404"],
    [{ url: `${origin}/fallback/nowhere.wasm` }, "not_found", "HTML"],
    [{ url: "./nowhere.wasm" }, "not_found", "nowhere.wasm"],
    [{ response: fetch(`${origin}/${TINY}config.json`) }, "unsupported_runtime", "init({ module })"],
    [{ bytes: new Uint8Array(100) }, "unsupported_runtime", "init({ module })"],
  ]) {
    const error = await failure(() => init(options));
    assert.instanceOf(error, GossamerError);
    assert.equal(error.code, code, error.message);
    assert.include(error.message, word);
  }
  await init({ url: `${origin}/pkg/dist/wasm/simd128.wasm` });
  const model = await load(`${origin}/${TINY}?signature=secret`);
  assert.equal(model.info.simd, "simd128");
  assert.equal(model.info.model, `${origin}/${TINY}`);
  assert.deepEqual((await model.encode("a cat")).shape, [1, 48]);
});
