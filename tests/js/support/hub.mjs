/**
 * A Hugging Face Hub on loopback, with a few models of this repository's files, well and ill
 * behaved.
 */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { minilmOnnx } from "./minilm-onnx.mjs";
import { halved } from "./safetensors.mjs";

const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const REVISIONS = ["main", "refs/pr/1", COMMIT];
const FIXTURES = "tests/fixtures/";

/** A token that the Hub knows. */
const TOKEN = "hf_good";

/** Of `model.safetensors`. */
const VARIANT = "model.bf16.safetensors";

/** A function that is called once, and its result kept. */
function once(make) {
  let made;
  return (bytes) => {
    made ??= make(bytes);
    return made;
  };
}

/**
 * Where each model's files are, and what is made of its weights. `silent` ones are of a mirror that
 * cannot list them.
 */
const MODELS = {
  "org/tiny": { folder: `${FIXTURES}tiny-bert/` },
  /** Has one kind of weights: what is not found cannot be replaced. */
  "org/plain": { folder: `${FIXTURES}tiny-bert/`, without: ".onnx" },
  /** What a mirror leads to by another path. */
  "org/moved": { folder: `${FIXTURES}tiny-bert/`, moved: true },
  "org/private": { folder: `${FIXTURES}tiny-bert/`, token: "secret" },
  "org/mirrored": { folder: `${FIXTURES}tiny-bert/`, silent: true },
  /** Listed with another hash than it has. */
  "org/damaged": { folder: `${FIXTURES}tiny-bert/`, damaged: true },
  /** A new commit with every file. */
  "org/moving": { folder: `${FIXTURES}tiny-bert/`, silent: true, moving: true },
  "org/nested": { folder: FIXTURES, only: "tiny-bert" },
  /** Has a variant in 16 bits as well. */
  "org/variants": { folder: `${FIXTURES}tiny-bert/`, made: { [VARIANT]: halved } },
  /** Has no ONNX export. */
  /** An adapter of the tiny one. */
  "org/adapter": { folder: `${FIXTURES}lora/plain/` },
  "org/dense": { folder: `${FIXTURES}tiny-dense/` },
  "org/gguf": { folder: `${FIXTURES}gguf/` },
  "org/minilm": { folder: "models/sentence-transformers/all-MiniLM-L6-v2/" },
  /** Laid out as for transformers.js: nothing but ONNX files, of the real weights. */
  "org/minilm-onnx": {
    folder: "models/sentence-transformers/all-MiniLM-L6-v2/",
    without: ".safetensors",
    made: {
      "onnx/model.onnx": once((bytes) => minilmOnnx("f32", bytes)),
      "onnx/model_fp16.onnx": once((bytes) => minilmOnnx("f16", bytes)),
      "onnx/model_quantized.onnx": once((bytes) => minilmOnnx("int8", bytes)),
    },
  },
  /** Those that the documentation loads, in small. */
  "prithivida/Splade_PP_en_v1": { folder: `${FIXTURES}tiny-splade/` },
  "colbert-ir/colbertv2.0": { folder: `${FIXTURES}colbert/stanford/`, silent: true },
  "cross-encoder/ms-marco-MiniLM-L6-v2": { folder: `${FIXTURES}rerankers/bert/`, silent: true },
  "Qwen/Qwen3-Reranker-0.6B": { folder: `${FIXTURES}rerankers/qwen3-bare/`, silent: true },
  "mixedbread-ai/mxbai-rerank-base-v2": { folder: `${FIXTURES}rerankers/qwen2-bare/`, silent: true },
  "Qwen/Qwen3-Embedding-0.6B": { folder: `${FIXTURES}tiny-qwen3/`, silent: true },
  "Qwen/Qwen3-Embedding-0.6B-GGUF": {
    folder: `${FIXTURES}gguf/`,
    names: { "Qwen3-Embedding-0.6B-Q8_0.gguf": "qwen3-q8_0.gguf" },
    silent: true,
  },
  "minishlab/potion-base-8M": { folder: `${FIXTURES}static/model2vec/`, silent: true },
  "onnx-community/all-MiniLM-L6-v2-ONNX": { folder: `${FIXTURES}tiny-bert/`, without: ".safetensors" },
  "sentence-transformers/all-MiniLM-L6-v2": { folder: `${FIXTURES}tiny-bert/` },
};

/**
 * Models that keep a log: the tiny one with faults that are still to come, and one of 91 MB by a
 * connection of 40 MB/s.
 */
const LOGGED = { fault: "org/plain", slow: "org/minilm" };
/** Models of which the Hub says something else than it should: the tiny one. */
const LYING = "hostile";
const kindOf = (name = "") => name.split("/")[0];
/** Those of the benches: `bench/<name>`. */
const BENCH = "bench";

function modelOf(name = "") {
  const kind = kindOf(name);
  if (kind === BENCH) MODELS[name] ??= { folder: `target/bench/models/${name.slice(BENCH.length + 1)}/` };
  return MODELS[kind === LYING ? "org/plain" : (LOGGED[kind] ?? name)];
}

/**
 * What a Hub remembers: requests so far, as `model path`, how many commits it has named, its logs,
 * and its lies.
 */
export const memory = () => ({ asked: [], commits: 0, logs: new Map(), lies: new Map() });

/**
 * Answers `path`; `send(file, headers)` answers with a file of the repository, `cdn` is the origin
 * that large files come from, `known` the Hub's memory.
 *
 * `faults/<name>?plan=…` says how the next requests of a model `fault/<name>` or `slow/<name>` go
 * wrong, `[{ kind, at }, …]`, nothing for those that go right, and answers with what was sent
 * before: `{ file, from, sent, kind }` for each request of a file.
 *
 * What is posted to `lies/<name>` says what is wrong with a model `hostile/<name>`: of each kind of
 * answer (`list`, `small`, `large`, `cdn`) `{ status, headers, body, endless }`, and of the list
 * `set`, a path in it and the JSON to put there.
 */
export async function hub(path, request, response, { root, send, cdn, known }) {
  const { asked, logs } = known;
  const { searchParams } = new URL(request.url, "http://x");
  if (path === "asked") return response.end(JSON.stringify(asked.splice(0)));
  if (path.startsWith("faults/")) {
    const name = path.slice("faults/".length);
    const { sent = [] } = logs.get(name) ?? {};
    logs.set(name, { plan: JSON.parse(searchParams.get("plan") ?? "[]"), sent: [] });
    return response.end(JSON.stringify(sent));
  }
  if (path.startsWith("lies/")) {
    known.lies.set(path.slice("lies/".length), JSON.parse(await text(request)));
    return response.end();
  }
  const [, listedName, listedRevision] = /^api\/models\/(.+)\/revision\/(.+)$/.exec(path) ?? [];
  const [, name = listedName, revision = listedRevision, wanted] =
    /^([^/]+\/[^/]+)\/resolve\/(main|refs\/pr\/1|[0-9a-f]{40}|gone)\/(.+)$/.exec(path) ?? [];
  asked.push(`${name} ${wanted ?? "list"}`);
  const model = modelOf(name);
  const { authorization } = request.headers;
  if ((model?.token || authorization) && authorization !== `Bearer ${model?.token ?? TOKEN}`) {
    const why = authorization
      ? "Invalid credentials: this token has expired"
      : "Invalid username or password.";
    return response.writeHead(401, { "x-error-message": why }).end(JSON.stringify({ error: why }));
  }
  if (model?.moved && !searchParams.has("moved")) {
    const to = new URL(request.url, "http://x");
    to.searchParams.set("moved", "1");
    return response.writeHead(308, { location: to.pathname + to.search }).end();
  }
  if (!model || !REVISIONS.includes(revision)) return response.writeHead(404).end(`no ${name} ${revision}`);
  const lie = lieOf(known, name);
  const commit = model.moving ? String(known.commits++).padStart(40, "0") : COMMIT;
  if (wanted !== undefined) {
    const headers = { "x-repo-commit": commit };
    const stored = model.names?.[wanted] ?? wanted;
    const file = (await siblings(root, model)).find(({ rfilename }) => rfilename === stored);
    if (!file?.lfs) {
      if (lie.small && wanted === "config.json") {
        return told(lie.small, response, headers, await contents(root, model, stored));
      }
      return send(model.folder + stored, { ...headers, etag: `"${file?.blobId}"` });
    }
    // Large files are elsewhere; a token is for the Hub alone.
    const location = `${cdn}/cdn/${name}/${stored}`;
    const linked = { "x-linked-etag": `"${file.lfs.sha256}"`, "x-linked-size": file.size };
    if (lie.large) return told({ status: 302, ...lie.large }, response, { ...headers, ...linked, location });
    return response.writeHead(302, { ...headers, ...linked, location }).end();
  }
  if (model.silent) return response.writeHead(404).end("no such API");
  const files = await siblings(root, model);
  const listing = distorted({ id: name, sha: COMMIT, siblings: files }, lie.list?.set);
  if (lie.list) return told(lie.list, response, { "content-type": "application/json" }, listing);
  return response.writeHead(200, { "content-type": "application/json" }).end(listing);
}

const isLarge = (name) => /\.(safetensors|gguf|onnx)$/.test(name);

/** The host of large files: `cdn/<org>/<name>/<file>`, with ranges, for pages of any origin. */
export async function cdn(path, request, response, { root, known }) {
  const { logs } = known;
  const [, name, file] = /^([^/]+\/[^/]+)\/(.+)$/.exec(path) ?? [];
  const [kind, id] = (name ?? "").split("/");
  const model = modelOf(name);
  if (!model) return response.writeHead(404).end(`no ${path}`);
  if (request.headers.authorization) return response.writeHead(400).end("whose token is this?");
  const lie = lieOf(known, name);
  if (lie.cdn) {
    const own = { "access-control-allow-origin": "*" };
    return told(lie.cdn, response, own, await contents(root, model, file));
  }
  const { plan = [], sent = [] } = (kind in LOGGED && logs.get(id)) || {};
  const fault = plan.shift() ?? {};
  let bytes = await contents(root, model, file);
  const size = bytes.length;
  const range = fault.kind === "whole" ? undefined : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const from = range ? Number(range[1]) : 0;
  const stop = range?.[2] ? Math.min(size, Number(range[2]) + 1) : size;
  const row = { file, from, sent: 0, kind: fault.kind };
  sent.push(row);
  const headers = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "content-length, content-range, etag, retry-after",
    etag: '"an-etag-of-the-cdn"',
  };
  const { at = 0 } = fault;
  if (fault.kind === "busy") return response.writeHead(429, { ...headers, "retry-after": "0" }).end();
  if (fault.kind === "error") return response.writeHead(503, headers).end();
  if (fault.kind === "gone") return response.writeHead(404, headers).end();
  if (fault.kind === "refuse") return response.destroy();
  if (fault.kind === "changed") headers.etag = '"another"';
  if (fault.kind === "wrong") {
    bytes = Buffer.from(bytes);
    bytes[Math.max(from, at)] ^= 0x55;
  }
  headers["content-length"] = stop - from + (fault.kind === "long" ? 1000 : 0);
  if (fault.kind === "short") headers["content-length"] = Math.max(1, Math.min(at, size) - from);
  if (range) headers["content-range"] = `bytes ${from}-${stop - 1}/${size}`;
  response.writeHead(range ? 206 : 200, headers);
  const breaks = fault.kind === "cut" || fault.kind === "stall";
  const end = breaks
    ? Math.max(from, Math.min(at, size))
    : fault.kind === "short"
      ? from + headers["content-length"]
      : stop;
  const [chunk, pause] = kind === "fault" ? [1 << 15, 2] : [1 << 20, kind === "slow" ? 25 : 0];
  for (let start = from; start < end && !response.destroyed; start += chunk) {
    await new Promise((done) => setTimeout(done, pause));
    const part = bytes.subarray(start, Math.min(end, start + chunk));
    await new Promise((done) => response.write(part, done));
    row.sent += part.length;
  }
  if (fault.kind === "stall") {
    // Firefox does not close connections of redirected requests that were aborted, and makes 6 to a
    // host.
    return setTimeout(() => response.destroy(), 3000);
  }
  if (!breaks && fault.kind !== "long") return response.end();
  // Time to read what was sent: a stream that breaks drops what nobody has read yet.
  return setTimeout(() => response.destroy(), 20);
}

const lieOf = ({ lies }, name = "") => (kindOf(name) === LYING && lies.get(name.split("/")[1])) || {};

/** Answers with a lie. */
async function told({ status = 200, headers = {}, body, endless }, response, own, bytes = "") {
  const what = body ?? bytes;
  response.writeHead(status, { "content-length": Buffer.byteLength(what), ...own, ...headers });
  if (!endless) return response.end(what);
  // As long as anyone listens.
  const part = Buffer.alloc(1 << 20, " ");
  while (!response.destroyed) await new Promise((done) => response.write(part, done) || setTimeout(done, 1));
}

/**
 * A list of files as JSON, with one value in it exchanged: `[path, json]`; a file goes by its name.
 */
function distorted(listing, [path, json] = []) {
  if (!path) return JSON.stringify(listing);
  const copy = structuredClone(listing);
  const mark = "what-is-put-here";
  let at = copy;
  for (const part of path.slice(0, -1)) {
    at = Array.isArray(at) ? at.find(({ rfilename }) => rfilename === part) : at[part];
  }
  const last = path.at(-1);
  const index = Array.isArray(at) ? at.findIndex(({ rfilename }) => rfilename === last) : last;
  at[index] = mark;
  return JSON.stringify(copy).replace(JSON.stringify(mark), () => json);
}

async function contents(root, { folder, made = {} }, name) {
  const make = made[name];
  const bytes = await readFile(join(root, folder, make ? "model.safetensors" : name));
  return make ? Buffer.from(make(bytes)) : bytes;
}

/** A model's files, hashed once. */
function siblings(root, model) {
  model.siblings ??= hashed(root, model);
  return model.siblings;
}

async function hashed(root, model) {
  const { folder, only = "", without, damaged, made = {} } = model;
  const base = join(root, folder);
  const files = await readdir(join(base, only), { recursive: true, withFileTypes: true });
  const has = (file) => file.isFile() && !(without && file.name.endsWith(without));
  const found = files.filter(has).map((file) => join(file.parentPath, file.name));
  const names = [...found.map((name) => name.slice(base.length)), ...Object.keys(made)];
  const list = names.map(async (name) => {
    const bytes = await contents(root, model, name);
    const git = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    const file = { rfilename: name, size: bytes.length, blobId: git };
    // Large ones are stored apart.
    if (!isLarge(name)) return file;
    const sha256 = createHash("sha256")
      .update(bytes)
      .update(damaged ? "!" : "")
      .digest("hex");
    return { ...file, lfs: { sha256, size: bytes.length, pointerSize: 134 } };
  });
  return Promise.all(list);
}
