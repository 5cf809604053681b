/**
 * The cases of web-platform-tests' ai/semantic_embedder (availability, create, create-monitor), on
 * the facade; and what the facade adds. The two about a user's gesture are a browser's affair.
 */

import { assert } from "chai";
import * as gossamer from "gossamer-embed";
import { semanticEmbedder } from "gossamer-embed/adapters/semantic-embedder";
import { embedder, failure, SPLADE, TINY } from "../support/models.mjs";

const AVAILABILITIES = ["unavailable", "downloadable", "downloading", "available"];

const facade = (origin, folder = TINY, options) => semanticEmbedder(gossamer, `${origin}/${folder}`, options);

/** Runs `use` with an embedder, and destroys it. */
async function withEmbedder(SemanticEmbedder, use, options) {
  const one = await SemanticEmbedder.create(options);
  try {
    return await use(one);
  } finally {
    one.destroy();
  }
}

/** Rejects with the signal's reason, whatever that is. */
async function assertAborts(start) {
  const before = new AbortController();
  before.abort();
  assert.equal((await failure(() => start(before.signal))).name, "AbortError");
  const during = new AbortController();
  const reason = new Error("test");
  const promise = start(during.signal);
  during.abort(reason);
  assert.equal(await failure(() => promise), reason);
}

function assertEmbeddings(result, count) {
  assert.isObject(result);
  assert.isArray(result.embeddings);
  assert.lengthOf(result.embeddings, count);
  for (const { values } of result.embeddings) {
    assert.instanceOf(values, Float32Array);
    assert.isAbove(values.length, 0);
    assert.isNumber(values[0]);
  }
}

export const cases = {
  "availability() gives a valid value, with and without options": async ({ origin }) => {
    const SemanticEmbedder = facade(origin);
    assert.include(AVAILABILITIES, await SemanticEmbedder.availability());
    assert.include(AVAILABILITIES, await SemanticEmbedder.availability({}));
    assert.equal(await SemanticEmbedder.availability(), "downloadable");
    const creating = SemanticEmbedder.create();
    assert.equal(await SemanticEmbedder.availability(), "downloading");
    (await creating).destroy();
    assert.equal(await SemanticEmbedder.availability(), "available");
  },

  "create() gives a valid object with default options": async ({ origin }) => {
    const SemanticEmbedder = facade(origin);
    await withEmbedder(SemanticEmbedder, (one) => assert.instanceOf(one, SemanticEmbedder));
  },

  "create() can be aborted": ({ origin }) => assertAborts((signal) => facade(origin).create({ signal })),

  "create() tells its monitor of downloadprogress": async ({ origin }) => {
    const events = [];
    const monitor = (target) => target.addEventListener("downloadprogress", (event) => events.push(event));
    await withEmbedder(facade(origin), () => {}, { monitor });
    assert.isAtLeast(events.length, 2);
    assert.equal(events[0].loaded, 0);
    assert.equal(events.at(-1).loaded, 1);
    let last = -1;
    for (const { loaded, total, lengthComputable } of events) {
      assert.equal(total, 1);
      assert.isTrue(lengthComputable);
      assert.equal((loaded * 0x10000) % 1, 0);
      assert.isAbove(loaded, last);
      last = loaded;
    }
    const thrown = new Error("the monitor's own");
    const error = await failure(() =>
      facade(origin).create({
        monitor: () => {
          throw thrown;
        },
      }),
    );
    assert.equal(error, thrown);
  },

  "embed() answers for one text, for several, and for none": async ({ origin }) => {
    await withEmbedder(facade(origin), async (one) => {
      assertEmbeddings(await one.embed("hello"), 1);
      assertEmbeddings(await one.embed(["hello", "world"]), 2);
      assertEmbeddings(await one.embed([]), 0);
      const model = await embedder(origin, TINY, "q8");
      const { data, tokens } = await model.encode("hello");
      const { embeddings, metadata } = await one.embed("hello");
      assert.deepEqual(embeddings, [
        { values: data, statistics: { tokenCount: tokens[0], truncated: false } },
      ]);
      assert.deepEqual(metadata, { embeddingSpace: model.info.spaceId, maxInputTokens: 32 });
      const long = await one.embed("cat ".repeat(100));
      assert.deepEqual(long.embeddings[0].statistics, { tokenCount: 32, truncated: true });
      // As WebIDL makes strings.
      assert.deepEqual(await one.embed(7), await one.embed("7"));
    });
  },

  "embed() accepts each taskType, and refuses others": async ({ origin }) => {
    const prompts = { query: "query: ", passage: "passage: ", STS: "sts: " };
    const load = async (source, options) => {
      const model = await gossamer.load(source, options);
      const info = { ...model.info, prompts };
      const encode = (texts, { promptName, ...rest }) =>
        model.encode(texts, promptName === undefined ? rest : { ...rest, prompt: prompts[promptName] });
      return { info, encode, dispose: () => model.dispose() };
    };
    const model = await embedder(origin, TINY, "q8");
    await withEmbedder(semanticEmbedder({ load }, `${origin}/${TINY}`), async (one) => {
      for (const [taskType, prompt] of [
        ["semantic-similarity", "sts: "],
        ["retrieval-query", "query: "],
        ["retrieval-document", "passage: "],
        ["classification", ""],
        ["clustering", ""],
        [undefined, ""],
      ]) {
        const { embeddings } = await one.embed("hello", { taskType });
        assert.deepEqual(embeddings[0].values, (await model.encode("hello", { prompt })).data, taskType);
      }
      for (const taskType of ["retrieval", "", null, "toString"]) {
        assert.instanceOf(await failure(() => one.embed("hello", { taskType })), TypeError);
      }
    });
  },

  "embed() can be aborted, and ends with the embedder": async ({ origin }) => {
    const SemanticEmbedder = facade(origin);
    await withEmbedder(SemanticEmbedder, (one) =>
      assertAborts((signal) => one.embed(Array(500).fill("the cat sat on the mat"), { signal })),
    );
    const one = await SemanticEmbedder.create();
    const underWay = failure(() => one.embed(Array(500).fill("the cat sat on the mat")));
    const reason = new Error("no longer wanted");
    one.destroy(reason);
    assert.equal(await underWay, reason);
    assert.equal(await failure(() => one.embed("a")), reason);
    const other = await SemanticEmbedder.create();
    other.destroy();
    assert.equal((await failure(() => other.embed("a"))).name, "AbortError");
  },

  "what is no dense model, and what is not there": async ({ origin }) => {
    const error = await failure(() => withEmbedder(facade(origin, SPLADE), (one) => one.embed("a")));
    assert.equal(error.code, "wrong_model_kind");
    assert.equal((await failure(() => facade(origin, "nowhere/").create())).code, "not_found");
  },
};
