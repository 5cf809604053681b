/** A Hub on loopback for the native command line, each part of whose answers a test may replace. */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { failing } from "./child.mjs";

export const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const git = (bytes) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const isLarge = (name) => name.endsWith(".safetensors");

/** The files of a folder, by their paths. */
export async function filesOf(folder) {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = found.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
  const entries = paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path)]);
  return new Map(await Promise.all(entries));
}

/** What the Hub lists of a file. */
export function listed(name, bytes) {
  const file = { rfilename: name, size: bytes.length, blobId: git(bytes) };
  return isLarge(name) ? { ...file, lfs: { sha256: sha256(bytes), size: bytes.length } } : file;
}

/**
 * Starts a Hub with the model `org/tiny`, whose `commits` are files by their names; `main` is at
 * the first.
 *
 * `hub.asked` is `{ path, range, authorization, host }` of each request. These may be set: `main`,
 * the branch's commit; `listing(listing, request, response)`, which gives another listing, or
 * nothing if it has answered; `serve(request, response, { name, bytes, headers, commit })`, which
 * answers with a file, and gives `false` to leave that to the Hub; `token`, without which the
 * answer is 401.
 */
export async function awkwardHub(files) {
  const hub = { commits: new Map([[COMMIT, files]]), main: COMMIT, asked: [] };
  const server = createServer((request, response) => {
    answer(hub, request, response).catch(failing(response));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  hub.port = server.address().port;
  hub.origin = `http://127.0.0.1:${hub.port}`;
  hub.close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return hub;
}

async function answer(hub, request, response) {
  const path = decodeURIComponent(new URL(request.url, "http://x").pathname).replace(/^\/moved/, "");
  const { authorization, range, host } = request.headers;
  hub.asked.push({ path, authorization, range, host });
  if (hub.token !== undefined && authorization !== `Bearer ${hub.token}`) {
    return response
      .writeHead(401, { "x-error-message": "Invalid credentials in Authorization header" })
      .end();
  }
  const [, revision] = /^\/api\/models\/org\/tiny\/revision\/(.+)$/.exec(path) ?? [];
  const [, from, name] = /^\/org\/tiny\/resolve\/(main|refs\/pr\/1|[0-9a-f]{40})\/(.+)$/.exec(path) ?? [];
  const commit = (revision ?? from) === "main" ? hub.main : (revision ?? from);
  const files = hub.commits.get(commit);
  if (!files) return response.writeHead(404, { "x-error-message": "Revision not found" }).end();
  if (revision !== undefined) {
    const siblings = [...files].map(([name, bytes]) => listed(name, bytes));
    const listing = { id: "org/tiny", sha: commit, siblings };
    const given = hub.listing ? hub.listing(listing, request, response) : listing;
    if (given === undefined) return undefined;
    return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(given));
  }
  const bytes = files.get(name);
  if (bytes === undefined) return response.writeHead(404).end();
  const headers = { etag: `"${isLarge(name) ? sha256(bytes) : git(bytes)}"`, "x-repo-commit": commit };
  if (hub.serve && (await hub.serve(request, response, { name, bytes, headers, commit })) !== false)
    return undefined;
  return sendRange(request, response, bytes, headers);
}

/** Answers with bytes, or a range of them. */
export function sendRange(request, response, bytes, headers) {
  const [, first] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  if (first === undefined)
    return response.writeHead(200, { ...headers, "content-length": bytes.length }).end(bytes);
  const start = Number(first);
  if (start >= bytes.length) return response.writeHead(416).end();
  const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
  const part = bytes.subarray(start);
  const more = { "content-range": range, "content-length": part.length };
  return response.writeHead(206, { ...headers, ...more }).end(part);
}
