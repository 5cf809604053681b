/** Requests of several APIs, answered by an embedder: the shape of `fetch` and of servers' handlers. */

import type { Call, Answer as Data } from "./engine/call.js";
import { GossamerError } from "./errors.js";

/** How requests are answered. */
export interface HandlerOptions {
  /**
   * Whose errors `/v1/embeddings` answers with: OpenAI's (default), SambaNova's codes in the same object, or those of
   * text-embeddings-inference.
   */
  dialect?: "openai" | "sambanova" | "tei" | undefined;
  /** Keys, one of which a request must have (`Authorization`, or `x-chroma-token`). None: all may ask. */
  apiKeys?: readonly string[] | undefined;
}

/** Answers a request, given as to `fetch`. */
export type Handler = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** Makes a handler out of what runs a call. */
export function handler(
  run: (call: Call<"fetch">, signal: AbortSignal) => Promise<Data>,
  { dialect = "openai", apiKeys = [] }: HandlerOptions,
): Handler {
  return async (input, init) => {
    const request = new Request(input, init);
    const { method, headers, signal } = request;
    const inputs = {
      method,
      path: new URL(request.url).pathname,
      headers: Object.fromEntries(headers),
      body: await request.text(),
    };
    try {
      const answer = await run({ name: "fetch", inputs, options: { dialect, apiKeys } }, signal);
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    } catch (error) {
      // As `fetch` rejects.
      if (error instanceof GossamerError && error.code === "aborted") throw signal.reason;
      throw error;
    }
  };
}
