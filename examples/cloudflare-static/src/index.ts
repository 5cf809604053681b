/**
 * Dense vectors from a static table in the worker's bundle: a row lookup and a mean, no
 * transformer.
 */

import { type Embedder, load } from "gossamer-embed";
import weights from "../model/model.safetensors.bin";
import modules from "../model/modules.json.bin";
import tokenizer from "../model/tokenizer.json.bin";

let ready: Promise<Embedder> | undefined;

export default {
  async fetch(request: Request): Promise<Response> {
    ready ??= load({
      "modules.json": modules,
      "tokenizer.json": tokenizer,
      "model.safetensors": weights,
    });
    return (await ready).fetch(request);
  },
};
