/**
 * The model inside the worker's bundle, which may have 64 MiB: nothing is fetched, and nothing can
 * be missing.
 */

import pooling from "../models/minilm/1_Pooling/config.json.bin";
import config from "../models/minilm/config.json.bin";
import similarity from "../models/minilm/config_sentence_transformers.json.bin";
import weights from "../models/minilm/model.safetensors.bin";
import modules from "../models/minilm/modules.json.bin";
import limits from "../models/minilm/sentence_bert_config.json.bin";
import tokenizer from "../models/minilm/tokenizer.json.bin";
import casing from "../models/minilm/tokenizer_config.json.bin";
import { worker } from "./worker.js";

const files: Record<string, ArrayBuffer> = {
  "1_Pooling/config.json": pooling,
  "config.json": config,
  "config_sentence_transformers.json": similarity,
  "modules.json": modules,
  "sentence_bert_config.json": limits,
  "tokenizer.json": tokenizer,
  "tokenizer_config.json": casing,
};

export default worker(() => ({
  // An imported module stays for as long as the isolate. Moved out of it, the weights are dropped
  // when they are in wasm.
  minilm: (file) => (file === "model.safetensors" ? weights.transfer() : files[file]),
}));
