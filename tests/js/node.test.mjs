/** The shared cases in the Node that runs this, and what only hosts with files have. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { topics } from "./cases/all.mjs";
import { fidelity } from "./cases/fidelity.mjs";
import { slow } from "./cases/memory.mjs";
import { failure, fetchJson, TINY } from "./support/models.mjs";
import { saveInto } from "./support/save.mjs";
import { root, serve } from "./support/server.mjs";
import { measureTokenizer } from "./support/tokenizer-load.mjs";

let server;
let home;
before(async () => {
  server = await serve();
  home = await mkdtemp(join(tmpdir(), "gossamer-"));
  process.env.HF_HOME = home;
});
after(async () => {
  await server.close();
  await rm(home, { recursive: true });
});

for (const [topic, cases] of Object.entries({ ...topics, slow, fidelity })) {
  describe(topic, () => {
    for (const [name, run] of Object.entries(cases)) test(name, () => run(server));
  });
}

describe("folders", () => {
  test("a local folder, by path and by file: URL", async () => {
    const text = "The cat sat on the mat.";
    const expected = await (await load(`${server.origin}/${TINY}`)).encode(text);
    const url = pathToFileURL(root + TINY);
    for (const source of [root + TINY, (root + TINY).slice(0, -1), url, url.href]) {
      const model = await load(source);
      assert.deepEqual(await model.encode(text), expected);
      model.dispose();
    }
  });

  test("a tokenizer of several chunks, and what is saved", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gossamer-"));
    try {
      const small = await load(root + TINY, { saveable: true });
      await saveInto(folder, small);
      const expected = await small.encode("The cat sat on the mat.");
      small.dispose();
      // Real ones have up to 17 MB.
      const tokenizer = await readFile(join(folder, "tokenizer.json"), "utf8");
      await writeFile(join(folder, "tokenizer.json"), tokenizer.replace("{", `{${" ".repeat(3e6)}`));
      const model = await load(folder);
      assert.deepEqual(await model.encode("The cat sat on the mat."), expected);
      assert.match(model.info.stored, /kept/);
      model.dispose();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a folder that is not there, or not a model", async () => {
    for (const [folder, word] of [
      ["./nowhere", "nowhere/config.json"],
      [root, "config.json"],
      [`${root}package.json`, "package.json"],
    ]) {
      const error = await failure(() => load(folder));
      assert.equal(error.code, "not_found", error.message);
      assert.include(error.message, word);
    }
  });
});

describe("large vocabularies", () => {
  test("a Unigram vocabulary of 250,002 entries is loaded within 40 MB of wasm memory", async () => {
    const { memoryBytes } = await measureTokenizer("Unigram, 250,002 entries", 1);
    assert.isAtMost(memoryBytes, 40e6);
  });
});

describe("SPLADE models of real size", () => {
  const measure = async (...data) => {
    const worker = new Worker(new URL("support/sized-splade-worker.mjs", import.meta.url), {
      workerData: data,
    });
    return new Promise((done, failed) => worker.once("message", done).once("error", failed));
  };
  for (const name of ["sized-splade-minilm", "sized-splade-base"]) {
    for (const dtype of ["q8", "f32"]) {
      test(`${name} in ${dtype}: native's bits, and no tokens × vocabulary matrix in memory`, async () => {
        const expected = await fetchJson(`${server.origin}/tests/fixtures/sized-splade-digests.json`);
        const { digest, weightBytes, used } = await measure(server.origin, name, dtype);
        assert.equal(digest, expected[name][dtype]);
        // Code, tokenizer, activations and two rows of the vocabulary's length; that matrix alone would be 60 MiB.
        assert.isAtMost(used - weightBytes, 24 << 20);
      });
    }
  }
});
