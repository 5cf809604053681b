/**
 * Sparse vectors of queries by an inference-free SPLADE model: a tokenizer and a table of weights,
 * no transformer.
 */

import { type Embedder, load } from "gossamer-embed";
import config from "../query/config.json.bin";
import weights from "../query/model.safetensors.bin";
import tokenizer from "../query/tokenizer.json.bin";

/** The model's router has another way, for documents. Without it, its weights are not needed. */
const modules = [{ path: "", type: "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding" }];

let ready: Promise<Embedder> | undefined;

export default {
  async fetch(request: Request): Promise<Response> {
    ready ??= load({
      "modules.json": new TextEncoder().encode(JSON.stringify(modules)),
      "config.json": config,
      "tokenizer.json": tokenizer,
      "model.safetensors": weights,
    });
    return (await ready).fetch(request);
  },
};
