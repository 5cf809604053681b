/** A Hugging Face Hub on loopback, with a few models of this repository's files, well and ill behaved. */

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const COMMIT = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const REVISIONS = ["main", "refs/pr/1", COMMIT];
const FIXTURES = "tests/fixtures/";

/** Where each model's files are. `silent` ones are of a mirror that cannot list them. */
const MODELS = {
  "org/tiny": { folder: `${FIXTURES}tiny-bert/` },
  "org/private": { folder: `${FIXTURES}tiny-bert/`, token: "secret" },
  "org/mirrored": { folder: `${FIXTURES}tiny-bert/`, silent: true },
  /** Listed with another hash than it has. */
  "org/damaged": { folder: `${FIXTURES}tiny-bert/`, damaged: true },
  /** A new commit with every file. */
  "org/moving": { folder: `${FIXTURES}tiny-bert/`, silent: true, moving: true },
  "org/nested": { folder: FIXTURES, only: "tiny-bert" },
  "org/gguf": { folder: `${FIXTURES}gguf/` },
};

/** Requests so far, as `model path`. */
const asked = [];
let commits = 0;

/** Answers `path`; `send(file, headers)` answers with a file of the repository. */
export async function hub(path, request, response, { root, send }) {
  if (path === "asked") return response.end(JSON.stringify(asked.splice(0)));
  const [, listedName, listedRevision] = /^api\/models\/(.+)\/revision\/(.+)$/.exec(path) ?? [];
  const [, name = listedName, revision = listedRevision, wanted] =
    /^([^/]+\/[^/]+)\/resolve\/(main|refs\/pr\/1|[0-9a-f]{40}|gone)\/(.+)$/.exec(path) ?? [];
  asked.push(`${name} ${wanted ?? "list"}`);
  const model = MODELS[name];
  if (model?.token && request.headers.authorization !== `Bearer ${model.token}`) {
    return response.writeHead(401).end("Invalid credentials");
  }
  if (!model || !REVISIONS.includes(revision)) return response.writeHead(404).end(`no ${name} ${revision}`);
  if (wanted !== undefined) {
    const commit = model.moving ? String(commits++) : COMMIT;
    return send(model.folder + wanted, { "x-repo-commit": commit });
  }
  if (model.silent) return response.writeHead(404).end("no such API");
  const listing = JSON.stringify({ sha: COMMIT, siblings: await siblings(root, model) });
  return response.writeHead(200, { "content-type": "application/json" }).end(listing);
}

async function siblings(root, { folder, only = "", damaged }) {
  const base = join(root, folder);
  const files = await readdir(join(base, only), { recursive: true, withFileTypes: true });
  const names = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
  const list = names.map(async (name) => {
    const bytes = await readFile(name);
    const file = { rfilename: name.slice(base.length), size: bytes.length };
    // Large ones are stored apart.
    if (!/\.(safetensors|gguf)$/.test(name)) return file;
    const sha256 = createHash("sha256")
      .update(bytes)
      .update(damaged ? "!" : "")
      .digest("hex");
    return { ...file, lfs: { sha256, size: bytes.length, pointerSize: 134 } };
  });
  return Promise.all(list);
}
