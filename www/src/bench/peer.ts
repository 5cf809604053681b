/** The same model in transformers.js, to compare with. */

import { wrap } from "comlink";
import { OFFERS } from "../models.js";
import type { LoadedModel } from "../session.js";
import type { Peer, Wanted } from "./peer-worker.js";

const HUB = "https://huggingface.co";

export interface LoadedPeer {
  version: string;
  /** Repository of the ONNX export. */
  id: string;
  loading: number;
  encode(texts: string[]): Promise<Float32Array>;
  close(): void;
}

export async function loadPeer(model: LoadedModel, signal: AbortSignal): Promise<LoadedPeer> {
  const wanted = exported(model);
  const start = performance.now();
  const worker = new Worker(new URL("./peer-worker.ts", import.meta.url), { type: "module" });
  const peer = wrap<Peer>(worker);
  // A worker that was terminated, or failed to start, never answers.
  const lost = new Promise<never>((_, reject) => {
    worker.addEventListener("error", () =>
      reject(
        new Error("transformers.js did not start: it is not kept on this device, and is fetched each time."),
      ),
    );
    signal.addEventListener("abort", () => reject(signal.reason));
  });
  lost.catch(() => worker.terminate());
  try {
    const version = await Promise.race([peer.load(wanted), lost]);
    return {
      version,
      id: wanted.id,
      loading: performance.now() - start,
      encode: (texts) => Promise.race([peer.encode(texts), lost]),
      close: () => worker.terminate(),
    };
  } catch (error) {
    worker.terminate();
    if (!(error instanceof Error) || error.name !== "ModelFileNotFoundError") throw error;
    throw new Error(`transformers.js finds no ONNX model in 8 bits at ${wanted.id}. ${error.message}`);
  }
}

/** The repository of the model's ONNX export. */
function exported({ name, embedder: { info }, options }: LoadedModel): Wanted {
  if (!info.outputs.includes("dense")) {
    throw new Error("transformers.js has no sparse vectors: load a dense model to measure it as well.");
  }
  const { endpoint: host = HUB, token, revision } = options;
  const { maxTokens } = info;
  const id = OFFERS.find(({ id }) => id === name)?.onnx;
  if (id) return { id, host, maxTokens, token };
  if (!/^[\w.-]+\/[\w.-]+$/.test(info.model)) {
    throw new Error(
      `transformers.js takes its models from the Hub, and ${name} is not from there: load a model by its Hub id.`,
    );
  }
  return { id: info.model, host, maxTokens, token, revision };
}
