// Makes what the demo page comes with: node demo-data.mjs DENSE SPARSE OUT
//
// OUT gets both models saved in 8 bits (dense/, sparse/), the vectors of the page's passages
// (index.safetensors), and demo.json, which names the version of the models and their vector
// spaces. A second run with the same inputs does nothing.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { load } from "../../pkg/dist/node.js";

const [dense, sparse, out] = process.argv.slice(2);
const repository = fileURLToPath(new URL("../../", import.meta.url));
const corpus = join(repository, "www/src/corpus.txt");

/** One hash of some files' contents. */
async function hashOf(paths) {
  const hash = createHash("sha256");
  for (const path of paths) {
    const stream = createReadStream(path).on("data", (chunk) => hash.update(chunk));
    await finished(stream.resume());
  }
  return hash.digest("hex").slice(0, 16);
}

/** Saves a model in 8 bits, and gives what `encode` makes of the passages. */
async function prepare(source, name, encode) {
  const embedder = await load(source, { dtype: "q8", saveable: true, cache: false });
  for (const { path, stream } of await embedder.save()) {
    const file = join(out, name, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, Readable.fromWeb(stream()));
  }
  const vectors = await encode(embedder);
  const { spaceId } = embedder.info;
  embedder.dispose();
  return { vectors, spaceId };
}

/** A safetensors file: https://huggingface.co/docs/safetensors/index#format */
function safetensors(tensors) {
  const header = {};
  let end = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  // The data begins at a multiple of eight bytes.
  const json = JSON.stringify(header);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
  const length = new BigUint64Array([BigInt(padded.length)]);
  const parts = [length, Buffer.from(padded), ...Object.values(tensors).map(({ data }) => data)];
  return Buffer.concat(
    parts.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
  );
}

/** Sparse vectors as the three arrays of a CSR matrix, as scipy has them. */
function csr(vectors) {
  const ends = [0];
  for (const { indices } of vectors) ends.push(ends.at(-1) + indices.length);
  const [indices, values] = [new Uint32Array(ends.at(-1)), new Float32Array(ends.at(-1))];
  vectors.forEach((vector, row) => {
    indices.set(vector.indices, ends[row]);
    values.set(vector.values, ends[row]);
  });
  return {
    "sparse.indptr": { dtype: "U32", shape: [ends.length], data: new Uint32Array(ends) },
    "sparse.indices": { dtype: "U32", shape: [indices.length], data: indices },
    "sparse.values": { dtype: "F32", shape: [values.length], data: values },
  };
}

const version = await hashOf([
  fileURLToPath(import.meta.url),
  corpus,
  join(repository, "pkg/dist/wasm/simd128.wasm"),
  ...[dense, sparse].flatMap((folder) => [join(folder, "model.safetensors"), join(folder, "tokenizer.json")]),
]);
const known = await readFile(join(out, "demo.json"), "utf8").catch(() => "{}");
if (JSON.parse(known).version !== version) {
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  const passages = (await readFile(corpus, "utf8")).split("\n").filter((line) => line.trim() !== "");
  const options = { task: "document" };
  const rows = await prepare(dense, "dense", (embedder) =>
    embedder.encode(passages, { ...options, normalize: true }),
  );
  const lists = await prepare(sparse, "sparse", (embedder) => embedder.encodeSparse(passages, options));
  const { data, shape, tokens } = rows.vectors;
  const index = safetensors({
    dense: { dtype: "F32", shape, data },
    "dense.tokens": { dtype: "U32", shape: [tokens.length], data: Uint32Array.from(tokens) },
    ...csr(lists.vectors),
  });
  await writeFile(join(out, "index.safetensors"), index);
  const facts = {
    version,
    passages: passages.length,
    spaces: { dense: rows.spaceId, sparse: lists.spaceId },
  };
  // Written last, and atomically: its presence means that the folder is complete.
  await writeFile(join(out, "demo.json.part"), JSON.stringify(facts));
  await rename(join(out, "demo.json.part"), join(out, "demo.json"));
}
