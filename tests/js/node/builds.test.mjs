/**
 * Models in the common build of the wasm, as in a page: what it lacks is found in the full build,
 * whenever it shows. A file of its own, because a process starts a build once. (Node itself takes
 * the full build for everything.)
 */

import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { init, load } from "gossamer-embed";
import { failure, fetchBytes, reference, rows, TINY, texts, tinyFiles } from "../support/models.mjs";
import { root, serve } from "../support/server.mjs";

let server;
let fixtures;
let small;
/** One of the texts that the references have vectors of. */
const NUMBER = 2;
let text;
before(async () => {
  server = await serve();
  fixtures = `${server.origin}/tests/fixtures/`;
  const { "model.safetensors": _, ...others } = await tinyFiles(server.origin);
  small = others;
  text = (await texts(server.origin, "tiny-texts.json"))[NUMBER];
  await init({ bytes: await readFile(`${root}pkg/dist/wasm/common-simd128.wasm`) });
});
after(() => server.close());

/** A function that gets each file once, in small pieces; and the names that it was asked for. */
function getter(files) {
  const asked = [];
  const left = new Map(Object.entries(files));
  const get = (name) => {
    asked.push(name);
    const bytes = left.get(name);
    left.delete(name);
    if (!bytes) return undefined;
    let at = 0;
    return new ReadableStream({
      pull(controller) {
        const piece = bytes.subarray(at, at + 1000);
        at += piece.length;
        if (piece.length > 0) controller.enqueue(piece.slice());
        else controller.close();
      },
    });
  };
  return { get, asked };
}

/** The build that a model is in, its vector of a text, and how its weights were stored. */
async function read(source, options) {
  const model = await load(source, options);
  const { simd, stored } = model.info;
  const { data } = await model.encode(text);
  model.dispose();
  return { simd, stored: stored?.layout, data };
}

/** Loads a model whose files come once; its vector is the reference's. */
async function check(files, expected, options) {
  const { get, asked } = getter(files);
  const { data, stored } = await read(get, { dtype: "f32", ...options });
  for (const [index, value] of data.entries()) assert.closeTo(value, rows(expected)[NUMBER][index], 2e-5);
  assert.lengthOf(asked, new Set(asked).size, asked.join(" "));
  return stored;
}

describe("in the common build", () => {
  test("a model in safetensors, and one that was saved, load there", async () => {
    for (const [source, workers] of [
      [`${server.origin}/${TINY}`, 0],
      [`${server.origin}/${TINY}`, 2],
      [`${fixtures}saved-qwen3/`, 0],
    ]) {
      // The given build has no relaxed SIMD; the other one, which Node takes, does.
      assert.equal((await read(source, { workers })).simd, "simd128", source);
    }
  });

  for (const workers of [0, 2]) {
    test(`an ONNX file loads in the full build, with ${workers} workers`, async () => {
      const theirs = await reference(server.origin, "onnx/references.safetensors");
      const weights = await fetchBytes(`${fixtures}onnx/tiny-bert.int8.onnx`);
      const files = { ...small, "onnx/model.onnx": weights };
      assert.equal(await check(files, theirs["tiny-bert.int8"], { workers }), "ONNX, 8 bits by tensor");
    });

    test(`other libraries' layouts load in the full build, with ${workers} workers`, async () => {
      const folder = `${fixtures}quantized/`;
      const files = {};
      for (const name of [...Object.keys(small)]) {
        const response = await fetch(folder + name);
        if (response.ok) files[name] = new Uint8Array(await response.arrayBuffer());
      }
      const theirs = await reference(server.origin, "quantized/references.safetensors");
      for (const [kind, stored] of [
        ["mlx-4", "MLX, 4 bits"],
        ["gptq-4", "GPTQ, 4 bits"],
        ["bitsandbytes-nf4", "bitsandbytes, 4 bits"],
      ]) {
        const weights = await fetchBytes(`${folder}${kind}.safetensors`);
        const all = { ...files, "model.safetensors": weights };
        assert.equal(await check(all, theirs[kind], { workers }), stored);
      }
    });
  }

  for (const workers of [0, 2]) {
    test(`DeBERTa loads in the full build, with ${workers} workers`, async () => {
      const folder = `${fixtures}tiny-deberta/`;
      const names = ["config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"];
      names.push("tokenizer.json", "tokenizer_config.json", "model.safetensors");
      const files = await Promise.all(names.map(async (name) => [name, await fetchBytes(folder + name)]));
      const { embeddings } = await reference(server.origin, "tiny-deberta/reference.safetensors");
      await check(Object.fromEntries(files), embeddings, { workers });
    });
  }

  test("GGUF, by its name", async () => {
    const { stored } = await read(`${fixtures}gguf/`, { file: "bert-q8_0.gguf" });
    assert.equal(stored, "GGUF, Q8_0");
  });

  test("errors are those of the full build", async () => {
    const evil = await fetchBytes(`${fixtures}torch/evil.bin`);
    const { get } = getter({ ...small, "pytorch_model.bin": evil });
    assert.equal((await failure(() => load(get))).code, "invalid_torch");
    // What is found out after a first weight file has been read.
    const dense = `${fixtures}tiny-dense/`;
    const answered = (name) => {
      if (name === "2_Dense/model.safetensors") return undefined;
      return name === "2_Dense/pytorch_model.bin"
        ? evil
        : fetch(dense + name).then((file) => (file.ok ? file : null));
    };
    assert.equal((await failure(() => load(answered))).code, "invalid_torch");
  });
});
