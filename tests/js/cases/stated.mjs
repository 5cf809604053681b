/** What `load` is told about a model, instead of what its files say. */

import { assert } from "chai";
import { GossamerError, load } from "gossamer-embed";
import { embedder, failure, TINY, tinyFiles } from "../support/models.mjs";

const TEXT = "The cat sat on the mat.";

/** tiny-bert without the files of sentence-transformers, as a repository of ONNX files is. */
async function bare(origin) {
  const files = await tinyFiles(origin);
  for (const name of ["modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"]) {
    delete files[name];
  }
  delete files["sentence_bert_config.json"];
  return files;
}

async function vector(model, options) {
  return (await model.encode(TEXT, options)).data;
}

/** Loads and collects the codes of warnings. */
async function loaded(source, options = {}) {
  const warnings = [];
  const model = await load(source, { ...options, onWarning: (warning) => warnings.push(warning) });
  return { model, warnings };
}

export const cases = {
  "a model that does not say how it pools is warned of, unless load says it": async ({ origin }) => {
    const files = await bare(origin);
    const { model, warnings } = await loaded(files);
    assert.deepEqual(
      warnings.map(({ code }) => code),
      ["pooling_assumed"],
    );
    assert.instanceOf(warnings[0], GossamerError);
    assert.include(warnings[0].message, '{ pooling: "mean", normalize: true }');
    const { assumed, normalized, pooling } = model.info;
    assert.deepEqual(
      { assumed, normalized, pooling },
      { assumed: "mean", normalized: false, pooling: ["mean"] },
    );
    const stated = await loaded(files, { pooling: "mean", normalize: true, maxTokens: 32 });
    assert.isEmpty(stated.warnings);
    assert.isUndefined(stated.model.info.assumed);
    assert.isTrue(stated.model.info.normalized);
    const own = await embedder(origin, TINY, undefined);
    assert.deepEqual(await vector(stated.model), await vector(own));
    model.dispose();
    stated.model.dispose();
  },

  "options go before the model's files, in workers, too": async ({ origin }) => {
    const options = {
      pooling: ["cls", "mean"],
      normalize: false,
      prompts: { query: "find: " },
      maxTokens: 16,
    };
    const { model } = await loaded(`${origin}/${TINY}`, options);
    const { info } = model;
    assert.deepEqual(info.overridden, {
      pooling: "mean",
      normalize: true,
      maxTokens: 32,
      prompts: { query: "query: ", document: "" },
    });
    assert.deepEqual(info.pooling, ["cls", "mean"]);
    assert.deepEqual(info.prompts, options.prompts);
    assert.equal(info.maxTokens, 16);
    assert.equal(info.dimensions, 96);
    const pool = await loaded(`${origin}/${TINY}`, { ...options, workers: 1 });
    assert.equal(pool.model.info.spaceId, info.spaceId);
    assert.deepEqual(await vector(pool.model), await vector(model));
    pool.model.dispose();
    model.dispose();
  },

  "the cache keeps a model as its files say": async ({ origin }) => {
    const values = new Map();
    const cache = {
      get: async (name) => values.get(name),
      put: async (name, value) => void values.set(name, value.slice()),
      delete: async (name) => void values.delete(name),
    };
    const hub = { endpoint: `${origin}/hub`, cache };
    const use = async (options) => {
      const { model } = await loaded("org/tiny", { ...hub, ...options });
      const result = [model.info.spaceId, await vector(model)];
      assert.isTrue(await model.cached);
      model.dispose();
      return result;
    };
    const first = await use({ pooling: "cls" });
    const plain = await use({});
    const own = await embedder(origin, TINY, undefined);
    assert.deepEqual(plain, [own.info.spaceId, await vector(own)]);
    assert.notEqual(first[0], plain[0]);
    assert.deepEqual(await use({ pooling: "cls" }), first);
  },

  "encode takes transformers.js' options": async ({ origin }) => {
    const model = await embedder(origin, TINY, undefined);
    assert.deepEqual(await vector(model, { pooling: "mean", normalize: true }), await vector(model));
    const error = await failure(() => vector(model, { pooling: "cls", normalize: true }));
    assert.equal(error.code, "invalid_input");
    assert.include(error.message, '{ pooling: "cls" }');
    assert.include((await failure(() => vector(model, { pooling: "none" }))).message, "encodeTokens");
  },

  "what cannot be is refused": async ({ origin }) => {
    for (const [options, part] of [
      [{ pooling: "median" }, "one of cls, max, mean"],
      [{ pooling: [] }, "name a mode"],
      [{ pooling: 1 }, "pooling"],
      [{ normalize: "yes" }, "true or false"],
      [{ maxTokens: 0 }, "1 or more"],
      [{ maxTokens: 1.5 }, "whole number"],
      [{ maxTokens: 65 }, "at most 64"],
      [{ prompts: { query: 1 } }, "prompts"],
    ]) {
      const error = await failure(() => load(`${origin}/${TINY}`, options));
      assert.equal(error.code, "invalid_input", error.message);
      assert.include(error.message, part);
    }
  },
};
