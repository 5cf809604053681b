/** Every family and head, against transformers and sentence-transformers, on this engine. */

import { assert } from "chai";
import { load } from "gossamer-embed";
import { failure, fetchJson, reference, rows, texts } from "../support/models.mjs";
import { measureSplade } from "../support/sized-splade.mjs";

const LIST = "tiny-texts.json";
const folder = (name) => `tests/fixtures/${name}`;
const open = (origin, name) => load(`${origin}/${folder(name)}/`, { dtype: "f32" });

function assertClose(ours, theirs, what) {
  assert.equal(ours.length, theirs.length, what);
  let [dot, a, b, largest] = [0, 0, 0, 0];
  for (const [i, x] of ours.entries()) {
    dot += x * theirs[i];
    a += x * x;
    b += theirs[i] * theirs[i];
    largest = Math.max(largest, Math.abs(x - theirs[i]));
  }
  assert.isAtLeast(dot / Math.sqrt(a * b), 0.99999, what);
  assert.isAtMost(largest, 2e-5, what);
}

/** The same entries wherever the reference exceeds 1e-4, values within 1e-4. */
function assertSparse(ours, theirs, what) {
  const dense = new Float32Array(theirs.length);
  for (const [i, index] of ours.indices.entries()) dense[index] = ours.values[i];
  for (const [index, value] of theirs.entries()) {
    assert.closeTo(dense[index], value, 1e-4, `${what}, entry ${index}`);
    if (value > 1e-4) assert.isAbove(dense[index], 0, `${what}, entry ${index}`);
  }
}

async function dense(origin, name, family, options = {}, tensor = "embeddings") {
  const model = await open(origin, name);
  assert.equal(model.info.family, family);
  const ours = rows(await model.encode(await texts(origin, LIST), options));
  const theirs = rows((await reference(origin, `${name}/reference.safetensors`))[tensor]);
  for (const [i, vector] of ours.entries()) assertClose(vector, theirs[i], `${name}, text ${i}`);
  model.dispose();
}

async function sparse(origin, name, task, tensor = "embeddings") {
  const model = await open(origin, name);
  assert.equal(model.info.kind, "sparse");
  const ours = await model.encodeSparse(await texts(origin, LIST), { task });
  const theirs = rows((await reference(origin, `${name}/reference.safetensors`))[tensor]);
  for (const [i, vector] of ours.entries()) assertSparse(vector, theirs[i], `${name}, text ${i}`);
  model.dispose();
}

const DENSE = {
  "tiny-deberta": "deberta-v2",
  "tiny-mpnet": "mpnet",
  "tiny-modernbert": "modernbert",
  "tiny-nomic": "nomic_bert",
  "tiny-qwen3": "qwen3",
  "tiny-mistral": "mistral",
  "tiny-gemma2": "gemma2",
  "tiny-gemma3": "gemma3",
  "tiny-t5": "t5",
  "tiny-jina": "jina_bert",
  "tiny-jina-qk": "jina_bert_qk",
  "tiny-jina-v3": "xlm_roberta_flash",
  "tiny-nomic-moe": "nomic_bert_moe",
  "tiny-xlm-roberta": "roberta",
  "tiny-qwen2": "qwen2",
  "tiny-voyage": "qwen3_bidirectional",
  "tiny-llama": "llama",
  "tiny-eurobert": "eurobert",
  "tiny-electra": "electra",
  "tiny-albert": "albert",
  "tiny-gte": "gte",
};
const TASK = "Given a web search query, retrieve relevant passages that answer the query";

export const cases = {
  ...Object.fromEntries(
    Object.entries(DENSE).map(([name, family]) => [name, ({ origin }) => dense(origin, name, family)]),
  ),

  "instructions, in Qwen3's and in e5-mistral's form": async ({ origin }) => {
    const instruction = { instruction: TASK };
    await dense(origin, "tiny-qwen3", "qwen3", instruction, "query_embeddings");
    await dense(origin, "tiny-mistral", "mistral", instruction, "query_embeddings");
    await dense(origin, "tiny-qwen3", "qwen3", { task: "query" }, "query_embeddings");
  },

  "jina-embeddings-v3's adapters, chosen by each call": async ({ origin }) => {
    for (const task of ["retrieval.query", "retrieval.passage", "text-matching"]) {
      await dense(origin, "tiny-jina-v3", "xlm_roberta_flash", { task }, `${task}_embeddings`);
    }
    await dense(origin, "tiny-jina-v3", "xlm_roberta_flash", { task: "query" }, "retrieval.query_embeddings");
    const model = await open(origin, "tiny-jina-v3");
    assert.deepEqual(model.info.tasks, ["retrieval.query", "retrieval.passage", "text-matching"]);
    model.dispose();
  },

  "pplx-embed's whole numbers": async ({ origin }) => {
    const model = await open(origin, "tiny-pplx");
    const ours = rows(await model.encode(await texts(origin, LIST)));
    const { embeddings, exact_embeddings: exact } = await reference(
      origin,
      "tiny-pplx/reference.safetensors",
    );
    const [whole, before] = [rows(embeddings), rows(exact)];
    for (const [i, vector] of ours.entries()) {
      for (const [at, value] of vector.entries()) {
        assert.isTrue(Number.isInteger(value), `text ${i}`);
        // The other side of a half.
        const isHalf = Math.abs((Math.abs(before[i][at]) % 1) - 0.5) < 1e-3;
        assert.closeTo(value, whole[i][at], isHalf ? 1 : 0, `text ${i}, ${at}`);
      }
    }
    model.dispose();
  },

  "SPLADE on RoBERTa": ({ origin }) => sparse(origin, "tiny-roberta-splade"),
  "SPLADE on ModernBERT": ({ origin }) => sparse(origin, "tiny-modernbert-splade"),
  "SPLADE on MPNet": ({ origin }) => sparse(origin, "tiny-mpnet-splade"),
  "SPLADE on GTE": ({ origin }) => sparse(origin, "tiny-gte-splade"),

  "SPLADE of MiniLM's and of BERT-base's size: the bits of native code": async ({ origin }) => {
    const expected = await fetchJson(`${origin}/tests/fixtures/sized-splade-digests.json`);
    for (const name of ["sized-splade-minilm", "sized-splade-base"]) {
      assert.equal((await measureSplade(origin, name, "q8")).digest, expected[name].q8, name);
    }
  },

  "a router takes queries and documents their own ways": async ({ origin }) => {
    for (const name of ["tiny-inference-free", "tiny-splade-pair"]) {
      await sparse(origin, name, "query", "query_embeddings");
      await sparse(origin, name, "document");
    }
  },

  "BGE-M3's three kinds of vectors from one pass": async ({ origin }) => {
    const model = await open(origin, "tiny-m3");
    assert.deepEqual(model.info.outputs, ["dense", "sparse", "tokens", "colbert"]);
    const inputs = await texts(origin, LIST);
    const ours = await model.encodeMulti(inputs, { dense: true, sparse: true, tokens: true });
    const theirs = await reference(origin, "tiny-m3/reference.safetensors");
    const [embeddings, lexical, colbert] = [theirs.embeddings, theirs.lexical, theirs.colbert].map(rows);
    const ends = theirs.colbert_offsets.data;
    for (const [i, vector] of rows(ours.dense).entries()) {
      assertClose(vector, embeddings[i], `dense ${i}`);
      assertSparse(ours.sparse[i], lexical[i], `lexical ${i}`);
      const vectors = rows(ours.tokens[i]);
      assert.equal(vectors.length, ends[i + 1] - ends[i]);
      for (const [at, vector] of vectors.entries()) {
        assertClose(vector, colbert[ends[i] + at], `text ${i}, vector ${at}`);
      }
    }
    // MaxSim by its definition, on the reference's vectors.
    const [query, document] = [2, 3].map((i) => colbert.slice(ends[i], ends[i + 1]));
    const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
    const best = query.map((a) => Math.max(...document.map((b) => dot(a, b))));
    const expected = best.reduce((sum, x) => sum + x, 0) / best.length;
    assert.closeTo(model.maxSim(ours.tokens[2], ours.tokens[3]), expected, 1e-5);
    assert.equal((await failure(async () => model.maxSim("a", "b"))).code, "invalid_input");
    assert.deepEqual(await model.encode(inputs), ours.dense);
    assert.deepEqual(await model.encodeSparse(inputs), ours.sparse);
    assert.deepEqual(await model.encodeTokens(inputs), ours.tokens);
    model.dispose();
  },

  "states of tokens, also in the format of text-embeddings-inference": async ({ origin }) => {
    const model = await open(origin, "tiny-bert");
    const inputs = await texts(origin, LIST);
    const { states, offsets } = await reference(origin, "tiny-bert-tokens.safetensors");
    const theirs = rows(states);
    const ours = await model.encodeTokens(inputs);
    const all = await model.embedAll({ inputs, truncate: true });
    for (const [i, tokens] of ours.entries()) {
      const vectors = rows(tokens);
      assert.equal(vectors.length, offsets.data[i + 1] - offsets.data[i]);
      for (const [at, vector] of vectors.entries()) {
        // Not normalised: relative to its length.
        const scale = Math.hypot(...theirs[offsets.data[i] + at]);
        const unit = (values) => Float32Array.from(values, (value) => value / scale);
        assertClose(unit(vector), unit(theirs[offsets.data[i] + at]), `text ${i}, token ${at}`);
        assert.deepEqual(Float32Array.from(all[i][at]), Float32Array.from(vector));
      }
    }
    model.dispose();
  },
};
