/** Any number of texts in bounded memory. */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { embedder, failure, SPLADE, TINY, texts } from "../support/models.mjs";

/** A source that counts what is read of it, and knows whether it was told to end. */
function counted(texts) {
  const source = {
    read: 0,
    closed: false,
    *[Symbol.iterator]() {
      try {
        for (const text of texts) {
          source.read++;
          yield text;
        }
      } finally {
        source.closed = true;
      }
    },
  };
  return source;
}

function* endless() {
  for (let i = 0; ; i++) yield `the cat sat on mat ${i}`;
}

async function* slowly(list) {
  for (const item of list) {
    await new Promise((done) => setTimeout(done, 1));
    yield item;
  }
}

async function collect(stream) {
  const batches = [];
  for await (const batch of stream) batches.push(batch);
  return batches;
}

const joined = (batches) => batches.flatMap(({ data }) => Array.from(data));

/** Runs `use` without workers and with two. */
async function both(origin, use) {
  for (const workers of [0, 2]) {
    const model = await load(`${origin}/${TINY}`, { workers });
    await use(model);
    model.dispose();
  }
}

export const cases = {
  "batches of what encode gives, in order, from any source": ({ origin }) =>
    both(origin, async (model) => {
      const list = (await texts(origin, "tiny-texts.json")).concat([[2, 7, 3]]);
      const expected = await model.encode(list);
      const nested = async function* () {
        yield* list;
      };
      for (const source of [list, new Set(list), counted(list), nested(), slowly(list)]) {
        const batches = await collect(model.stream(source, { batchTokens: 100 }));
        assert.isAbove(batches.length, 2);
        assert.deepEqual(joined(batches), Array.from(expected.data));
        assert.deepEqual(
          batches.flatMap(({ tokens }) => Array.from(tokens)),
          Array.from(expected.tokens),
        );
        assert.deepEqual(
          batches.flatMap(({ inputs }) => inputs),
          Array.from(source[Symbol.iterator] ? new Set(list) : list).length === list.length
            ? list
            : [...source],
        );
        let first = 0;
        for (const batch of batches) {
          assert.equal(batch.first, first);
          assert.deepEqual(batch.shape, [batch.inputs.length, 48]);
          first += batch.inputs.length;
        }
      }
      assert.lengthOf(await collect(model.stream(list)), 1);
      assert.lengthOf(await collect(model.stream([])), 0);
    }),

  "options, whole numbers and sparse vectors": async ({ origin }) => {
    const list = (await texts(origin, "tiny-texts.json")).slice(0, 12);
    const model = await embedder(origin, TINY, "q8");
    const options = { prompt: "query: ", dimensions: 16, output: "int8" };
    const expected = await model.encode(list, options);
    const batches = await collect(model.stream(list, { ...options, batchTokens: 40 }));
    assert.isAbove(batches.length, 1);
    assert.deepEqual(joined(batches), Array.from(expected.data));
    assert.equal(batches[0].output, "int8");
    const sparse = await embedder(origin, SPLADE, "q8");
    const vectors = await collect(sparse.streamSparse(list, { topK: 5, labels: true, batchTokens: 40 }));
    assert.deepEqual(
      vectors.flatMap(({ vectors }) => vectors),
      await sparse.encodeSparse(list, { topK: 5, labels: true }),
    );
  },

  "an endless source is read no faster than batches are taken, and left when the loop is": ({ origin }) =>
    both(origin, async (model) => {
      const source = counted(endless());
      let batches = 0;
      let size = 0;
      for await (const { inputs } of model.stream(source, { batchTokens: 64 })) {
        size = Math.max(size, inputs.length);
        await new Promise((done) => setTimeout(done, 5));
        assert.isFalse(source.closed);
        // This one, two under way, and one that waits.
        assert.isAtMost(source.read, (batches + 4) * size);
        if (++batches === 20) break;
      }
      assert.isTrue(source.closed);
      const { read } = source;
      await model.encode("a cat");
      assert.equal(source.read, read);
    }),

  "a slow source holds nothing up": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    let arrived = () => {};
    const first = new Promise((done) => {
      arrived = done;
    });
    const source = async function* () {
      yield "a cat";
      yield "a dog";
      // Would never end if batches waited to be full.
      await first;
      yield "a mat";
    };
    const batches = [];
    for await (const { inputs } of model.stream(source())) {
      batches.push(inputs);
      arrived();
    }
    assert.deepEqual(batches.flat(), ["a cat", "a dog", "a mat"]);
    assert.equal(batches.at(-1)[0], "a mat");
  },

  "errors come in their turn, and count from the first text": ({ origin }) =>
    both(origin, async (model) => {
      const broken = function* () {
        for (let i = 0; i < 30; i++) yield "a cat";
        throw new Error("the file ended");
      };
      let seen = 0;
      const read = async () => {
        for await (const { inputs } of model.stream(broken(), { batchTokens: 20 })) seen += inputs.length;
      };
      assert.equal((await failure(read)).message, "the file ended");
      assert.equal(seen, 30);

      const source = counted([...Array(50).fill("a cat"), "cat ".repeat(100), ...Array(500).fill("a dog")]);
      const error = await failure(() => collect(model.stream(source, { batchTokens: 20, truncate: false })));
      assert.equal(error.code, "input_too_long");
      assert.include(error.message, "input 50 ");
      assert.isTrue(source.closed);
      assert.isBelow(source.read, 200);
    }),

  "aborts, even while the source makes us wait": ({ origin }) =>
    both(origin, async (model) => {
      for (const source of [
        endless(),
        slowly(endless()),
        { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) },
      ]) {
        const controller = new AbortController();
        setTimeout(() => controller.abort("enough"), 30);
        const error = await failure(() =>
          collect(model.stream(source, { signal: controller.signal, batchTokens: 64 })),
        );
        assert.equal(error.code, "aborted");
        assert.equal(error.cause, "enough");
        assert.equal(
          (await failure(() => collect(model.stream(["a"], { signal: controller.signal })))).code,
          "aborted",
        );
      }
    }),

  "what cannot be streamed": async ({ origin }) => {
    const model = await load(`${origin}/${TINY}`);
    for (const call of [
      () => model.stream("a text, not a list"),
      () => model.stream(7),
      () => model.stream(null),
      () => model.stream(["a"], { batchTokens: 0 }),
      () => model.stream(["a"], { batchTokens: Number.NaN }),
      () => model.stream(["a"], { output: "int4" }),
      () => model.stream([{}]),
    ]) {
      const error = await failure(() => collect(call()));
      assert.instanceOf(error, GossamerError);
      assert.equal(error.code, "invalid_input", error.message);
    }
    assert.equal((await failure(() => collect(model.streamSparse(["a"])))).code, "wrong_model_kind");
    model.dispose();
    assert.equal((await failure(() => collect(model.stream(["a"])))).code, "disposed");
  },
};
