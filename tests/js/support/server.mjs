/**
 * A small web server on a loopback port: the repository's files, and the awkward servers of this
 * world.
 */

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { listen as bind, failing } from "./child.mjs";
import { cdn, hub, memory } from "./hub.mjs";
import { shards } from "./safetensors.mjs";
import * as synthetic from "./synthetic.mjs";

export const root = fileURLToPath(new URL("../../../", import.meta.url));

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
const TINY = "tests/fixtures/tiny-bert/";

/** What may be served: the checkout holds more than the tests need. */
const PUBLIC = /^(pkg\/dist|tests|models|node_modules\/chai)\//;

/**
 * Starts it, with files whose paths match `open`, and `headers` on all answers;
 * `{ origin, close }`. `compressed(path)` gives the brotli of a file, if it is to be sent so;
 * `through(origin)` the origin that clients are to use in place of another.
 */
export async function serve({
  open = PUBLIC,
  headers = {},
  compressed = async () => undefined,
  through = async (origin) => origin,
} = {}) {
  const known = memory();
  const other = await listen((request, response) => answer(request, response, { open, known }));
  const cdn = await through(other.origin);
  const main = await listen(async (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    const path = new URL(request.url, "http://x").pathname.slice(1);
    const brotli = open.test(path) && (await compressed(path));
    if (!brotli) return answer(request, response, { open, known, cdn });
    const type = TYPES[extname(path)];
    const length = brotli.length;
    response.writeHead(200, { "content-type": type, "content-encoding": "br", "content-length": length });
    return response.end(brotli);
  });
  const close = () => Promise.all([main.close(), other.close()]);
  return { origin: await through(main.origin), close };
}

async function listen(answer) {
  const server = createServer((request, response) => {
    answer(request, response).catch(failing(response));
  });
  const port = await bind(server);
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { origin: `http://127.0.0.1:${port}`, close };
}

async function answer(request, response, { open, known, cdn }) {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)).slice(1);
  const [kind, ...rest] = path.split("/");
  const special = SPECIAL[kind];
  if (special) return special(rest.join("/"), request, response, { cdn, known, open });
  return file(path, response, open);
}

/** Visits by path. */
const flaky = new Map();

/** Paths under these names behave as the names say; nearly all hold the tiny model. */
const SPECIAL = {
  /** The Hub: `hub/<org>/<name>/resolve/<revision>/<file>`, and its list of files. */
  async hub(path, request, response, { cdn, known, open }) {
    return hub(path, request, response, {
      root,
      cdn,
      known,
      send: (path, headers) => file(path, response, open, headers),
    });
  },
  /** Where its large files are. */
  async cdn(path, request, response, { known }) {
    return cdn(path, request, response, { root, known });
  },
  /** Answers its start page for whatever it does not have. */
  async fallback(path, _request, response) {
    const known = path.startsWith("tiny/") && (await size(TINY + path.slice(5))) !== undefined;
    if (known) return file(TINY + path.slice(5), response);
    return response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<!doctype html>");
  },
  /** Compresses: `content-length` is not the size of the file. */
  async gzip(path, _request, response) {
    if ((await size(TINY + path)) === undefined) return response.writeHead(404).end();
    const body = gzipSync(await readFile(join(root, TINY + path)));
    return response.writeHead(200, { "content-encoding": "gzip", "content-length": body.length }).end(body);
  },
  /** A SPLADE model whose weights are torch's. */
  async torch(path, _request, response) {
    if (path.endsWith(".safetensors")) return response.writeHead(404).end("no safetensors");
    const place = path === "pytorch_model.bin" ? "torch/splade.bin" : `tiny-splade/${path}`;
    return file(`tests/fixtures/${place}`, response);
  },
  /** The weights are cut into shards. */
  async sharded(path, _request, response) {
    if (!path.includes(".safetensors")) return file(TINY + path, response);
    const { index, files } = shards(await readFile(join(root, `${TINY}model.safetensors`)));
    if (path === "model.safetensors.index.json") return response.end(JSON.stringify(index));
    if (!files[path]) return response.writeHead(404).end("in shards");
    response.writeHead(200, { "content-length": files[path].length });
    return response.end(files[path]);
  },
  /** Starts to send weights, and never ends. */
  async stalled(path, _request, response) {
    if (!path.endsWith(".safetensors")) return file(TINY + path, response);
    const body = await readFile(join(root, TINY + path));
    response.writeHead(200, { "content-length": body.length });
    return response.write(body.subarray(0, body.length >> 1));
  },
  /** Starts to send weights, and hangs up. */
  async broken(path, _request, response) {
    if (!path.endsWith(".safetensors")) return file(TINY + path, response);
    const body = await readFile(join(root, TINY + path));
    response.writeHead(200, { "content-length": body.length });
    return response.write(body.subarray(0, body.length >> 1), () => setTimeout(() => response.destroy(), 50));
  },
  /**
   * `flaky/<kind>/<run>/…`: breaks weights off after every third. With "ranges" it continues them,
   * with "anew" it begins anew and gets further each time, with "changing" the file is another one
   * each time. "unmarked" is as "ranges" without ETags, and so is "exchanged", which is another
   * file from the second time on. Small files make it overloaded at first.
   */
  async flaky(path, request, response) {
    const [kind, _run, ...rest] = path.split("/");
    const name = rest.join("/");
    const visits = (flaky.get(path) ?? 0) + 1;
    flaky.set(path, visits);
    if (!name.endsWith(".safetensors")) {
      if (visits > 1) return file(TINY + name, response);
      return response.writeHead(name === "config.json" ? 429 : 503, { "retry-after": "0" }).end();
    }
    const body = await readFile(join(root, TINY + name));
    const third = Math.ceil(body.length / 3);
    if (kind === "exchanged" && visits > 1) body[third - 1] ^= 1;
    const from = kind === "anew" ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const isAnew = kind === "anew" || (from === 0 && visits > 1);
    const end = Math.min(body.length, isAnew ? third * visits : from + third);
    const marks = ["unmarked", "exchanged"].includes(kind)
      ? {}
      : { etag: `"${kind === "changing" ? visits : 1}"` };
    const headers = { ...marks, "content-length": body.length - from };
    if (from > 0) headers["content-range"] = `bytes ${from}-${body.length - 1}/${body.length}`;
    response.writeHead(from > 0 ? 206 : 200, headers);
    if (end === body.length) return response.end(body.subarray(from));
    return response.write(body.subarray(from, end), () => setTimeout(() => response.destroy(), 50));
  },
  /**
   * `versions/<etag or none>/…`: the tiny model; of the first request for weights it sends a half,
   * slowly.
   */
  async versions(path, request, response) {
    const [mark, run, ...rest] = path.split("/");
    const name = rest.join("/");
    if (!name.endsWith(".safetensors")) return file(TINY + name, response);
    const visits = (flaky.get(run) ?? 0) + 1;
    flaky.set(run, visits);
    const body = await readFile(join(root, TINY + name));
    // Of another version, from the second time on; both can be loaded.
    if (mark !== "same" && visits > 1) body[body.length - 1] ^= 1;
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const headers = { "content-length": body.length - from };
    if (mark !== "none") headers.etag = `"${mark === "same" ? 1 : visits}"`;
    if (from > 0) headers["content-range"] = `bytes ${from}-${body.length - 1}/${body.length}`;
    response.writeHead(from > 0 ? 206 : 200, headers);
    if (visits > 1) return response.end(body.subarray(from));
    response.write(body.subarray(0, body.length >> 1));
    return setTimeout(() => response.destroy(), 300);
  },
  async failing(_path, _request, response) {
    response.writeHead(503).end("later");
  },
};

/** Weights that are only listed are made up on the way. */
async function listed(path, response) {
  const list = PUBLIC.test(path) && path.endsWith(".safetensors") ? `${path}.json` : "";
  if (!list || (await size(list)) === undefined) return response.writeHead(404).end(`no ${path}`);
  const rows = JSON.parse(await readFile(join(root, list), "utf8"));
  response.writeHead(200, { "content-length": synthetic.size(rows) });
  return pipeline(synthetic.chunks(rows), response);
}

async function size(path) {
  const found = await stat(join(root, path)).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

async function file(path, response, open = PUBLIC, headers = {}) {
  const length = open.test(path) ? await size(path) : undefined;
  if (length === undefined) return listed(path, response);
  const type = TYPES[extname(path)] ?? "application/octet-stream";
  // As native clients ask for it.
  const range = /^bytes=(\d+)-(\d+)$/.exec(response.req.headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), Math.min(length - 1, Number(range[2]))] : [0, length - 1];
  const part = range && { "content-range": `bytes ${start}-${end}/${length}` };
  const own = { "content-type": type, "content-length": end + 1 - start, ...part };
  response.writeHead(range ? 206 : 200, { ...own, ...headers });
  if (length === 0) return response.end();
  const bytes = createReadStream(join(root, path), { start, end, highWaterMark: 1 << 20 });
  // A client may go away before the end.
  await pipeline(bytes, response).catch(() => {});
}
