/**
 * transformers.js on one thread, in its own worker. It only uses the model's host and this page's,
 * and caches nothing.
 */

import { AutoModel, AutoTokenizer, env, mean_pooling } from "@huggingface/transformers";
import { expose, transfer } from "comlink";
import runtime from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

export interface Wanted {
  id: string;
  host: string;
  /** Maximum number of tokens. transformers.js does not read sentence-transformers' setting. */
  maxTokens: number;
  revision?: string | undefined;
  token?: string | undefined;
}

env.useBrowserCache = false;
env.useWasmCache = false;
// By default it loads its runtime from a CDN.
Object.assign(env.backends.onnx.wasm ?? {}, { wasmPaths: { wasm: runtime }, numThreads: 1, proxy: false });

class Peer {
  #encode: ((texts: string[]) => Promise<Float32Array<ArrayBuffer>>) | undefined;

  /** Loads the model. Returns the version of transformers.js. */
  async load({ id, host, maxTokens: max_length, revision = "main", token }: Wanted): Promise<string> {
    env.remoteHost = host;
    if (token) {
      env.fetch = (input, init) => {
        const headers = new Headers(init?.headers);
        headers.set("Authorization", `Bearer ${token}`);
        return fetch(input, { ...init, headers });
      };
    }
    // The model is loaded first, since the error for a missing tokenizer does not name the file.
    const model = await AutoModel.from_pretrained(id, { revision, dtype: "q8", device: "wasm" });
    const tokenizer = await AutoTokenizer.from_pretrained(id, { revision });
    // Like its feature-extraction pipeline, which has no option for the maximum length.
    this.#encode = async (texts) => {
      const inputs = tokenizer(texts, { padding: true, truncation: true, max_length });
      const { last_hidden_state, logits, token_embeddings } = await model(inputs);
      const states = last_hidden_state ?? logits ?? token_embeddings;
      return mean_pooling(states, inputs.attention_mask).normalize(2, -1).data;
    };
    return env.version;
  }

  async encode(texts: string[]): Promise<Float32Array> {
    if (!this.#encode) throw new Error("There is no model yet.");
    const vectors = await this.#encode(texts);
    return transfer(vectors, [vectors.buffer]);
  }
}

export type { Peer };

expose(new Peer());
