/** Several workers behind the face of one embedder. */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { digest } from "../support/digest.mjs";
import { embedder, failure, MINILM, SPLADE, TINY, texts, tinyFiles } from "../support/models.mjs";
import { absentWorker, healthyWorker, mortalWorker, otherWorker } from "../support/mortal.mjs";

const TEXT = "The cat sat on the mat.";
const M3 = "tests/fixtures/tiny-m3/";
/** Enough for many parts. */
const many = async (origin) =>
  Array(20)
    .fill(await texts(origin, "tiny-texts.json"))
    .flat();

/** Runs `use` with a pool of a tiny model, and disposes of it. */
async function withPool(origin, options, use, folder = TINY) {
  const pool = await load(`${origin}/${folder}`, { workers: 2, ...options });
  try {
    return await use(pool);
  } finally {
    pool.dispose();
  }
}

/** Waits until the pool has so many workers. */
async function until(pool, workers) {
  for (let i = 0; pool.info.workers !== workers; i++) {
    assert.isBelow(i, 1000, `${pool.info.workers} workers, not ${workers}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function sameError(here, there, call) {
  const [expected, error] = [await failure(() => call(here)), await failure(() => call(there))];
  assert.instanceOf(error, GossamerError);
  assert.deepEqual(
    [error.code, error.status, error.message],
    [expected.code, expected.status, expected.message],
  );
}

/** Model → calls that must give the same with workers as without. */
const CALLS = {
  [TINY]: [
    (model, list) => model.encode(list),
    (model, list) => model.encode(list, { normalize: false, dimensions: 7, prompt: "query: " }),
    (model, list) => model.encode(list.map((_, i) => [2, 5 + (i % 9), 3])),
    (model, list) => model.encode(list, { output: "int8" }),
    (model, list) => model.encode(list, { output: "ubinary", dimensions: 20 }),
    (model, list) => model.chunk(list, { chunkSize: 12, overlap: 3 }),
    (model, list) => model.encodeChunks(list, { chunkSize: 12, overlap: 3, late: true, prompt: "query: " }),
    (model) => model.encode(TEXT),
    (model) => model.encode([2, 7, 3]),
    (model, list) => model.encodeTokens(list),
    (model, list) => model.embedAll({ inputs: list, truncate: true }),
    (model, list) => model.tokenize(list, { addSpecialTokens: false }),
    (model, list) => model.embeddings.create({ input: list, model: "x", truncate: true }),
    (model, list) => model.embeddings.create({ input: list, encoding_format: "base64", truncate: true }),
  ],
  [SPLADE]: [
    (model, list) => model.encodeSparse(list, { topK: 5, labels: true }),
    (model, list) => model.embedSparse({ inputs: list, truncate: true }),
  ],
  [M3]: [(model, list) => model.encodeMulti(list, { dense: true, sparse: true, tokens: true })],
};

export const cases = {
  "every call gives what it gives without workers, in order": async ({ origin }) => {
    const list = (await many(origin)).filter((text) => text !== "");
    for (const [folder, calls] of Object.entries(CALLS)) {
      const here = await load(`${origin}/${folder}`);
      for (const workers of [1, 3]) {
        const use = async (pool) => {
          assert.equal(pool.info.workers, workers);
          const { workers: _, memoryBytes, ...same } = pool.info;
          assert.include(here.info, { spaceId: same.spaceId, dimensions: same.dimensions });
          assert.isAbove(memoryBytes, 0);
          for (const call of calls) assert.deepEqual(await call(pool, list), await call(here, list));
        };
        await withPool(origin, { workers }, use, folder);
      }
      here.dispose();
    }
  },

  "the same bits with any number of workers: all-MiniLM-L6-v2 in q8": async ({ origin }) => {
    const inputs = await texts(origin, "texts.json");
    const expected = await digest((await (await embedder(origin, MINILM, "q8")).encode(inputs)).data);
    for (const workers of [1, 2, 3]) {
      const use = async (pool) => digest((await pool.encode(inputs)).data);
      assert.equal(await withPool(origin, { workers, dtype: "q8" }, use, MINILM), expected);
    }
  },

  "one stream of progress": async ({ origin }) => {
    const events = [];
    await withPool(origin, { onProgress: (event) => events.push(event) }, async () => {});
    const starts = events.filter(({ status }) => status === "initiate").map(({ file }) => file);
    assert.equal(new Set(starts).size, starts.length, "each file is fetched once");
    assert.include(starts, "model.safetensors");
    assert.equal(events.at(-1).status, "ready");
    assert.equal(events.filter(({ status }) => status === "progress_total").at(-1).progress, 100);
  },

  "errors are those of a model without workers": async ({ origin }) => {
    const here = await embedder(origin, TINY, "q8");
    const list = await many(origin);
    const long = [...list.slice(0, 300), "cat ".repeat(500), ...list];
    await withPool(origin, {}, async (pool) => {
      for (const call of [
        (model) => model.encode(long, { truncate: false }),
        (model) => model.encode([...list, 7]),
        (model) => model.encode([...list, [1 << 20]]),
        (model) => model.encode([]),
        (model) => model.encode(null),
        (model) => model.encode(list, { normalise: true }),
        (model) => model.encode(list, { dimensions: 1000 }),
        (model) => model.encodeSparse(list),
        (model) => model.embeddings.create({ input: Array(2049).fill("a") }),
        (model) => model.embeddings.create({ input: [...list, ""] }),
        (model) => model.embeddings.create(null),
        (model) => model.embeddings.create(7),
        (model) => model.tokenize([[1, 2], "a"]),
        (model) => model.chunk([...list, [1, 2]]),
        (model) => model.encodeChunks(list, { chunkSize: 1000 }),
      ]) {
        await sameError(here, pool, call);
      }
      const unsendable = await failure(() => pool.encode([() => TEXT, TEXT]));
      assert.equal(unsendable.code, "invalid_input", unsendable.message);
      assert.deepEqual((await pool.encode(list)).data, (await here.encode(list)).data);
    });
  },

  "numbers of workers that make no sense": async ({ origin }) => {
    for (const workers of [-1, 1.5, "2", 1000, null, Number.NaN]) {
      const error = await failure(() => load(`${origin}/${TINY}`, { workers }));
      assert.equal(error.code, "invalid_input", error.message);
      assert.include(error.message, "workers");
    }
  },

  "workers that do not start": async ({ origin }) => {
    const absent = await absentWorker(origin);
    const refused = () => {
      throw new Error("not from there");
    };
    const nothing = () => ({});
    for (const createWorker of [absent, refused, nothing, await otherWorker(origin)]) {
      const before = performance.now();
      const error = await failure(() => load(`${origin}/${TINY}`, { workers: 2, createWorker }));
      assert.instanceOf(error, GossamerError);
      assert.equal(error.code, "worker_failed", error.message);
      assert.include(error.message, "createWorker");
      assert.isBelow(performance.now() - before, 20_000);
    }
  },

  "aborting a load whose workers do not start is heard at once, and ends them": async ({ origin }) => {
    const other = await otherWorker(origin);
    const controller = new AbortController();
    let ended = 0;
    let made = 0;
    const createWorker = () => {
      const worker = other();
      const terminate = worker.terminate.bind(worker);
      worker.terminate = () => {
        ended++;
        return terminate();
      };
      if (++made === 2) setTimeout(() => controller.abort("enough"), 50);
      return worker;
    };
    const before = performance.now();
    const options = { workers: 2, createWorker, signal: controller.signal };
    const error = await failure(() => load(`${origin}/${TINY}`, options));
    assert.equal(error.code, "aborted", error.message);
    assert.equal(error.cause, "enough");
    assert.equal(ended, 2);
    // After 8 seconds they would be given up in any case.
    assert.isBelow(performance.now() - before, 5000);
  },

  "one signal for 500 calls has one listener, and none afterwards": async ({ origin }) => {
    const { signal } = new AbortController();
    let listeners = 0;
    let most = 0;
    signal.addEventListener = (...args) => {
      most = Math.max(most, ++listeners);
      return EventTarget.prototype.addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args) => {
      listeners--;
      return EventTarget.prototype.removeEventListener.apply(signal, args);
    };
    await withPool(origin, {}, async (pool) => {
      const list = ["a cat", "the dog sat"];
      await Promise.all(Array.from({ length: 500 }, () => pool.encode(list, { signal })));
      for await (const _ of pool.stream(list, { signal })) assert.isAtMost(listeners, 1);
      assert.equal(most, 1);
      assert.equal(listeners, 0);
    });
  },

  "one signal aborts 500 calls": async ({ origin }) => {
    const controller = new AbortController();
    const { signal } = controller;
    await withPool(origin, {}, async (pool) => {
      const list = await many(origin);
      const calls = Array.from({ length: 500 }, () => failure(() => pool.encode(list, { signal })));
      setTimeout(() => controller.abort("enough"), 20);
      for (const error of await Promise.all(calls)) assert.equal(error.code, "aborted");
      assert.equal((await pool.encode(TEXT)).shape[0], 1);
    });
  },

  "an abort of a text of 10 MB is heard at once, and other workers go on": async ({ origin }) => {
    const text = "the cat sat on the mat. ".repeat(420_000);
    await withPool(origin, {}, async (pool) => {
      const controller = new AbortController();
      // All of its tokens: of a text that is cut off only what counts is looked at.
      const long = failure(() => pool.tokenize(text, { signal: controller.signal }));
      await new Promise((done) => setTimeout(done, 20));
      const before = performance.now();
      controller.abort("enough");
      assert.equal((await long).code, "aborted");
      assert.isBelow(performance.now() - before, 1000);
      assert.equal((await pool.encode(TEXT)).shape[0], 1);
    });
  },

  "aborts cross": async ({ origin }) => {
    const list = await many(origin);
    await withPool(origin, {}, async (pool) => {
      const controller = new AbortController();
      const { signal } = controller;
      setTimeout(() => controller.abort("enough"), 20);
      const error = await failure(() => pool.encode(Array(50).fill(list).flat(), { signal }));
      assert.equal(error.code, "aborted", error.message);
      assert.equal(error.cause, "enough");
      assert.equal((await failure(() => pool.encode(TEXT, { signal }))).code, "aborted");
      assert.equal((await pool.encode(list)).shape[0], list.length);
    });
    const controller = new AbortController();
    const onProgress = ({ status }) => status === "progress" && controller.abort("enough");
    const options = { workers: 2, onProgress, signal: controller.signal };
    assert.equal((await failure(() => load(`${origin}/stalled/`, options))).code, "aborted");
  },

  "a short call does not wait for a long one": async ({ origin }) => {
    const list = await many(origin);
    await withPool(origin, {}, async (pool) => {
      const order = [];
      const long = pool.encode(Array(20).fill(list).flat()).then(() => order.push("long"));
      await pool.encode(TEXT).then(() => order.push("short"));
      await long;
      assert.deepEqual(order, ["short", "long"]);
    });
  },

  "a short request does not wait for long ones": async ({ origin }) => {
    await withPool(origin, {}, async (pool) => {
      const order = [];
      const ask = async (name, input) => {
        const body = JSON.stringify({ input });
        const response = await pool.fetch("http://localhost/v1/embeddings", { method: "POST", body });
        assert.equal(response.status, 200);
        order.push(name);
      };
      // As many as workers, and one more.
      const long = ["long", "long", "long"].map((name) => ask(name, Array(1500).fill(TEXT)));
      await ask("short", TEXT);
      await Promise.all(long);
      assert.deepEqual(order, ["short", "long", "long", "long"]);
    });
  },

  "after dispose calls are refused, those under way too": async ({ origin }) => {
    const pool = await load(`${origin}/${TINY}`, { workers: 2 });
    const underWay = failure(() => pool.encode(Array(5000).fill(TEXT)));
    await pool.encode(TEXT);
    pool.dispose();
    pool.dispose();
    assert.equal((await underWay).code, "disposed");
    assert.equal((await failure(() => pool.encode(TEXT))).code, "disposed");
    assert.equal((await failure(() => pool.info)).code, "disposed");
  },

  "a worker that fails is replaced, and its work is repeated": async ({ origin }) => {
    const mortal = await mortalWorker(origin);
    for (const word of ["poison", "trap"]) {
      const list = [...(await many(origin)), word, TEXT];
      const expected = await (await embedder(origin, TINY, "q8")).encode(list);
      const healthy = await healthyWorker(origin);
      let born = 0;
      const createWorker = () => (born++ === 0 ? mortal() : healthy());
      await withPool(origin, { createWorker, workers: 1 }, async (pool) => {
        assert.deepEqual(await pool.encode(list), expected);
        await until(pool, 1);
        assert.equal(born, 2);
      });
    }
  },

  "a text that kills every worker is an error, and others go on": async ({ origin }) => {
    const createWorker = await mortalWorker(origin);
    const expected = (await (await embedder(origin, TINY, "q8")).encode(TEXT)).data;
    await withPool(origin, { createWorker }, async (pool) => {
      for (const [word, code] of [
        ["poison", "worker_failed"],
        ["trap", "internal"],
      ]) {
        const others = Array.from({ length: 10 }, () => pool.encode(TEXT));
        assert.equal((await failure(() => pool.encode(word))).code, code);
        for (const other of others) assert.deepEqual((await other).data, expected);
        assert.deepEqual((await pool.encode(TEXT)).data, expected);
        await until(pool, 2);
      }
    });
  },

  "files that can be read once make a pool whose workers cannot be replaced": async ({ origin }) => {
    const createWorker = await mortalWorker(origin);
    const files = await tinyFiles(origin);
    const streams = Object.entries(files).map(([name, bytes]) => [name, new Blob([bytes]).stream()]);
    const pool = await load(Object.fromEntries(streams), { workers: 3, createWorker });
    assert.equal((await failure(() => pool.encode("poison"))).code, "worker_failed");
    await until(pool, 1);
    assert.equal((await pool.encode(TEXT)).shape[0], 1);
    const error = await failure(() => pool.encode("poison"));
    assert.equal(error.code, "worker_failed");
    const later = await failure(() => pool.encode(TEXT));
    assert.include(later.message, "a stream can be read once");
    pool.dispose();
  },
};
