/**
 * Checked by the compiler only: the types fit those of the official `openai` client, and say what a
 * call gives.
 */

import {
  type CreateEmbeddingResponse,
  type Encoded,
  load,
  type Matrix,
  type SparseVector,
  serve,
} from "gossamer-embed";
import OpenAI from "openai";

declare const params: OpenAI.EmbeddingCreateParams;
declare const encoded: Encoded;
declare const sparse: SparseVector;

export async function fits(signal: AbortSignal): Promise<void> {
  const embedder = await load(new URL("https://example.com/model/"), { dtype: "q8", kind: "dense", signal });
  // Whatever the client may send.
  const either: CreateEmbeddingResponse<number[] | string> = await embedder.embeddings.create(params, {
    signal,
  });
  // What the client's users hold in their hands.
  const floats: OpenAI.CreateEmbeddingResponse = await embedder.embeddings.create({ input: "a", model: "m" });
  const base64 = await embedder.embeddings.create({ input: "a", encoding_format: "base64" });
  const text: string | undefined = base64.data[0]?.embedding;

  const number: number = embedder.similarity(new Float32Array(2), [1, 2]);
  const table: Matrix = embedder.similarity(encoded, encoded);
  const dot: number = embedder.similarity(sparse, sparse);
  // @ts-expect-error: a dense and a sparse vector have nothing to compare.
  embedder.similarity(encoded, sparse);
  // @ts-expect-error: an option that does not exist.
  await embedder.encode("a", { normalise: true });

  const body = new Response("").body;
  await load({
    "config.json": new Uint8Array(1),
    "tokenizer.json": new Blob(),
    "model.safetensors": { body },
  });
  await load(new Map([["config.json", new ArrayBuffer(1)]]));
  // Its fetch is the client's, and a server's handler.
  const client = new OpenAI({ apiKey: "unused", fetch: embedder.fetch });
  const server: { fetch(request: Request): Promise<Response> } = serve({ models: { a: "org/name" } });
  console.log(client, server);
  console.log(either, floats, text, number, table, dot);
}
