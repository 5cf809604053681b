/** `gossamer embed`: the package's own vectors, in files, and whatever may come between. */

import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { launch, until } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { root } from "../support/server.mjs";

const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const TEXTS = ["a cat", "the dog sat on the mat", "", "harbour lights at night"];

let scratch;
let models;
before(async () => {
  scratch = await mkdtemp(`${TARGET}/embed-`);
  models = {};
  for (const [name, fixture] of [
    ["dense", "tiny-bert"],
    ["sparse", "tiny-splade"],
    ["tokens", "colbert/pylate"],
    ["several", "tiny-m3"],
    ["reranker", "rerankers/bert"],
  ]) {
    models[name] = join(scratch, name);
    await materialise(`${root}tests/fixtures/${fixture}`, models[name]);
  }
});
after(() => rm(scratch, { recursive: true, force: true }));

let number = 0;
/** A name of a file that is not there. */
const fresh = (ending) => join(scratch, `file-${number++}.${ending}`);
async function file(content, ending) {
  const path = fresh(ending);
  await writeFile(path, content);
  return path;
}

const start = (args, input) =>
  launch(`${TARGET}/debug/gossamer`, ["embed", ...args], { input, cwd: scratch });

async function embeds(args, input) {
  const child = start(args, input);
  const { code } = await child.closed();
  assert.equal(code, 0, child.stderr);
  return { lines: child.stdout.split("\n").filter(Boolean).map(JSON.parse), errors: child.stderr };
}

async function refused(pattern, args, input) {
  const child = start(args, input);
  const { code } = await child.closed();
  assert.equal(code, 1, child.stderr);
  assert.match(child.stderr, pattern);
}

const jsonl = (records) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

/** The tensors and the metadata of a safetensors file. */
async function tensors(path) {
  const bytes = await readFile(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: metadata, ...header } = JSON.parse(bytes.subarray(8, 8 + length));
  const data = bytes.buffer.slice(bytes.byteOffset + 8 + length, bytes.byteOffset + bytes.length);
  const types = { F32: Float32Array, I32: Int32Array, I64: BigInt64Array };
  const read = ([name, { dtype, shape, data_offsets }]) => [
    name,
    { shape, data: new types[dtype](data.slice(...data_offsets)) },
  ];
  return { metadata, ...Object.fromEntries(Object.entries(header).map(read)) };
}

describe("vectors", () => {
  test("lines, arguments, JSONL and tables give the bits of the package", async () => {
    const embedder = await load(models.dense);
    const { data, shape, tokens } = await embedder.encode(TEXTS);
    const expected = TEXTS.map((_, at) => ({
      index: at,
      embedding: Array.from(data.subarray(at * shape[1], (at + 1) * shape[1])),
      tokens: tokens[at],
      truncated: false,
    }));
    const same = (lines, id) => {
      for (const [at, line] of lines.entries()) {
        line.embedding = Array.from(Float32Array.from(line.embedding));
        assert.deepEqual(line, { ...expected[at], ...(id && { id: id(at) }) });
      }
      assert.equal(lines.length, TEXTS.length);
    };
    same((await embeds([models.dense], TEXTS.join("\n"))).lines);
    same((await embeds([models.dense, ...TEXTS])).lines);
    const records = TEXTS.map((text, id) => ({ passage: text, id }));
    const json = ["--from", "jsonl", "--text", "passage", "--id", "id"];
    same((await embeds([models.dense, ...json], jsonl(records))).lines, (at) => at);
    const rows = TEXTS.map((text, at) => `n${at},"${text}"\n`).join("");
    const table = await file(`id,text\n${rows}`, "csv");
    same((await embeds([models.dense, "--input", table, "--id", "id"])).lines, (at) => `n${at}`);
    const options = ["--dimensions", "8", "--threads", "3"];
    const [short] = (await embeds([models.dense, ...options, TEXTS[0]])).lines;
    const cut = await embedder.encode(TEXTS[0], { dimensions: 8 });
    assert.deepEqual(Float32Array.from(short.embedding), cut.data);
    embedder.dispose();
  });

  test("npy is a matrix of NumPy", async () => {
    const embedder = await load(models.dense);
    const output = fresh("npy");
    await embeds([models.dense, "-o", output], TEXTS.join("\n"));
    const bytes = await readFile(output);
    assert.equal(bytes.subarray(0, 8).toString("latin1"), "\x93NUMPY\x01\x00");
    const length = bytes.readUInt16LE(8);
    const { data, shape } = await embedder.encode(TEXTS);
    const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
    assert.equal(
      bytes
        .subarray(10, 10 + length)
        .toString()
        .trimEnd(),
      header,
    );
    assert.equal((10 + length) % 64, 0);
    const values = bytes.buffer.slice(bytes.byteOffset + 10 + length, bytes.byteOffset + bytes.length);
    assert.deepEqual(new Float32Array(values), data);
    embedder.dispose();
  });

  test("safetensors have dense vectors with ids, a sparse matrix, or vectors of tokens", async () => {
    const input = await file(jsonl(TEXTS.map((text, at) => ({ text, id: `n${at}` }))), "jsonl");
    const to = async (model, ...more) => {
      const output = fresh("safetensors");
      await embeds([model, "--input", input, "--id", "id", "-o", output, ...more]);
      return tensors(output);
    };
    const dense = await load(models.dense);
    const ours = await to(models.dense);
    const { data, shape } = await dense.encode(TEXTS);
    assert.deepEqual(ours.embeddings, { shape, data });
    assert.deepEqual([...ours.records.data], [0n, 1n, 2n, 3n]);
    assert.deepEqual(JSON.parse(ours.metadata.ids), ["n0", "n1", "n2", "n3"]);
    assert.equal(ours.metadata.spaceId, dense.info.spaceId);
    dense.dispose();

    const splade = await load(models.sparse);
    const vectors = await splade.encodeSparse(TEXTS, { topK: 5 });
    const sparse = await to(models.sparse, "--top-k", "5");
    assert.equal(sparse.indptr.data.length, TEXTS.length + 1);
    for (const [at, { indices, values }] of vectors.entries()) {
      const [start, end] = [at, at + 1].map((place) => Number(sparse.indptr.data[place]));
      assert.deepEqual([...sparse.indices.data.subarray(start, end)], [...indices]);
      assert.deepEqual(sparse.values.data.subarray(start, end), values);
    }
    splade.dispose();

    const colbert = await load(models.tokens);
    const documents = await colbert.encodeTokens(TEXTS, { task: "document" });
    const tokens = await to(models.tokens, "--task", "document");
    for (const [at, document] of documents.entries()) {
      const [start, end] = [at, at + 1].map((place) => Number(tokens.offsets.data[place]));
      const [, width] = tokens.embeddings.shape;
      assert.deepEqual(tokens.embeddings.data.subarray(start * width, end * width), document.data);
    }
    colbert.dispose();
  });

  test("a model of several kinds gives the one that is asked for; a reranker none", async () => {
    for (const [kind, field] of [
      ["dense", "embedding"],
      ["sparse", "indices"],
      ["tokens", "embeddings"],
    ]) {
      const { lines } = await embeds([models.several, "--vectors", kind, "a cat"]);
      assert.property(lines[0], field);
    }
    await refused(/gives dense, tokens: it cannot give sparse/, [models.dense, "--vectors", "sparse", "a"]);
    await refused(/--top-k is not for dense vectors/, [models.dense, "--top-k", "3", "a"]);
    await refused(/gives scores/, [models.reranker, "a"]);
  });
});

describe("what goes wrong", () => {
  test("a record that is no text ends it, or is left out, and is named by its line", async () => {
    const input = await file('{"text": "a cat"}\n7\n{"text": "a dog"}\n', "jsonl");
    const output = fresh("safetensors");
    const args = [models.dense, "--input", input, "-o", output];
    await refused(/file-\d+\.jsonl, line 2: it is not a string or an object; --on-error skip/, args);
    await rm(`${output}.part`, { force: true });
    const { errors } = await embeds([...args, "--on-error", "skip"]);
    assert.match(errors, /line 2: it is not a string/);
    assert.match(errors, /1 records were left out/);
    assert.deepEqual([...(await tensors(output)).records.data], [0n, 2n]);
  });

  test("contradictions are refused before a model is loaded", async () => {
    const there = await file("kept", "jsonl");
    const nowhere = join(scratch, "nowhere");
    await refused(/is there already/, [nowhere, "-o", there], "");
    assert.equal(await readFile(there, "utf8"), "kept");
    await refused(/tells no format/, [nowhere, "-o", fresh("xyz")], "");
    await refused(/npy has no room for ids/, [nowhere, "-o", fresh("npy"), "--id", "id"], "");
    await refused(/standard output takes JSONL only/, [nowhere, "--to", "npy"], "");
  });

  test("inputs that cannot be read, and outputs that cannot be written", async () => {
    const table = await file("a,b\n1,2\n", "csv");
    await refused(/no column "text": the first line names "a", "b"/, [models.dense, "--input", table]);
    await refused(/No such file/, [models.dense, "--input", join(scratch, "nowhere.csv")]);
    await refused(/is a folder/, [models.dense, "--input", scratch]);
    await refused(/No such file/, [models.dense, "-o", join(scratch, "nowhere", "a.jsonl"), "a"]);
    const full = launch("sh", [
      "-c",
      '"$0" embed "$1" a > /dev/full',
      `${TARGET}/debug/gossamer`,
      models.dense,
    ]);
    assert.equal((await full.closed()).code, 1);
    assert.match(full.stderr, /No space left/);
  });

  test("a command that was killed goes on where it was, and no record is lost or done twice", async () => {
    const texts = Array.from({ length: 6000 }, (_, at) => `text ${at} of many, a cat and a dog`);
    const input = await file(texts.join("\n"), "txt");
    const whole = fresh("jsonl");
    await embeds([models.dense, "--input", input, "-o", whole]);
    const output = fresh("jsonl");
    const part = `${output}.part`;
    const args = [models.dense, "--input", input, "-o", output];
    const size = () =>
      stat(part).then(
        ({ size }) => size,
        () => 0,
      );
    let seen = 0;
    for (let kills = 0; kills < 3; kills++) {
      const child = start(args);
      const at = seen;
      await until(async () => (await size()) > at + 1000, "the journal grows");
      child.kill("SIGKILL");
      await child.closed();
      seen = await size();
    }
    assert.notInclude(await readdir(scratch), output.split("/").at(-1));
    await refused(/--dimensions was null, and is 8/, [...args, "--dimensions", "8"]);
    const changed = await file(["another text", ...texts.slice(1)].join("\n"), "txt");
    await refused(/line 1 is not what/, [models.dense, "--input", changed, "-o", output]);
    const { errors } = await embeds(args);
    assert.match(errors, /records were done by an earlier command/);
    assert.equal(await readFile(output, "utf8"), await readFile(whole, "utf8"));
    assert.equal(await size(), 0);
  });
});
