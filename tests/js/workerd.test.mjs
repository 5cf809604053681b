/** Cloudflare's runtime: the module is imported compiled, the model comes out of R2. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { Miniflare } from "miniflare";
import { MINILM, TINY } from "./support/models.mjs";
import { root } from "./support/server.mjs";

const WORKER = `
import { load } from "./pkg/dist/workerd.js";
const names = ["config.json", "tokenizer.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "model.safetensors"];
const ready = {};
export default {
  async fetch(request, env) {
    const model = new URL(request.url).pathname.slice(1);
    ready[model] ??= Promise.all(names.map(async (name) => [name, await env.MODELS.get(model + "/" + name)]))
      .then((files) => load(Object.fromEntries(files)));
    try {
      const embedder = await ready[model];
      const answer = await embedder.embeddings.create(await request.json());
      return Response.json({ answer, info: embedder.info });
    } catch ({ code, message, status }) {
      delete ready[model];
      return Response.json({ code, message }, { status });
    }
  },
};
`;

let worker;
before(async () => {
  // The memory that production gives to all of a worker.
  process.env.MINIFLARE_WORKERD_V8_FLAGS = "--wasm-max-mem-pages=2048";
  const dist = `${root}pkg/dist`;
  const files = (await readdir(dist, { recursive: true })).filter((file) => file.endsWith(".js"));
  worker = new Miniflare({
    port: 0,
    // A port that is taken makes it wait for ever, without a word.
    inspectorPort: 0,
    cf: false,
    compatibilityDate: "2026-04-01",
    r2Buckets: ["MODELS"],
    modulesRoot: root,
    modules: [
      { type: "ESModule", path: `${root}worker.mjs`, contents: WORKER },
      ...files.map((file) => ({ type: "ESModule", path: join(dist, file) })),
      { type: "CompiledWasm", path: `${dist}/wasm/relaxed.wasm` },
    ],
  });
  await worker.ready;
  const bucket = await worker.getR2Bucket("MODELS");
  for (const [name, folder] of Object.entries({ tiny: TINY, minilm: MINILM })) {
    for (const file of await readdir(root + folder, { recursive: true })) {
      if (!/\.(json|safetensors)$/.test(file)) continue;
      const { buffer, byteOffset, byteLength } = await readFile(join(root, folder, file));
      await bucket.put(`${name}/${file}`, buffer.slice(byteOffset, byteOffset + byteLength));
    }
  }
});
after(() => worker?.dispose());

async function ask(model, body) {
  const response = await worker.dispatchFetch(`http://worker/${model}`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  return { status: response.status, ...(await response.json()) };
}

describe("workerd", () => {
  for (const [name, folder] of Object.entries({ tiny: TINY, minilm: MINILM })) {
    test(`${name}, streamed from R2, gives the bits that Node gives`, async () => {
      const input = ["a cat", "The ferry leaves the old harbour at nine."];
      const { status, message, answer, info } = await ask(name, { input });
      assert.equal(status, 200, message);
      assert.equal(info.simd, "relaxed-simd");
      const model = await load(root + folder);
      assert.deepEqual(answer.data, (await model.embeddings.create({ input })).data);
      assert.isAtMost(info.memoryBytes, 64 << 20);
      model.dispose();
    });
  }

  test("bad input is an answer, and a model that is not there too", async () => {
    const empty = await ask("tiny", { input: [] });
    assert.include(empty, { status: 400, code: "empty_input" });
    assert.include(await ask("absent", { input: "a" }), { status: 404, code: "missing_file" });
    assert.equal((await ask("tiny", { input: "a cat" })).status, 200);
  });
});
