/** Loading from every kind of source, progress, abort, dispose, helpers. */

import { assert } from "chai";
import { fuse, GossamerError, init, load, serve } from "gossamer-embed";
import {
  embedder,
  failure,
  fetchBytes,
  MINILM,
  reference,
  rows,
  SPLADE,
  TINY,
  tinyFiles,
} from "../support/models.mjs";
import { dot } from "../support/numbers.mjs";

/** The commit of the tests' Hub. */
const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const TEXT = "The cat sat on the mat.";

/** The vector that every source must lead to. */
const expected = async (origin) => (await (await embedder(origin, TINY, "q8")).encode(TEXT)).data;

async function same(origin, source, options) {
  const model = await load(source, options);
  assert.deepEqual((await model.encode(TEXT)).data, await expected(origin));
  const { info } = model;
  model.dispose();
  return info;
}

/** An error has its code, is of the class, and says something. */
function is(error, code) {
  assert.instanceOf(error, GossamerError);
  assert.equal(error.code, code, error.message);
  assert.isNumber(error.status);
  assert.match(error.message, /\w+ \w+.*/);
  return error;
}

/** Percentages never fall, never pass 100, and end there. */
function rises(events) {
  assert.isNotEmpty(events);
  let last = 0;
  for (const { progress, loaded, total } of events) {
    assert.isAtLeast(progress, last);
    assert.isAtMost(progress, 100);
    assert.isAtMost(loaded, total);
    last = progress;
  }
  assert.equal(last, 100);
}

export const cases = {
  "a folder's URL, with and without the slash, as a string and as a URL": async ({ origin }) => {
    await same(origin, `${origin}/${TINY}`);
    await same(origin, `${origin}/${TINY.slice(0, -1)}`);
    await same(origin, new URL(`${origin}/${TINY}`));
  },

  "a map of files, in every form that bytes come in": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const forms = {
      "typed array": (bytes) => bytes,
      ArrayBuffer: (bytes) => bytes.slice().buffer,
      DataView: (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      Blob: (bytes) => new Blob([bytes]),
      stream: (bytes) => new Blob([bytes]).stream(),
      Response: (bytes) => new Response(bytes),
      "object with a body": (bytes) => ({ body: new Blob([bytes]).stream() }),
    };
    for (const [name, form] of Object.entries(forms)) {
      const entries = Object.entries(files).map(([file, bytes]) => [file, form(bytes)]);
      await same(origin, Object.fromEntries(entries)).catch((error) =>
        assert.fail(`${name}: ${error.message}`),
      );
    }
    await same(origin, new Map(Object.entries(files)));
  },

  "a stream of single bytes": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const bytes = files["model.safetensors"];
    let at = 0;
    const stream = new ReadableStream({
      pull(controller) {
        // The header byte by byte, the rest in odd sizes.
        const next = at < 3000 ? at + 1 : at + 1237;
        if (at < bytes.length) controller.enqueue(bytes.slice(at, next));
        else controller.close();
        at = next;
      },
    });
    await same(origin, { ...files, "model.safetensors": stream });
  },

  "a stream is read once": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const response = new Response(files["config.json"]);
    await response.text();
    const error = is(await failure(() => load({ ...files, "config.json": response })), "invalid_source");
    assert.include(error.message, "config.json");
    is(await failure(() => load({ ...files, "config.json": 7 })), "invalid_source");
  },

  "the Hub: plain, with a revision, with a token": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const hub = { endpoint, cache: false };
    const asked = async () => (await fetch(`${endpoint}/asked`)).json();
    await asked();
    const info = await same(origin, "org/tiny", hub);
    assert.equal(info.model, "org/tiny");
    // One commit for all, and no request for what is not there.
    assert.equal(info.revision, COMMIT);
    assert.deepEqual(info.files, ["model.safetensors"]);
    const requests = await asked();
    assert.equal(requests[0], "org/tiny list");
    assert.sameMembers(requests.slice(1), [
      "org/tiny 1_Pooling/config.json",
      "org/tiny config.json",
      "org/tiny config_sentence_transformers.json",
      "org/tiny model.safetensors",
      "org/tiny modules.json",
      "org/tiny sentence_bert_config.json",
      "org/tiny special_tokens_map.json",
      "org/tiny tokenizer.json",
      "org/tiny tokenizer_config.json",
    ]);
    assert.equal((await same(origin, "org/tiny@refs/pr/1", hub)).revision, COMMIT);
    await same(origin, "org/tiny", { ...hub, endpoint: `${endpoint}/`, revision: "refs/pr/1" });
    await same(origin, "org/tiny", { ...hub, workers: 2 });
    await same(origin, "org/private", { ...hub, token: "secret" });
    await same(origin, "org/nested", { ...hub, subfolder: "tiny-bert" });
    const locked = is(await failure(() => load("org/private", hub)), "http");
    assert.equal(locked.status, 401);
    assert.include(locked.message, "token");
    const absent = is(await failure(() => load("org/absent", hub)), "not_found");
    assert.include(absent.message, `${endpoint}/org/absent/resolve/main/config.json`);
    is(await failure(() => load("org/tiny@gone", hub)), "not_found");
  },

  "the Hub: by the address of a page, a folder or a file": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const hub = { endpoint, cache: false };
    for (const address of [
      `${endpoint}/org/tiny`,
      `${endpoint}/org/tiny/`,
      `${endpoint}/org/tiny/tree/main`,
      `${endpoint}/org/tiny/tree/refs%2Fpr%2F1/`,
      `${endpoint}/org/tiny/blob/main/config.json`,
      `${endpoint}/org/tiny/resolve/main/model.safetensors?download=true`,
      `${endpoint}/org/nested/tree/main/tiny-bert`,
      `${endpoint}/org/nested/resolve/main/tiny-bert/`,
      `${endpoint}/org/nested/blob/main/tiny-bert/tokenizer.json`,
      // The Hub's own addresses lead to the mirror that is used in its place.
      "https://huggingface.co/org/tiny",
      new URL("https://hf.co/org/tiny/tree/main"),
    ]) {
      const { model, revision } = await same(origin, address, hub);
      assert.deepEqual(
        [model, revision],
        [String(address).includes("nested") ? "org/nested" : "org/tiny", COMMIT],
      );
    }
    const private_ = await failure(() => load(`${endpoint}/org/private`, hub));
    assert.equal(is(private_, "http").status, 401);
    const gguf = await load(`${endpoint}/org/gguf/blob/main/bert-q4_k.gguf`, hub);
    assert.deepEqual(gguf.info.files, ["bert-q4_k.gguf"]);
    gguf.dispose();
  },

  "the Hub: tokens that are refused, or not clean; a mirror that has moved": async ({ origin }) => {
    const hub = { endpoint: `${origin}/hub`, cache: false };
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning);
    // What is public needs none.
    for (const name of ["org/tiny", "org/mirrored"]) {
      await same(origin, name, { ...hub, token: "hf_expired", onWarning });
      const [warning, ...others] = warnings.splice(0);
      assert.lengthOf(others, 0);
      assert.equal(is(warning, "http").status, 401);
      assert.include(warning.message, "this token has expired");
      assert.notInclude(warning.message, "hf_expired");
    }
    const locked = await failure(() => load("org/private", { ...hub, token: "hf_expired", onWarning }));
    assert.equal(is(locked, "http").status, 401);
    assert.include(locked.message, "this token has expired");
    assert.include((await failure(() => load("org/private", hub))).message, "Invalid username or password.");
    for (const token of ["secret\n", " sec\r\nret "])
      await same(origin, "org/private", { ...hub, token, onWarning });
    assert.lengthOf(warnings, 0);
    for (const endpoint of [hub.endpoint, `${hub.endpoint}//`, ` ${hub.endpoint}/\n`]) {
      for (const token of [undefined, "hf_good"])
        await same(origin, "org/moved", { ...hub, endpoint, token });
    }
  },

  "the Hub: the smallest weights that will do, or those that are asked for": async ({ origin }) => {
    const hub = { endpoint: `${origin}/hub`, cache: false };
    const use = async (source, options) => {
      const model = await load(source, { ...hub, ...options });
      const { files } = model.info;
      const { data } = await model.encode(TEXT);
      model.dispose();
      return { files: files.join(), data };
    };
    const half = await use("org/variants");
    assert.equal(half.files, "model.bf16.safetensors");
    const whole = await use("org/variants", { file: "model.safetensors" });
    assert.equal(whole.files, "model.safetensors");
    assert.isAbove(dot(half.data, whole.data), 0.999);
    assert.notDeepEqual(half.data, whole.data);
    assert.equal((await use("org/variants", { dtype: "f32" })).files, "model.safetensors");
    assert.deepEqual(await use("org/variants", { file: half.files, workers: 1 }), half);
    assert.deepEqual(await use(`${hub.endpoint}/org/variants/blob/main/${half.files}`), half);
    assert.include((await failure(() => use("org/tiny", { file: half.files }))).message, half.files);
    is(await failure(() => use("org/tiny", { file: "nowhere/model.bin" })), "invalid_input");
  },

  "the Hub: files that are not what they should be": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const hub = { endpoint, cache: false };
    const damaged = is(await failure(() => load("org/damaged", hub)), "wrong_hash");
    assert.include(damaged.message, "model.safetensors");
    // A mirror without the list gives no hashes and the name of the branch, but its commits still
    // have to agree.
    assert.equal((await same(origin, "org/mirrored", hub)).revision, "main");
    const moving = is(await failure(() => load("org/moving", hub)), "network");
    assert.include(moving.message, "Load it again");
    const pinned = { "model.safetensors": "0".repeat(64) };
    is(await failure(() => load("org/tiny", { ...hub, sha256: pinned })), "wrong_hash");
  },

  "the Hub: a file that is listed and not there is an error, and nothing takes its place": async ({
    origin,
  }) => {
    const endpoint = `${origin}/hub`;
    const hub = { endpoint, cache: false };
    const plan = encodeURIComponent(JSON.stringify([{ kind: "gone" }]));
    await fetch(`${endpoint}/faults/listed?plan=${plan}`);
    const gone = is(await failure(() => load("fault/listed", hub)), "network");
    assert.include(gone.message, "model.safetensors is no longer there");
    assert.include(gone.message, "404");
    // The next time it is there again.
    (await load("fault/listed", hub)).dispose();
    // So it is with small files: without modules.json the model would be pooled otherwise.
    await fetch(`${endpoint}/lies/listed`, {
      method: "POST",
      body: JSON.stringify({ small: { status: 404 } }),
    });
    const small = is(await failure(() => load("hostile/listed", hub)), "network");
    assert.include(small.message, "config.json is no longer there");
  },

  "the Hub: a model that is nothing but GGUF files": async ({ origin }) => {
    const endpoint = `${origin}/hub`;
    const hub = { endpoint, cache: false };
    const events = [];
    const model = await load("org/gguf", { ...hub, onProgress: (event) => events.push(event) });
    assert.deepEqual(model.info.files, ["bert-f16.gguf"]);
    rises(events.filter((event) => event.status === "progress_total"));
    model.dispose();
    const small = await load("org/gguf", { ...hub, download: "small" });
    assert.match(small.info.files[0], /q8_0\.gguf$/);
    assert.deepEqual(small.info.stored, { layout: "GGUF, Q8_0", outcome: "requantized" });
    small.dispose();
    const other = await load("org/gguf", { ...hub, file: "bert-q4_k.gguf" });
    assert.deepEqual(other.info.files, ["bert-q4_k.gguf"]);
    other.dispose();
  },

  "a server that answers its start page for what it does not have": async ({ origin }) => {
    await same(origin, `${origin}/fallback/tiny/`);
    const error = is(await failure(() => load(`${origin}/fallback/nothing/`)), "not_found");
    assert.include(error.message, "HTML");
    assert.include(error.message, `${origin}/fallback/nothing/config.json`);
  },

  "a server that fails, hangs up, or is not there": async ({ origin }) => {
    assert.equal(is(await failure(() => load(`${origin}/failing/`)), "http").status, 503);
    const broken = await failure(() => load(`${origin}/broken/`));
    assert.include(["network", "truncated_stream"], broken.code, broken.message);
    const nowhere = is(await failure(() => load("http://127.0.0.1:9/")), "network");
    assert.include(nowhere.message, "127.0.0.1:9");
    is(await failure(() => load(`${origin}/nothing/here/`)), "not_found");
  },

  "downloads that break off go on, and servers that ask for patience get it": async ({ origin }) => {
    for (const kind of ["ranges", "anew", "unmarked"]) {
      const events = [];
      const onProgress = (event) => events.push(event);
      await same(origin, `${origin}/flaky/${kind}/${Math.random()}/`, { onProgress });
      rises(events.filter((event) => event.file === "model.safetensors" && event.status === "progress"));
    }
    for (const kind of ["changing", "exchanged"]) {
      const changed = await failure(() => load(`${origin}/flaky/${kind}/${Math.random()}/`));
      assert.include(is(changed, "network").message, "the file changed meanwhile");
    }
    const controller = new AbortController();
    setTimeout(() => controller.abort("enough"), 100);
    const aborted = await failure(() => load(`${origin}/failing/`, { signal: controller.signal }));
    assert.equal(is(aborted, "aborted").cause, "enough");
  },

  "files whose hashes are pinned": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const sha256 = {};
    for (const [name, bytes] of Object.entries(files)) {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      sha256[name] = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    const expected = await (await embedder(origin, TINY, "q8")).encode(TEXT);
    for (const workers of [0, 2]) {
      const model = await load(`${origin}/${TINY}`, { sha256, workers });
      assert.deepEqual(await model.encode(TEXT), expected);
      model.dispose();
      for (const name of ["model.safetensors", "config.json"]) {
        const other = { ...sha256, [name]: sha256["tokenizer.json"] };
        const error = is(await failure(() => load(files, { sha256: other, workers })), "wrong_hash");
        assert.include(error.message, name);
        assert.include(error.message, sha256[name]);
      }
    }
    is(await failure(() => load(files, { sha256: { "config.json": "abc" } })), "invalid_input");
  },

  "hashes for files that the model does not have": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const hub = { endpoint: `${origin}/hub`, cache: false };
    const hash = "0".repeat(64);
    const asked = [];
    const get = (name) => asked.push(name) && files[name];
    for (const [source, more] of [
      [files, {}],
      [get, {}],
      [`${origin}/${TINY}`, {}],
      [`${origin}/${TINY}`, { workers: 1 }],
      ["org/tiny", hub],
    ]) {
      const misspelt = { sha256: { "model.safetensor": hash }, ...more };
      const error = is(await failure(() => load(source, misspelt)), "invalid_input");
      assert.include(error.message, '"model.safetensor"');
      assert.include(error.message, "perhaps model.safetensors was meant");
      const other = is(
        await failure(() => load(source, { ...misspelt, sha256: { other: hash } })),
        "invalid_input",
      );
      assert.include(other.message, '"other"');
      assert.include(other.message, "leave it out");
    }
    assert.include(asked, "model.safetensors");
    // Where the files are listed, nothing is downloaded first.
    const events = [];
    const onProgress = (event) => events.push(event);
    await failure(() => load("org/tiny", { ...hub, onProgress, sha256: { "model.safetensor": hash } }));
    assert.deepEqual(events, []);
  },

  "a GGUF file": async ({ origin }) => {
    const folder = `${origin}/tests/fixtures/gguf/`;
    const file = "bert-q8_0.gguf";
    const theirs = (await reference(origin, "gguf/references.safetensors"))["bert-q8_0"];
    const asked = [];
    const get = (name) => asked.push(name) && fetchBytes(folder + name);
    for (const [source, workers] of [
      [folder, 0],
      [folder, 2],
      [get, 0],
    ]) {
      const model = await load(source, { file, workers, dtype: "f32" });
      const { family, stored, maxTokens } = model.info;
      assert.deepEqual(
        { family, stored, maxTokens },
        { family: "bert", stored: { layout: "GGUF, Q8_0", outcome: "widened" }, maxTokens: 40 },
      );
      // The third of the texts.
      const expected = rows(theirs)[2];
      const { data } = await model.encode(TEXT);
      for (const [index, value] of data.entries()) assert.closeTo(value, expected[index], 2e-5);
      model.dispose();
    }
    assert.deepEqual(asked, [file]);
    const absent = is(await failure(() => load(folder, { file: "none.gguf" })), "not_found");
    assert.include(absent.message, "none.gguf");
    is(await failure(() => load(folder, { file: "model.h5" })), "invalid_input");
  },

  "ONNX files": async ({ origin }) => {
    const onnx = `${origin}/tests/fixtures/onnx/`;
    const theirs = await reference(origin, "onnx/references.safetensors");
    const own = await reference(origin, "tiny-bert/reference.safetensors");
    const { "model.safetensors": _, ...small } = await tinyFiles(origin);
    const of = async (name, path = "onnx/model.onnx") => ({
      ...small,
      [path]: await fetchBytes(`${onnx}${name}`),
    });
    // In a map of files, by the names of transformers.js; the data of one is beside it.
    for (const [kind, path, expected] of [
      ["int8", "onnx/model_quantized.onnx", theirs["tiny-bert.int8"]],
      ["O4", "onnx/model_fp16.onnx", theirs["tiny-bert.O4"]],
      ["q4-tables", "onnx/model_q4.onnx", theirs["tiny-bert.q4-tables"]],
      ["optimum", "onnx/model.onnx", own.embeddings],
      ["external", "onnx/model.onnx", own.embeddings],
    ]) {
      const files = await of(`tiny-bert.${kind}.onnx`, path);
      if (kind === "external") {
        const data = "tiny-bert.external.onnx_data";
        files[`onnx/${data}`] = await fetchBytes(onnx + data);
      }
      const model = await load(files, { dtype: "f32" });
      assert.equal(model.info.files[0], path);
      const { data } = await model.encode(TEXT);
      const row = rows(expected)[2];
      for (const [index, value] of data.entries()) assert.closeTo(value, row[index], 2e-5, kind);
      model.dispose();
    }
    // A reranker, as transformers.js has it.
    const reranker = `${origin}/tests/fixtures/rerankers/bert`;
    const names = ["config.json", "tokenizer.json", "tokenizer_config.json"];
    const parts = await Promise.all(names.map((name) => fetchBytes(`${reranker}/${name}`)));
    const quantized = await fetchBytes(`${onnx}rerankers/bert.int8.onnx`);
    const ranks = await load({
      ...Object.fromEntries(names.map((name, at) => [name, parts[at]])),
      "onnx/model_quantized.onnx": quantized,
    });
    assert.equal(ranks.info.kind, "reranker");
    assert.lengthOf(await ranks.rerank("a cat", ["a dog", "cats"]), 2);
    ranks.dispose();
    // On the Hub, where there is nothing else; and named, though there is.
    const hub = { endpoint: `${origin}/hub`, cache: false };
    const file = "onnx/model_quantized.onnx";
    for (const [source, options] of [
      ["onnx-community/all-MiniLM-L6-v2-ONNX", hub],
      ["org/tiny", { ...hub, file }],
      [`${origin}/${TINY}`, { file }],
      [`${origin}/hub/org/tiny/resolve/main/${file}`, hub],
    ]) {
      const model = await load(source, options);
      assert.deepEqual(model.info.files, [file], source);
      const { layout, outcome, cosine } = model.info.stored;
      assert.deepEqual([layout, outcome, cosine], ["ONNX, 8 bits", "requantized", 0.998]);
      const { data } = await model.encode(TEXT);
      assert.isAbove(dot(data, rows(own.embeddings)[2]), 0.99, source);
      model.dispose();
    }
    const other = await of("tiny-gemma3.fp16.onnx");
    is(await failure(() => load(other)), "unsupported_model");
    const cut = { ...small, "onnx/model.onnx": other["onnx/model.onnx"].subarray(0, 1000) };
    assert.include(["truncated_stream", "invalid_onnx"], (await failure(() => load(cut))).code);
  },

  "a function that gets files": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const expected = await (await embedder(origin, TINY, "q8")).encode(TEXT);
    const asked = [];
    const get = (name) => asked.push(name) && files[name];
    for (const [source, workers] of [
      [get, 0],
      [async (name) => get(name), 0],
      [get, 2],
    ]) {
      const model = await load(source, { workers });
      assert.deepEqual(await model.encode(TEXT), expected);
      model.dispose();
    }
    assert.include(asked, "model.safetensors");
    const broken = async (name) => {
      if (name === "model.safetensors") throw new Error("the bucket is on fire");
      return files[name];
    };
    const error = is(await failure(() => load(broken)), "network");
    assert.include(error.message, "model.safetensors");
    assert.include(error.message, "the bucket is on fire");
    is(await failure(() => load(() => undefined)), "missing_file");
    const controller = new AbortController();
    const hanging = (_, signal) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("gone"))));
    const loading = failure(() => load(hanging, { signal: controller.signal }));
    setTimeout(() => controller.abort("enough"), 10);
    assert.equal(is(await loading, "aborted").cause, "enough");
  },

  "weights in shards, where they are not in one file": async ({ origin }) => {
    const expected = await embedder(origin, TINY, "q8");
    for (const workers of [0, 2]) {
      const events = [];
      const model = await load(`${origin}/sharded/`, { workers, onProgress: (event) => events.push(event) });
      assert.deepEqual(await model.encode(TEXT), await expected.encode(TEXT));
      assert.equal(model.info.spaceId, expected.info.spaceId);
      model.dispose();
      const done = events.filter(({ status }) => status === "done").map(({ file }) => file);
      assert.includeMembers(done, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
      rises(events.filter((event) => event.status === "progress_total"));
    }
    const files = await tinyFiles(origin);
    const index = new TextEncoder().encode('{ "weight_map": 7 }');
    const broken = { ...files, "model.safetensors": null, "model.safetensors.index.json": index };
    assert.include(is(await failure(() => load(broken)), "invalid_config").message, "weight_map");
    const shard = new TextEncoder().encode('{ "weight_map": { "a": "b.safetensors" } }');
    const lacking = { ...files, "model.safetensors": null, "model.safetensors.index.json": shard };
    assert.include(is(await failure(() => load(lacking)), "missing_file").message, "b.safetensors");
  },

  "a torch checkpoint, where there are no safetensors": async ({ origin }) => {
    const expected = await (await embedder(origin, SPLADE, "q8")).encodeSparse(TEXT);
    for (const workers of [0, 2]) {
      const events = [];
      const model = await load(`${origin}/torch/`, { workers, onProgress: (event) => events.push(event) });
      assert.deepEqual(await model.encodeSparse(TEXT), expected);
      model.dispose();
      rises(events.filter((event) => event.file === "pytorch_model.bin" && event.status === "progress"));
      rises(events.filter((event) => event.status === "progress_total"));
    }
    const files = await tinyFiles(origin);
    const evil = await fetchBytes(`${origin}/tests/fixtures/torch/evil.bin`);
    const error = await failure(() =>
      load({ ...files, "model.safetensors": null, "pytorch_model.bin": evil }),
    );
    assert.include(is(error, "invalid_torch").message, "posix.system");
  },

  "what is no source at all": async () => {
    for (const source of ["", "a b", "org/name/more", "ftp://host/x", "data:,x", 7, null, undefined]) {
      is(await failure(() => load(source)), "invalid_source");
    }
  },

  "progress rises to 100 and the model is ready": async ({ origin }) => {
    for (const folder of [MINILM, TINY, "gzip/"]) {
      const events = [];
      const model = await load(`${origin}/${folder}`, { onProgress: (event) => events.push(event) });
      model.dispose();
      assert.deepEqual(events.at(-1), {
        status: "ready",
        task: "feature-extraction",
        model: `${origin}/${folder}`,
      });
      const files = new Set(events.map((event) => event.file).filter(Boolean));
      assert.includeMembers([...files], ["config.json", "tokenizer.json", "model.safetensors"]);
      for (const file of files) {
        const its = events.filter((event) => event.file === file);
        assert.deepEqual(
          its.slice(0, 2).map((event) => event.status),
          ["initiate", "download"],
        );
        assert.equal(its.at(-1).status, "done");
        rises(its.filter((event) => event.status === "progress"));
      }
      const whole = events.filter((event) => event.status === "progress_total");
      rises(whole);
      const { total } = whole.at(-1).files["model.safetensors"];
      if (folder === MINILM) {
        assert.equal(total, 90868376);
        assert.isAbove(whole.length, 50, "a large file is reported in many steps");
      }
    }
  },

  "listeners that throw or reject end nothing": async ({ origin }) => {
    const failing = {
      throws: () => {
        throw new Error("no bar");
      },
      rejects: async () => {
        throw new Error("no bar");
      },
    };
    for (const onProgress of Object.values(failing)) {
      const warnings = [];
      await same(origin, `${origin}/${TINY}`, { onProgress, onWarning: (warning) => warnings.push(warning) });
      // Rejections are heard a little later.
      await new Promise((done) => setTimeout(done, 0));
      assert.lengthOf(warnings, 1);
      assert.include(is(warnings[0], "invalid_input").message, "no bar");
      assert.equal(warnings[0].cause.message, "no bar");
    }
    const onWarning = async () => {
      throw new Error("nobody listens");
    };
    await same(origin, `${origin}/${TINY}`, { onProgress: failing.rejects, onWarning });
  },

  "abort before the start": async ({ origin }) => {
    const reason = new Error("changed my mind");
    const signal = AbortSignal.abort(reason);
    assert.equal(is(await failure(() => load(`${origin}/${TINY}`, { signal })), "aborted").cause, reason);
    const model = await embedder(origin, TINY, "q8");
    for (const call of [
      () => model.encode(TEXT, { signal }),
      () => model.embeddings.create({ input: TEXT }, { signal }),
    ]) {
      assert.equal(is(await failure(call), "aborted").cause, reason);
    }
    assert.deepEqual((await model.encode(TEXT)).data, await expected(origin));
  },

  "abort in the middle of the download": async ({ origin }) => {
    const before = (await embedder(origin, TINY, "q8")).info.memoryBytes;
    for (let round = 0; round < 3; round++) {
      const controller = new AbortController();
      const onProgress = (event) => {
        if (event.status === "progress" && event.file === "model.safetensors") controller.abort("enough");
      };
      const { signal } = controller;
      const error = is(await failure(() => load(`${origin}/stalled/`, { signal, onProgress })), "aborted");
      assert.equal(error.cause, "enough");
    }
    assert.equal((await embedder(origin, TINY, "q8")).info.memoryBytes, before, "what was loaded is freed");
    await same(origin, `${origin}/${TINY}`);
  },

  "abort of a stream that never comes": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const controller = new AbortController();
    const stream = new ReadableStream({});
    const { signal } = controller;
    setTimeout(() => controller.abort("enough"), 20);
    is(await failure(() => load({ ...files, "model.safetensors": stream }, { signal })), "aborted");
  },

  "abort in the middle of the work": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    const controller = new AbortController();
    const many = Array.from({ length: 2000 }, (_, i) => `${TEXT} ${i}`);
    setTimeout(() => controller.abort("enough"), 30);
    const error = is(await failure(() => model.encode(many, { signal: controller.signal })), "aborted");
    assert.equal(error.cause, "enough");
    assert.equal((await model.encode(TEXT)).shape[0], 1);
  },

  "the event loop runs while texts are embedded": async ({ origin }) => {
    const model = await embedder(origin, MINILM, "q8");
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await model.encode(Array.from({ length: 60 }, (_, i) => `${TEXT} ${i}`));
    for (let i = 0; i < 60; i++) await model.encode(TEXT);
    clearInterval(timer);
    assert.isAbove(turns, 3);
  },

  "after dispose, calls are refused; others go on": async ({ origin }) => {
    const model = await load(`${origin}/${TINY}`);
    const vector = (await model.encode(TEXT)).data;
    const underWay = failure(() => model.encode(Array(2000).fill(TEXT)));
    await new Promise((done) => setTimeout(done, 0));
    model.dispose();
    model.dispose();
    is(await underWay, "disposed");
    for (const call of [
      () => model.encode(TEXT),
      () => model.encodeSparse(TEXT),
      () => model.embedSparse({ inputs: TEXT }),
      () => model.embeddings.create({ input: TEXT }),
      () => model.tokenize(TEXT),
      () => model.similarity(vector, vector),
      () => model.info,
    ]) {
      is(await failure(call), "disposed");
    }
    assert.deepEqual(vector, await expected(origin));
  },

  "what `using` calls disposes": async ({ origin }) => {
    // Not every engine has it.
    if (!Symbol.dispose) return;
    const model = await load(`${origin}/${TINY}`);
    model[Symbol.dispose]();
    is(await failure(() => model.encode("a")), "disposed");
    const files = await tinyFiles(origin);
    let loads = 0;
    const tiny = (name) => {
      if (name === "config.json") loads++;
      return files[name];
    };
    const server = serve({ models: { tiny } });
    const asked = { method: "POST", body: '{"input":"a"}' };
    const ask = async () => (await server.fetch("http://localhost/v1/embeddings", asked)).status;
    assert.equal(await ask(), 200);
    assert.equal(await ask(), 200);
    server[Symbol.dispose]();
    assert.equal(await ask(), 503);
    server[Symbol.dispose]();
    assert.equal(loads, 1);
  },

  "similarity of vectors and of tables": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const a = await model.encode([TEXT, "a dog"]);
    const b = await model.encode(["a dog", "birds", TEXT]);
    const { data, shape } = model.similarity(a, b);
    assert.deepEqual(shape, [2, 3]);
    assert.closeTo(data[2], 1, 1e-6);
    assert.closeTo(data[3], 1, 1e-6);
    assert.closeTo(model.similarity(rows(a)[0], rows(b)[1]), data[1], 1e-6);
    assert.closeTo(model.similarity([1, 0], [1, 1]), Math.SQRT1_2, 1e-6);
    assert.deepEqual(model.similarity(rows(a)[0], b).shape, [1, 3]);
    assert.closeTo(model.similarity(a, rows(b)[2]).data[0], 1, 1e-6);
    // As they come out of a database, or of a file.
    assert.deepEqual(model.similarity(a, JSON.parse(JSON.stringify(b))).data, data);
    assert.deepEqual(model.similarity(a.toList(), b.toList()).data, data);
    assert.deepEqual(model.similarity(a, { data: Array.from(b.data), shape: b.shape }).data, data);
    for (const [one, other] of [
      [[1], [1, 2]],
      ["a", "b"],
      [a, "b"],
      [a, null],
      [a, undefined],
      [a, 7],
      [a, {}],
      [a, { data: b.data }],
      [a, { data: b.data, shape: [2, 48] }],
      [a, { data: null, shape: b.shape }],
      [a, { data: b.data, shape: null }],
      [a, { data: ["x"], shape: [1, 1] }],
      [a, [["x"]]],
      [a, [[1, 2], [3]]],
      [a, [1, null]],
      [a, new Uint8Array(48)],
      [a, { data: new Uint8Array(48), shape: [1, 48] }],
      [
        { indices: [2, 1], values: [1, 1] },
        { indices: [1, 2], values: [1, 1] },
      ],
      [
        { indices: [1, 2], values: [1] },
        { indices: [1, 2], values: [1, 1] },
      ],
      [{ dense: 7 }, { dense: 7 }],
      [{ tokens: [7] }, { tokens: [7] }],
      [{ sparse: a }, { sparse: a }],
    ]) {
      is(await failure(() => model.similarity(one, other)), "invalid_input");
    }
    is(await failure(() => model.maxSim(a, null)), "invalid_input");
    is(await failure(() => model.similarity(a, b, { weight: {} })), "invalid_input");
  },

  "results as lists of numbers": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const encoded = await model.encode([TEXT, "a dog"]);
    assert.deepEqual(
      encoded.toList(),
      rows(encoded).map((row) => Array.from(row)),
    );
    const int8 = await model.encode([TEXT], { output: "int8" });
    assert.deepEqual(int8.toList(), [Array.from(int8.data)]);
    const [tokens] = await model.encodeTokens(TEXT);
    assert.lengthOf(tokens.toList(), tokens.shape[0]);
    const [chunked] = await model.encodeChunks(TEXT, { chunkSize: 6 });
    assert.lengthOf(chunked.toList(), chunked.chunks.length);
    for await (const batch of model.stream([TEXT])) assert.deepEqual(batch.toList(), [encoded.toList()[0]]);
    // It is in no way of copies.
    assert.deepEqual(Object.keys(structuredClone(encoded)), ["tokens", "truncated", "data", "shape"]);
    assert.notProperty(JSON.parse(JSON.stringify(encoded)), "toList");
  },

  "options that load does not have, with the names that were meant": async ({ origin }) => {
    for (const [options, word] of [
      [{ quantized: true }, 'dtype: "q8"'],
      [{ progress_callback: () => {} }, "onProgress"],
      [{ progressCallback: () => {} }, "onProgress"],
      [{ threads: 2 }, "workers"],
      [{ numThreads: 2 }, "workers"],
      [{ onprogress: () => {} }, "`onProgress`"],
      [{ worker: 2 }, "`workers`"],
      [{ max_length: 256 }, "maxTokens"],
      [{ dimensions: 5 }, "an option of encode"],
      [{ nonsense: 1 }, "createWorker"],
      [{ dtype: "q4f16" }, '"q8"'],
      [{ device: "gpu" }, '"webgpu"'],
      [null, "an object"],
      ["q8", "an object"],
    ]) {
      const error = is(await failure(() => load(`${origin}/${TINY}`, options)), "invalid_input");
      assert.include(error.message, word);
    }
    for (const [options, expected] of [
      [
        { dtype: "fp32", device: "wasm" },
        { dtype: "f32", device: "cpu" },
      ],
      [{ dtype: "fp16" }, { dtype: "f16" }],
      [{ dtype: "int8", quantized: undefined }, { dtype: "q8" }],
    ]) {
      const model = await load(`${origin}/${TINY}`, options);
      assert.include(model.info, expected);
      model.dispose();
    }
  },

  "options and fields that calls do not have": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    for (const [call, word] of [
      [() => model.encodeSparse(TEXT, { pooling: "mean" }), "an option of encode"],
      [() => model.encode(TEXT, { normalise: true }), "`normalize` was meant"],
      [() => model.encode(TEXT, { prompt_name: "query" }), "`promptName` was meant"],
      [() => model.encode(TEXT, { dtype: "q8" }), "an option of load"],
      [() => model.encode(TEXT, { dimension: 5 }), "`dimensions` was meant"],
      [() => model.encode(TEXT, { batch_size: 5 }), "leave it out"],
      [() => model.chunk(TEXT, { chunk_size: 5 }), "chunkSize"],
      [() => model.tokenize(TEXT, { add_special_tokens: false }), "addSpecialTokens"],
      [() => model.embeddings.create({ input: TEXT, dimension: 5 }), "`dimensions` was meant"],
      [() => model.embeddings.create({ input: TEXT, inputs: TEXT }), "`input` was meant"],
      [() => model.embedAll({ input: TEXT }), "`inputs` was meant"],
      [() => model.stream([TEXT], { batch_size: 5 }).next(), "batchTokens"],
      [() => model.encode(), "texts is missing"],
      [() => model.encode(null), "texts is missing"],
      [() => model.encode([null]), "texts[0] is missing"],
      [() => model.encode(["a", undefined]), "texts[1] is missing"],
      [() => model.encode(["a", 7]), "texts[1] is the number 7"],
      [
        () =>
          model.encode([
            [5, 6],
            [5, "a"],
          ]),
        "texts[1][1] is a string",
      ],
      [() => fuse([["a"]], { weight: [1] }), "`weights` was meant"],
      [() => init({ wasm: "x" }), "module"],
    ]) {
      assert.include(is(await failure(call), "invalid_input").message, word);
    }
    assert.deepEqual((await model.encode(TEXT)).data, await expected(origin));
  },

  "values that options of load cannot have": async ({ origin }) => {
    const controller = new AbortController();
    for (const options of [
      { sha256: new Map([["model.safetensors", "0".repeat(64)]]) },
      { sha256: "0".repeat(64) },
      { sha256: { "config.json": 5 } },
      { offline: "false" },
      { saveable: 1 },
      { cache: {} },
      { cache: "no" },
      { stallTimeout: "5s" },
      { stallTimeout: Number.NaN },
      { stallTimeout: -1 },
      { createWorker: {} },
      { onWarning: "console" },
      { onProgress: true },
      { revision: 5 },
      { device: 10n },
      { signal: controller },
      // A folder that is no model of the Hub has no other folder to look into.
      { subfolder: "onnx" },
      new Map([["dtype", "q4"]]),
      [],
    ]) {
      const error = await failure(() => load(`${origin}/${TINY}`, options));
      assert.instanceOf(error, GossamerError);
      assert.include(["invalid_input", "invalid_source"], error.code);
      const [name] = Object.keys(options);
      if (name !== undefined) assert.include(error.message, name);
    }
    // null is no value, and a time without end is one that timers do not have.
    const options = { dtype: null, revision: null, signal: null, sha256: null, onProgress: null };
    for (const stallTimeout of [Number.POSITIVE_INFINITY, 2 ** 31, 5e9]) {
      const model = await load(`${origin}/${TINY}`, { ...options, stallTimeout });
      assert.equal(model.info.dtype, "q8");
      model.dispose();
    }
  },

  "a source or a store that never answers is given up with the signal": async ({ origin }) => {
    const never = () => new Promise(() => {});
    const store = { get: never, put: never, delete: never };
    for (const [source, options] of [
      [never, {}],
      [() => new ReadableStream({}), {}],
      [`${origin}/${TINY}`, { cache: store, revision: "1" }],
    ]) {
      // A timer that keeps Node alive, which that of `AbortSignal.timeout` does not.
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 50);
      is(await failure(() => load(source, { ...options, signal: controller.signal })), "aborted");
    }
  },

  "values that options of calls cannot have": async ({ origin }) => {
    const model = await embedder(origin, TINY, "q8");
    const all = async (batches) => {
      for await (const _ of batches);
    };
    for (const [call, word] of [
      [() => model.encode(TEXT, { dimensions: Number.NaN }), "dimensions"],
      [() => model.encode(TEXT, { normalize: Number.POSITIVE_INFINITY }), "normalize"],
      [() => model.embeddings.create({ input: TEXT, dimensions: Number.NaN }), "dimensions"],
      [() => model.encode(TEXT, { signal: new AbortController() }), "its `signal`"],
      [() => model.chunk(TEXT, { signal: {} }), "AbortSignal"],
      [() => all(model.stream([TEXT], { signal: 5 })), "AbortSignal"],
      [() => model.encode(TEXT, 5), "object"],
      [() => model.encode(TEXT, []), "object"],
      [() => model.encode(TEXT, () => {}), "object"],
      [() => model.encode(TEXT, new Map([["dimensions", 5]])), "object"],
      [() => model.chunk(TEXT, 5), "object"],
      [() => model.save(null), "object"],
      [() => model.save({ shards: 5 }), "`shard` was meant"],
      // They would be one text's token ids.
      [() => all(model.stream([101, 7592, 102])), "input 0"],
      [() => all(model.stream(new Uint32Array([101, 102]))), "input 0"],
      [() => all(model.stream([TEXT, 7])), "input 1"],
      [() => all(model.stream([TEXT], { batchTokens: Symbol("5") })), "batchTokens"],
      [() => fuse(5), "rankings"],
      [() => fuse([5]), "rankings"],
      [() => fuse([["a"]], { weights: ["1"] }), "weights"],
      [() => fuse([["a"]], { weights: [Number.NaN] }), "weights"],
      [() => fuse([["a"]], { weights: null }), "weights"],
      [() => fuse([["a"]], { k: "60" }), "k"],
    ]) {
      assert.include(is(await failure(call), "invalid_input").message, word);
    }
    for (const options of [null, undefined, { signal: null, dimensions: null }]) {
      assert.deepEqual((await model.encode(TEXT, options)).data, await expected(origin));
      assert.lengthOf(await model.chunk(TEXT, options === null ? null : {}), 1);
    }
    const around = [];
    around.push(around);
    is(await failure(() => model.encode(around)), "invalid_input");
    const pool = await load(`${origin}/${TINY}`, { workers: 1 }).catch(({ code }) =>
      assert.equal(code, "unsupported_runtime"),
    );
    // Where there are workers, the size of what cannot be embedded is estimated first.
    if (pool) is(await failure(() => pool.encode(around)), "invalid_input");
    pool?.dispose();
  },

  "after an exception within wasm the next call works": async ({ origin }) => {
    const model = await load(`${origin}/${TINY}`);
    const texts = [
      {
        get text() {
          throw new Error("not today");
        },
      },
    ];
    is(await failure(() => model.encode(texts)), "internal");
    assert.deepEqual((await model.encode(TEXT)).data, await expected(origin));
    model.dispose();
  },

  "info says what the model is": async ({ origin }) => {
    const { info } = await embedder(origin, MINILM, "q8");
    assert.include(info, {
      family: "bert",
      kind: "dense",
      dimensions: 384,
      maxTokens: 256,
      dtype: "q8",
      device: "cpu",
      similarity: "cosine",
      normalized: true,
    });
    assert.match(info.spaceId, /^[\da-f]{16,}$/);
    assert.notEqual(info.spaceId, (await embedder(origin, MINILM, "f32")).info.spaceId);
    assert.equal(info.spaceId, (await embedder(origin, MINILM, "q8")).info.spaceId);
    assert.isAbove(info.memoryBytes, info.weightBytes);
  },

  "init a second time waits for the first": async () => {
    await Promise.all([init(), init({ bytes: new Uint8Array(3) })]);
  },

  "a model is loaded again and again in the same memory": async ({ origin }) => {
    const files = await tinyFiles(origin);
    const round = async () => {
      const model = await load(files);
      await model.encode(TEXT);
      const { memoryBytes } = model.info;
      model.dispose();
      return memoryBytes;
    };
    await round();
    const before = await round();
    let after = before;
    for (let i = 0; i < 50; i++) after = await round();
    assert.equal(after, before);
    // Bytes that are handed over are the caller's still.
    assert.deepEqual(files["model.safetensors"], await fetchBytes(`${origin}/${TINY}model.safetensors`));
  },
};
