/** LoRA adapters, merged while weights load, against PEFT. */

import { assert } from "chai";
import { cache, load, modelCache } from "gossamer-embed";
import { failure, fetchJson, reference, rows, texts } from "../support/models.mjs";

const LIST = "tiny-texts.json";
const at = (origin, folder) => `${origin}/tests/fixtures/${folder}/`;

function assertClose(ours, theirs, what) {
  let [dot, a, b] = [0, 0, 0];
  for (const [i, x] of ours.entries()) {
    dot += x * theirs[i];
    a += x * x;
    b += theirs[i] * theirs[i];
  }
  assert.isAtLeast(dot / Math.sqrt(a * b), 0.99999, what);
}

async function vectors(model, origin, options) {
  return rows(await model.encode(await texts(origin, LIST), options));
}

/** A store in memory. */
function memoryStore() {
  const values = new Map();
  return {
    get: async (name) => values.get(name),
    put: async (name, value) => void values.set(name, value.slice()),
    delete: async (name) => void values.delete(name),
  };
}

const asked = async (endpoint) => (await fetch(`${endpoint}/asked`)).json();

export const cases = {
  "each adapter gives the vectors of PEFT": async ({ origin }) => {
    const bases = await fetchJson(`${origin}/tests/fixtures/lora/models.json`);
    const theirs = await reference(origin, "lora/references.safetensors");
    for (const [name, base] of Object.entries(bases)) {
      const adapter = at(origin, `lora/${name}`);
      const model = await load(at(origin, base), { dtype: "f32", adapter });
      assert.deepEqual(model.info.lora.base, base);
      for (const [i, vector] of (await vectors(model, origin)).entries()) {
        assertClose(vector, rows(theirs[name])[i], `${name}, text ${i}`);
      }
      model.dispose();
    }
  },

  "one of the model's own, by its name, also in workers": async ({ origin }) => {
    const theirs = await reference(origin, "tiny-jina-v5/reference.safetensors");
    for (const [adapter, workers] of [
      ["retrieval", 0],
      ["text-matching", 1],
    ]) {
      const model = await load(at(origin, "tiny-jina-v5"), { dtype: "f32", adapter, workers });
      assert.deepEqual(model.info.lora, { adapter, base: "jinaai/jina-embeddings-v5-text-small", rank: 6 });
      const tensors = { document: `${adapter}_embeddings`, query: `${adapter}_query_embeddings` };
      for (const [task, tensor] of Object.entries(tensors)) {
        for (const [i, vector] of (await vectors(model, origin, { task })).entries()) {
          assertClose(vector, rows(theirs[tensor])[i], `${tensor}, text ${i}`);
        }
      }
      model.dispose();
    }
    const { code, message } = await failure(() => load(at(origin, "tiny-jina-v5")));
    assert.equal(code, "invalid_input");
    assert.include(message, '["retrieval","text-matching"]');
  },

  "an adapter that is given as files": async ({ origin }) => {
    const names = ["adapter_config.json", "adapter_model.safetensors"];
    const bytes = async (name) =>
      new Uint8Array(await (await fetch(`${at(origin, "lora/plain")}${name}`)).arrayBuffer());
    const adapter = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await bytes(name)])),
    );
    const model = await load(at(origin, "tiny-bert"), { dtype: "f32", adapter });
    const theirs = await reference(origin, "lora/references.safetensors");
    for (const [i, vector] of (await vectors(model, origin)).entries()) {
      assertClose(vector, rows(theirs.plain)[i], `text ${i}`);
    }
    model.dispose();
  },

  "from the Hub and from the cache, which tells it from the model alone": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const store = memoryStore();
    const own = { endpoint, cache: store, dtype: "q8" };
    const plain = await load("org/tiny", own);
    assert.isTrue(await plain.cached);
    const first = await load("org/tiny", { ...own, adapter: "org/adapter" });
    assert.isTrue(await first.cached);
    assert.equal(first.info.lora.adapter, "org/adapter");
    assert.notEqual(first.info.spaceId, plain.info.spaceId);
    const expected = await vectors(first, origin);
    await asked(endpoint);
    const again = await load("org/tiny", { ...own, adapter: "org/adapter" });
    assert.deepEqual(again.info.lora, first.info.lora);
    assert.equal(again.info.spaceId, first.info.spaceId);
    assert.deepEqual(await vectors(again, origin), expected);
    const files = (await asked(endpoint)).filter((what) => !what.endsWith(" list"));
    assert.deepEqual(files, []);
    const offline = await load("org/tiny", { ...own, adapter: "org/adapter", offline: true });
    assert.deepEqual(await vectors(offline, origin), expected);
    assert.equal((await modelCache(store).list()).length, 2);
    // In the host's own cache, too.
    await cache.clear();
    const host = { endpoint, dtype: "q8", adapter: "org/adapter" };
    const one = await load("org/tiny", host);
    await one.cached;
    const two = await load("org/tiny", { ...host, offline: true });
    assert.deepEqual(await vectors(two, origin), await vectors(one, origin));
    assert.deepEqual(await vectors(two, origin), expected);
    for (const model of [plain, first, again, offline, one, two]) model.dispose();
    await cache.clear();
  },

  "what is no model, or does not fit, is refused by name": async ({ origin }) => {
    const { code, message } = await failure(() => load(at(origin, "lora/plain")));
    assert.equal(code, "unsupported_model");
    assert.include(message, "load tiny-bert with it as the option `adapter`");
    const plain = at(origin, "lora/plain");
    const wrong = await failure(() => load(at(origin, "tiny-qwen3"), { adapter: plain }));
    assert.equal(wrong.code, "unsupported_model");
    assert.include(wrong.message, "no place in this model");
    const missing = await failure(() =>
      load(at(origin, "tiny-bert"), { adapter: at(origin, "tiny-splade") }),
    );
    assert.include(["missing_file", "not_found"], missing.code);
    assert.include(missing.message, "adapter_config.json");
    const odd = await failure(() => load(at(origin, "tiny-bert"), { adapter: 5 }));
    assert.equal(odd.code, "invalid_source");
  },
};
