/** Requests of several APIs, answered by an embedder: the shape of `fetch` and of servers' handlers. */

import type { Call, Answer as Data } from "./engine/call.js";
import { GossamerError } from "./errors.js";
import type { HttpRequest, HttpRequestInit } from "./globals.js";
import { streamChunks } from "./sources/source.js";

/** How requests are answered. */
export interface HandlerOptions {
  /**
   * Whose errors `/v1/embeddings` answers with: OpenAI's (default), SambaNova's codes in the same object, or those of
   * text-embeddings-inference.
   */
  dialect?: "openai" | "sambanova" | "tei" | undefined;
  /** Keys, one of which a request must have (`Authorization`, or `x-chroma-token`). None: all may ask. */
  apiKeys?: readonly string[] | undefined;
  /** Origins of web pages that may ask from elsewhere (CORS); true: all. By default browsers let none. */
  cors?: boolean | readonly string[] | undefined;
  /** Requests that may be under way or wait, 512 by default; further ones are answered with 429. */
  maxRequests?: number | undefined;
  /** Milliseconds after which a request is given up and answered with 408 (Inworld's: 504). By default never. */
  timeout?: number | undefined;
  /** The largest body that is read, in bytes; 16 MiB by default. Larger ones are answered with 413. */
  maxBodyBytes?: number | undefined;
}

/** Answers a request, given as to `fetch`. */
export type Handler = (input: string | URL | HttpRequest, init?: HttpRequestInit) => Promise<Response>;

/** What wasm sees of a request. */
export interface RequestData {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string;
}

/** Runs a call of a {@link RequestData}. */
export type Runner = (call: Call<"fetch">, signal: AbortSignal | undefined) => Promise<Data>;

/** Why a request is not answered; wasm tells it in the request's format. */
type Refusal = "overloaded" | "timedOut" | "tooLarge";

/** Makes a handler out of what runs a call. */
export function handler(run: Runner, options: HandlerOptions): Handler {
  const { dialect = "openai", apiKeys = [], maxRequests = 512, timeout, maxBodyBytes = 1 << 24 } = options;
  const cors = typeof options.cors === "object" ? options.cors : options.cors ? ["*"] : [];
  let requests = 0;

  async function answer(inputs: RequestData, signal: AbortSignal | undefined, refuse?: Refusal) {
    const call = {
      name: "fetch" as const,
      inputs,
      options: { dialect, apiKeys, cors, ...(refuse && { refuse }) },
    };
    const { status, headers, body } = await run(call, signal);
    return new Response(body === "" ? null : body, { status, headers });
  }

  return async (input, init) => {
    // Beside a request, servers pass things of their own.
    const request = input instanceof Request ? input : new Request(input, init);
    const body = await read(request, maxBodyBytes);
    const inputs = {
      method: request.method,
      path: new URL(request.url).pathname,
      headers: Object.fromEntries(request.headers),
      body: body ?? "",
    };
    if (body === undefined) return answer(inputs, undefined, "tooLarge");
    if (requests >= maxRequests) return answer(inputs, undefined, "overloaded");
    requests++;
    const deadline = new Deadline(request.signal, timeout);
    try {
      return await answer(inputs, deadline.signal);
    } catch (error) {
      if (!(error instanceof GossamerError) || error.code !== "aborted") throw error;
      // As `fetch` rejects.
      if (request.signal.aborted) throw request.signal.reason;
      return await answer(inputs, undefined, "timedOut");
    } finally {
      deadline.clear();
      requests--;
    }
  };
}

/** A request's body as text, unless it is too large. */
async function read(request: Request, limit: number): Promise<string | undefined> {
  // Not every browser gives a request's body as a stream.
  if (!request.body) {
    const text = await request.text();
    return text.length > limit ? undefined : text;
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of streamChunks(request.body, request.signal)) {
    size += part.byteLength;
    if (size > limit) return undefined;
    parts.push(part);
  }
  return new Blob(parts as BlobPart[]).text();
}

/** A signal that is aborted with another one, or when time is up. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #other: AbortSignal;
  readonly #abort = () => this.#controller.abort(this.#other.reason);
  readonly #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(other: AbortSignal, milliseconds: number | undefined) {
    this.#other = other;
    if (other.aborted) this.#abort();
    other.addEventListener("abort", this.#abort);
    if (milliseconds !== undefined) this.#timer = setTimeout(() => this.#controller.abort(), milliseconds);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#other.removeEventListener("abort", this.#abort);
  }
}
