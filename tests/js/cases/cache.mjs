/** The cache: what was loaded once is not downloaded again, whatever happens in between. */

import { assert } from "chai";
import { cache, GossamerError, load, modelCache } from "gossamer-embed";
import { digest } from "../support/digest.mjs";
import { failure, TINY } from "../support/models.mjs";

const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const TEXT = "The ferry leaves the old harbour at nine.";
const SCHEDULES = 200;
/**
 * Bytes of a broken connection that may be lost: those on their way, and a piece too small to be
 * kept.
 */
const TAIL = 1 << 17;
/** Models that are loaded side by side: browsers make 6 connections to a host. */
const ABREAST = 5;

/** Loads, embeds, waits until the model is kept, and lets it go. */
async function use(source, options) {
  const model = await load(source, options);
  try {
    const { data } = await model.encode(TEXT);
    const { spaceId, revision } = model.info;
    return { digest: await digest(data), cached: await model.cached, spaceId, revision };
  } finally {
    model.dispose();
  }
}

/** What the Hub was asked for since the last time. */
const asked = async (endpoint) => (await fetch(`${endpoint}/asked`)).json();

/** A store in memory. */
function memoryStore() {
  const values = new Map();
  return {
    values,
    get: async (name) => values.get(name),
    put: async (name, value) => void values.set(name, value.slice()),
    delete: async (name) => void values.delete(name),
  };
}

/**
 * Counts the bytes that are read from responses, by the first group of `pattern` in their URL. The
 * server cannot count them: a browser drops what it has received and nobody has read when the
 * connection breaks.
 */
function countedFetch(pattern) {
  const { fetch } = globalThis;
  const counts = new Map();
  globalThis.fetch = async (...args) => {
    const response = await fetch(...args);
    const key = pattern.exec(new URL(args[0].url ?? args[0]).pathname)?.[1];
    const { body } = response;
    if (!key || !body) return response;
    const getReader = body.getReader.bind(body);
    body.getReader = (...options) => {
      const reader = getReader(...options);
      const read = reader.read.bind(reader);
      reader.read = async (...into) => {
        const result = await read(...into);
        counts.set(key, (counts.get(key) ?? 0) + (result.value?.byteLength ?? 0));
        return result;
      };
      return reader;
    };
    return response;
  };
  return {
    read: (key) => counts.get(key) ?? 0,
    restore: () => {
      globalThis.fetch = fetch;
    },
  };
}

/** Numbers that are the same each time. */
function* numbers(seed) {
  for (let x = seed | 0 || 1; ; ) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield (x >>> 0) / 2 ** 32;
  }
}

export const cases = {
  "a model is downloaded once": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    await cache.clear();
    await asked(endpoint);
    const expected = await use(`${origin}/${TINY}`);
    assert.isFalse(expected.cached);
    const first = await use("org/tiny", { endpoint });
    assert.deepEqual(first, { ...expected, cached: true, revision: COMMIT });
    assert.include(await asked(endpoint), "org/tiny model.safetensors");
    // Whether the branch is where it was is asked, and nothing else.
    assert.deepEqual(await use("org/tiny", { endpoint }), first);
    assert.deepEqual(await asked(endpoint), ["org/tiny list"]);
    // Of a commit that needs no asking, without a network less so.
    assert.deepEqual(await use(`org/tiny@${COMMIT}`, { endpoint, offline: true }), first);
    assert.deepEqual(await use("org/tiny", { endpoint, offline: true }), first);
    assert.deepEqual(await asked(endpoint), []);
    // The network is away.
    assert.deepEqual(await use("org/tiny", { endpoint: "http://127.0.0.1:9" }), first);
    const [entry, ...others] = await cache.list();
    assert.lengthOf(others, 0);
    assert.include(entry, { model: "org/tiny", revision: COMMIT });
    assert.isAbove(entry.size, 50_000);
    assert.equal(await cache.size(), entry.size);
    assert.isBelow(Date.now() - entry.lastUsed.getTime(), 60_000);
    assert.isTrue(await cache.delete("org/tiny"));
    assert.isFalse(await cache.delete("org/tiny"));
    assert.deepEqual(await cache.list(), []);
    const error = await failure(() => load("org/tiny", { endpoint, offline: true }));
    assert.equal(error.code, "offline");
    assert.include(error.message, "org/tiny");
    // What is private stays so, even if it is here.
    assert.isTrue((await use("org/private", { endpoint, token: "secret" })).cached);
    assert.equal((await failure(() => load("org/private", { endpoint }))).status, 401);
    await cache.delete("org/private");
    // Without the cache nothing is kept.
    assert.isFalse((await use("org/tiny", { endpoint, cache: false })).cached);
    assert.deepEqual(await cache.list(), []);
  },

  "a file that is named or chosen is kept like any": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    await cache.clear();
    for (const [name, options] of [
      ["org/gguf", {}],
      ["org/gguf", { file: "bert-q4_k.gguf" }],
      ["org/variants", {}],
      ["org/variants", { file: "model.safetensors" }],
      [`${endpoint}/org/nested/tree/main/tiny-bert`, {}],
    ]) {
      await asked(endpoint);
      const first = await use(name, { endpoint, ...options });
      assert.isTrue(first.cached);
      assert.lengthOf(
        (await asked(endpoint)).filter((path) => /\.(safetensors|gguf)$/.test(path)),
        1,
      );
      assert.deepEqual(await use(name, { endpoint, ...options }), first);
      assert.notMatch((await asked(endpoint)).join(), /resolve|\.(safetensors|gguf)/);
      assert.deepEqual(await use(name, { endpoint, offline: true, ...options }), first);
      assert.deepEqual(await asked(endpoint), []);
    }
    await cache.clear();
  },

  "two loads at once are one download": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    await cache.clear();
    await asked(endpoint);
    const [one, two] = await Promise.all([
      use("org/tiny", { endpoint }),
      use("org/tiny", { endpoint, workers: 1 }),
    ]);
    assert.deepEqual(one, two);
    const weights = (await asked(endpoint)).filter((path) => path.endsWith(".safetensors"));
    assert.lengthOf(weights, 1);
    await cache.clear();
  },

  "a store of one's own": async ({ origin }) => {
    const store = memoryStore();
    const endpoint = `${origin}/hub`;
    const models = modelCache(store);
    const first = await use("org/tiny", { endpoint, cache: store });
    assert.isTrue(first.cached);
    await asked(endpoint);
    assert.deepEqual(await use("org/tiny", { endpoint, cache: store }), first);
    assert.deepEqual(await asked(endpoint), ["org/tiny list"]);
    // Others are beside it: each dtype, each folder with a version.
    assert.isTrue((await use("org/tiny", { endpoint, cache: store, dtype: "f32" })).cached);
    const folder = `${origin}/${TINY}`;
    assert.isFalse((await use(folder, { cache: store })).cached);
    assert.isTrue((await use(folder, { cache: store, revision: "1" })).cached);
    assert.isTrue((await use(folder, { cache: store, revision: "2" })).cached);
    assert.isTrue((await use(folder, { cache: store, revision: "1", offline: true })).cached);
    const list = (await models.list()).map(({ model, revision, dtype }) => `${model} ${revision} ${dtype}`);
    assert.sameMembers(list, [
      `org/tiny ${COMMIT} q8`,
      `org/tiny ${COMMIT} f32`,
      `${folder} 1 q8`,
      `${folder} 2 q8`,
    ]);
    assert.isTrue(await models.delete("org/tiny"));
    assert.lengthOf(await models.list(), 2);
    await models.clear();
    assert.deepEqual([...store.values.keys()], ["index.json"]);
  },

  "what a store has lost, changed or refused": async ({ origin }) => {
    const store = memoryStore();
    const endpoint = `${origin}/hub`;
    const options = { endpoint, cache: store };
    const first = await use("org/tiny", options);
    for (const change of [
      (value) => value.slice(1),
      (value) => value.map((byte) => byte ^ 1),
      () => undefined,
    ]) {
      for (const name of [...store.values.keys()]) {
        const value = change(store.values.get(name));
        if (value) store.values.set(name, value);
        else store.values.delete(name);
        assert.deepEqual(await use("org/tiny", options), first, name);
      }
    }
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning);
    const full = {
      ...memoryStore(),
      put: () => Promise.reject(new DOMException("no room", "QuotaExceededError")),
    };
    assert.deepEqual(await use("org/tiny", { endpoint, cache: full, onWarning }), {
      ...first,
      cached: false,
    });
    assert.deepEqual([warnings.length, warnings[0].code], [1, "not_cached"]);
    assert.include(warnings[0].message, "no room");
  },

  "an index that is damaged": async ({ origin }) => {
    const store = memoryStore();
    const options = { endpoint: `${origin}/hub`, cache: store };
    const first = await use("org/tiny", options);
    const { entries, ...rest } = JSON.parse(new TextDecoder().decode(store.values.get("index.json")));
    const [entry] = entries;
    const with_ = (field, value) => [{ ...entry, [field]: value }];
    const files = (file) => with_("files", { "config.json": file });
    const wrong = [null, 7, "x", {}, []];
    for (const entries of [
      ...wrong,
      ...wrong.map((value) => [value]),
      ...["key", "refs", "sha256", "files", "used"].flatMap((field) =>
        [null, 7.5, "x", [null], [7]]
          .filter(
            (value) =>
              value !== entry[field] &&
              !(field === "used" && value === 7.5) &&
              !(field === "key" && value === "x"),
          )
          .map((value) => with_(field, value)),
      ),
      with_("files", { "../../../../PWNED": { size: 1, pieces: [] } }),
      ...wrong.map(files),
      ...wrong.map((pieces) => files({ pieces })).slice(0, 4),
      ...["../../x", -1, null].map((start) =>
        files({ pieces: [{ start, length: 1, sha256: "0".repeat(64) }] }),
      ),
    ]) {
      const json = JSON.stringify({ ...rest, entries });
      store.values.set("index.json", new TextEncoder().encode(json));
      assert.isAbove((await modelCache(store).size()) + 1, 0);
      assert.deepEqual(await use("org/tiny", options), first, json.slice(0, 200));
      await modelCache(store).clear();
      for (const name of store.values.keys()) assert.notMatch(name, /(^|\/)\.\.?(\/|$)/);
    }
  },

  "what is damaged and cannot be replaced is passed over": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const made = memoryStore();
    const first = await use("org/tiny", { endpoint, cache: made });
    const name = [...made.values.keys()].find((name) => /model\.safetensors/.test(name));
    made.values.get(name)[100] ^= 1;
    // One cannot be written to; the other goes on to say what it said at first.
    const kept = new Map(made.values);
    const refuse = () => Promise.reject(new Error("read-only"));
    for (const [store, isReadOnly] of [
      [{ put: refuse, delete: refuse }, true],
      [{ put: () => {}, delete: () => {} }, false],
    ]) {
      let reads = 0;
      const get = async (name) => {
        reads++;
        return kept.get(name);
      };
      const warnings = [];
      const options = { endpoint, cache: { get, ...store }, onWarning: (warning) => warnings.push(warning) };
      const { digest } = await use("org/tiny", options);
      assert.equal(digest, first.digest);
      assert.isBelow(reads, 200);
      if (isReadOnly) {
        assert.deepEqual(new Set(warnings.map(({ code }) => code)), new Set(["not_cached"]));
        assert.include(warnings[0].message, "read-only");
      }
      const offline = await failure(() => load("org/tiny", { ...options, offline: true }));
      assert.instanceOf(offline, GossamerError);
      assert.isBelow(reads, 400);
    }
  },

  "what a store throws": async ({ origin }) => {
    const cause = new Error("the bucket is on fire");
    const refuse = () => {
      throw cause;
    };
    const options = { endpoint: `${origin}/hub` };
    for (const get of [refuse, async () => refuse()]) {
      const error = await failure(() => load("org/tiny", { ...options, cache: { ...memoryStore(), get } }));
      assert.instanceOf(error, GossamerError);
      assert.equal(error.cause, cause);
      assert.include(error.message, cause.message);
    }
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning);
    await use("org/tiny", { ...options, cache: { ...memoryStore(), put: refuse }, onWarning });
    assert.equal(warnings[0].code, "not_cached");
    assert.include(warnings[0].message, cause.message);
    assert.equal(warnings[0].cause.cause, cause);
  },

  "a folder's files are not joined of two versions": async ({ origin }) => {
    for (const mark of ["same", "none", "each"]) {
      const run = String(Math.random());
      const url = `${origin}/versions/${mark}/${run}/`;
      const store = memoryStore();
      const options = { cache: store, revision: "1", stallTimeout: 5000 };
      const controller = new AbortController();
      // The first load ends where its connection breaks off.
      const onProgress = ({ status, file, loaded }) => {
        if (status === "progress" && file === "model.safetensors" && loaded > 1e5) {
          setTimeout(() => controller.abort(), 100);
        }
      };
      const error = await failure(() => load(url, { ...options, onProgress, signal: controller.signal }));
      assert.equal(error.code, "aborted");
      const isKept = [...store.values.keys()].some((name) => name.includes("/downloaded/model"));
      assert.equal(isKept, mark !== "none");
      const { digest } = await use(url, options);
      const whole = mark === "same" ? `${origin}/${TINY}` : `${origin}/versions/none/${run}/`;
      assert.equal(digest, (await use(whole)).digest, mark);
    }
  },

  "hashes that the user knows hold for what is kept": async ({ origin }) => {
    const store = memoryStore();
    const options = { endpoint: `${origin}/hub`, cache: store };
    const first = await use("org/tiny", options);
    const wrong = { ...options, sha256: { "model.safetensors": "00".repeat(32) } };
    assert.equal((await failure(() => load("org/tiny", wrong))).code, "wrong_hash");
    assert.deepEqual(await use("org/tiny", options), first);
  },

  "200 schedules of faults": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    await cache.clear();
    const expected = { ...(await use(`${origin}/${TINY}`)), cached: true, revision: COMMIT };
    const size = (await (await fetch(`${origin}/${TINY}model.safetensors`)).arrayBuffer()).byteLength;
    const kinds = [
      "cut",
      "stall",
      "wrong",
      "long",
      "short",
      "whole",
      "gone",
      "busy",
      "error",
      "refuse",
      "changed",
    ];
    const met = new Set();
    const schedule = async (number) => {
      const random = numbers(number * 2654435761 + 1);
      const draw = (count) => Math.floor(random.next().value * count);
      const plan = Array.from({ length: 1 + draw(8) }, () =>
        draw(4) === 0 ? {} : { kind: kinds[draw(kinds.length)], at: draw(size) },
      );
      const name = `fault/${number}`;
      const log = async (plan) =>
        (await fetch(`${endpoint}/faults/${number}?plan=${encodeURIComponent(JSON.stringify(plan))}`)).json();
      await log(plan);
      const options = { endpoint, stallTimeout: 1000 };
      const story = JSON.stringify(plan);
      // Again and again, until it is here.
      let loaded;
      let last = "";
      for (let tries = 0; !loaded; tries++) {
        assert.isBelow(tries, 10, `${story}: ${last}`);
        try {
          loaded = await use(name, options);
        } catch (error) {
          met.add(error.code);
          last = error.message;
          assert.include(
            ["network", "http", "wrong_hash", "not_found", "invalid_safetensors", "truncated_stream"],
            error.code,
            `${story}: ${error.stack}`,
          );
        }
      }
      assert.deepEqual(loaded, expected, story);
      const sent = await log([{ kind: "gone" }]);
      // Once, but for tails, files that turned out wrong, and what a server sends again that does
      // not know ranges.
      const total = read(name);
      const whole = sent.filter(({ kind }) => kind === "wrong" || kind === "whole").length;
      const broken = sent.filter(({ sent }) => sent > 0).length - 1;
      assert.isAtLeast(total, size, story);
      assert.isAtMost(total, size * (1 + whole) + TAIL * broken, `${story}: ${JSON.stringify(sent)}`);
      // From the cache, which is right.
      assert.deepEqual(await use(name, options), expected, story);
      assert.deepEqual(await log([]), [], story);
    };
    const queue = Array.from({ length: SCHEDULES }, (_, number) => number);
    const worker = async () => {
      for (let number = queue.shift(); number !== undefined; number = queue.shift()) await schedule(number);
    };
    const { read, restore } = countedFetch(/\/(fault\/\d+)\/.*model\.safetensors$/);
    try {
      await Promise.all(Array.from({ length: ABREAST }, worker));
    } finally {
      restore();
    }
    assert.include([...met], "wrong_hash");
    await cache.clear();
  },
};
