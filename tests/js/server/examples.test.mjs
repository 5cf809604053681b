/** The crate's examples (examples/*.rs), which `cargo test` has built, on small models. */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import OpenAI from "openai";
import { launch, run } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { root } from "../support/server.mjs";

const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const TEXTS = ["a cat", "the dog sat on the mat"];
/** The programs; every file of examples/*.rs has a test here. */
const TESTED = ["embed", "save", "serve", "sparse"];

const example = (name) => `${TARGET}/debug/examples/${name}`;

describe("examples/*.rs", () => {
  let scratch;
  /** A folder with a small model that gives vectors of all kinds. */
  let model;
  before(async () => {
    scratch = await mkdtemp(`${TARGET}/examples-`);
    model = join(scratch, "m3");
    await materialise(`${root}tests/fixtures/tiny-m3`, model);
  });
  after(() => rm(scratch, { recursive: true, force: true }));

  test("each has a test", async () => {
    const files = await readdir(`${root}examples`);
    const programs = files.filter((name) => name.endsWith(".rs")).map((name) => name.slice(0, -3));
    assert.deepEqual(programs.sort(), TESTED);
  });

  test("embed prints the cosine to the first text", async () => {
    const { stdout } = await run(example("embed"), [model, ...TEXTS]);
    const embedder = await load(model);
    const encoded = await embedder.encode(TEXTS);
    const cosine = embedder.similarity(encoded, encoded).data[1];
    assert.match(stdout, /^1\.0000 to the first: a cat$/m);
    const [, printed] = /^(-?\d\.\d{4}) to the first: the dog/m.exec(stdout);
    assert.closeTo(Number(printed), cosine, 5.1e-5);
    embedder.dispose();
  });

  test("sparse prints terms with weights", async () => {
    const { stdout } = await run(example("sparse"), [model, ...TEXTS]);
    const embedder = await load(model);
    const vectors = await embedder.encodeSparse(TEXTS, { labels: true });
    for (const [index, { values, labels }] of vectors.entries()) {
      const terms = Array.from(values, (value, i) => ({ value, label: labels[i] }));
      const [best] = terms.sort((a, b) => b.value - a.value);
      // A text may have no term at all.
      const line = best ? `  ${best.value.toFixed(3)} ${best.label}\n` : "";
      assert.include(stdout, `${TEXTS[index]}\n${line}`);
    }
    embedder.dispose();
  });

  test("save writes a model that gives the same vectors", async () => {
    const out = join(scratch, "saved");
    await run(example("save"), [model, out]);
    const [original, saved] = await Promise.all([load(model), load(out)]);
    assert.equal(saved.info.spaceId, original.info.spaceId);
    assert.deepEqual((await saved.encode(TEXTS)).data, (await original.encode(TEXTS)).data);
    original.dispose();
    saved.dispose();
  });

  test("serve answers OpenAI's client, and refuses what is too large", async () => {
    const child = launch(example("serve"), [model, "0"]);
    const [, url] = await child.printed(/^listening on (.*)$/m);
    const client = new OpenAI({ apiKey: "none", baseURL: `${url}/v1`, maxRetries: 0 });
    const { data } = await client.embeddings.create({ model: "m3", input: TEXTS });
    assert.lengthOf(data, 2);
    const error = await client.embeddings
      .create({ model: "m3", input: "a".repeat(3 << 20) })
      .catch((error) => error);
    assert.equal(error.status, 413);
    await child.stop();
  });
});
