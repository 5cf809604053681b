/** Requests of several APIs, answered by an embedder: the shape of `fetch` and of servers' handlers. */

import { onAbort, orAborted } from "./abort.js";
import type { Call, Answer as Data } from "./engine/call.js";
import { checkAborted, GossamerError } from "./errors.js";
import { after } from "./event-loop.js";
import type { HttpRequest, HttpRequestInit } from "./globals.js";
import { checkValues, LIMIT, type Rule } from "./options.js";

/** How requests are answered. */
export interface HandlerOptions {
  /**
   * Whose errors `/v1/embeddings` answers with: OpenAI's (default), SambaNova's codes in the same object, or those of
   * text-embeddings-inference.
   */
  dialect?: "openai" | "sambanova" | "tei" | undefined;
  /**
   * Keys, one of which a request must have (`Authorization`, or `x-chroma-token`). Without this option all may ask; an empty
   * key, or one that is `undefined`, is an error.
   */
  apiKeys?: readonly string[] | undefined;
  /** Origins of web pages that may ask from elsewhere (CORS); true: all. By default browsers let none. */
  cors?: boolean | readonly string[] | undefined;
  /** Requests that may be under way or wait, 512 by default; further ones are answered with 429. */
  maxRequests?: number | undefined;
  /**
   * Milliseconds after which a request is given up and answered with 408 (Inworld's: 504), be it that its body does not
   * arrive, that a model is loading, or that there is much to do. By default never.
   */
  timeout?: number | undefined;
  /** The largest body that is read, in bytes; 2 MiB by default. Larger ones are answered with 413. */
  maxBodyBytes?: number | undefined;
  /** Bytes that the bodies of all requests under way may have together; 32 MiB by default. Beyond: 429. */
  maxBodiesBytes?: number | undefined;
}

/** What edge workers are handed with a request. */
export interface RequestContext {
  /** Has the runtime go on with something when the request was answered. */
  waitUntil(promise: Promise<unknown>): void;
}

/** Answers a request. */
export interface Handler {
  /** Given as to `fetch`. */
  (input: string | URL | HttpRequest, init?: HttpRequestInit): Promise<Response>;
  /** As edge workers call it: there, what one request has started ends with it unless its context is told to wait. */
  (request: HttpRequest, environment: unknown, context: RequestContext): Promise<Response>;
}

/** What handlers use of an instance of the wasm. It is a type of its own, so that the public types need none of browsers. */
export interface Instance {
  guard<T>(call: () => T): T;
  classes: {
    /** The answer to a request, if its head is enough for one. */
    admit(head: unknown, options: unknown): unknown;
    /** The model that a request names, and the kind of vectors that it wants. */
    wanted(request: unknown): unknown;
  };
}

/** What wasm sees of a request. */
export interface RequestData {
  head: Head;
  body: ArrayBuffer;
}

/** A request without its body. */
export interface Head {
  method: string;
  path: string;
  headers: Record<string, string>;
}

/** Runs a call of a {@link RequestData}. */
export type Runner = (
  call: Call<"fetch">,
  signal: AbortSignal,
  context: RequestContext | undefined,
) => Promise<Data>;

/** Why a request is not answered; wasm tells it in the request's format. */
export type Refusal =
  | "overloaded"
  | "timedOut"
  | "tooLarge"
  | "incomplete"
  | "unavailable"
  | "disposed"
  | "unknownModel";

/** A request is refused. */
export class Refused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal);
    this.refusal = refusal;
  }
}

/** The options of a handler; `serve` has more. */
export const HANDLER_OPTIONS: readonly (keyof HandlerOptions)[] = [
  "dialect",
  "apiKeys",
  "cors",
  "maxRequests",
  "timeout",
  "maxBodyBytes",
  "maxBodiesBytes",
];

/**
 * Makes a handler out of what runs a call. `start` gives an instance of the wasm, which tells by a request's head (key, path,
 * method, size) whether its body is to be read; it needs no model. `models` are the names to list, if there are several.
 */
export function handler(
  run: Runner,
  options: HandlerOptions,
  start: () => Promise<Instance>,
  models: readonly string[] = [],
): Handler {
  checkValues("handler", options, RULES);
  const { dialect = "openai", apiKeys = [], maxRequests = 512, timeout, maxBodyBytes = 1 << 21 } = options;
  const { maxBodiesBytes = 1 << 25 } = options;
  checkKeys(apiKeys);
  const cors = typeof options.cors === "object" ? options.cors : options.cors ? ["*"] : [];
  // Wasm's numbers end at 32 bits, and limits may be infinite.
  const whole = (limit: number) => Math.floor(Math.min(limit, 2 ** 32 - 1));
  const limits = { maxBodyBytes: whole(maxBodyBytes), maxRequests: whole(maxRequests) };
  const told = { dialect, apiKeys, cors, models, ...limits };
  let underWay = 0;
  let held = 0;

  /** The answer of a request whose head is enough. */
  async function admit(head: Head, refuse?: Refusal): Promise<Response | undefined> {
    const wasm = await start();
    const settings = { ...told, underWay, ...(refuse && { refuse }) };
    const answer = wasm.guard(() => wasm.classes.admit(head, settings)) as Data | undefined;
    return answer && response(answer);
  }

  async function answer(
    head: Head,
    request: Request,
    signal: AbortSignal,
    context: RequestContext | undefined,
  ): Promise<Response> {
    let size = 0;
    try {
      const body = await read(request, signal, maxBodyBytes, (bytes) => {
        if (held + bytes > maxBodiesBytes) throw new Refused("overloaded");
        size += bytes;
        held += bytes;
      });
      return response(await run({ name: "fetch", inputs: { head, body }, options: told }, signal, context));
    } finally {
      held -= size;
    }
  }

  return async (input: string | URL | Request, init?: unknown, context?: Partial<RequestContext>) => {
    // Beside a request, servers pass things of their own.
    const request = input instanceof Request ? input : new Request(input, init as RequestInit);
    const waits = typeof context?.waitUntil === "function" ? (context as RequestContext) : undefined;
    const { method, headers } = request;
    const head = { method, path: new URL(request.url).pathname, headers: Object.fromEntries(headers) };
    const early = await admit(head);
    if (early) return early;
    const full = underWay >= maxRequests && (await admit(head, "overloaded"));
    if (full) return full;
    underWay++;
    const deadline = new Deadline(request.signal, timeout);
    try {
      return await orAborted(answer(head, request, deadline.signal, waits), deadline.signal);
    } catch (error) {
      // As `fetch` rejects.
      if (request.signal.aborted) throw request.signal.reason;
      const refusal = deadline.signal.aborted ? "timedOut" : error instanceof Refused && error.refusal;
      const refused = refusal && (await admit(head, refusal));
      if (!refused) throw error;
      return refused;
    } finally {
      deadline.clear();
      underWay--;
    }
  };
}

/** A string would let all origins ask, and a limit that is no number would be none. */
const RULES: Readonly<Record<string, Rule>> = {
  dialect: [
    (value) => ["openai", "sambanova", "tei"].includes(value as string),
    '"openai", "sambanova" or "tei"',
  ],
  cors: [
    (value) =>
      typeof value === "boolean" ||
      (Array.isArray(value) && value.every((origin) => typeof origin === "string")),
    "true, false, or a list of origins",
  ],
  maxRequests: LIMIT,
  timeout: LIMIT,
  maxBodyBytes: LIMIT,
  maxBodiesBytes: LIMIT,
};

/** A key that was left out where it was to be filled in would let anybody in. */
function checkKeys(keys: readonly unknown[]): void {
  const isKey = (key: unknown) => typeof key === "string" && key.trim() !== "";
  // Holes of a list would be passed over.
  if (Array.isArray(keys) && Array.from(keys).every(isKey)) return;
  throw new GossamerError(
    "invalid_input",
    "apiKeys must be a list of strings that are not empty; one of them is empty or undefined. Leave the option out to let everybody in.",
    { status: 400 },
  );
}

function response({ status, headers, body }: Data): Response {
  return new Response(body === "" ? null : body, { status, headers });
}

/** A request's body. `take` is told of bytes before they are kept. */
async function read(
  request: Request,
  signal: AbortSignal,
  limit: number,
  take: (bytes: number) => void,
): Promise<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const keep = (part: Uint8Array) => {
    size += part.byteLength;
    if (size > limit) throw new Refused("tooLarge");
    take(part.byteLength);
    parts.push(part);
  };
  const broken = () => {
    throw new Refused("incomplete");
  };
  // Never cancelled: a server's connection would end with it, before the answer is sent.
  const reader = request.body?.getReader();
  // Not every browser gives a request's body as a stream.
  if (!reader) keep(new Uint8Array(await request.arrayBuffer().catch(broken)));
  else {
    for (;;) {
      const { done, value } = await reader.read().catch(broken);
      checkAborted(signal);
      if (done) break;
      keep(value);
    }
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole.buffer;
}

/** A signal that is aborted with another one, or when time is up. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #stop: () => void;
  readonly #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(other: AbortSignal, milliseconds: number | undefined) {
    const abort = () => this.#controller.abort(other.reason);
    if (other.aborted) abort();
    this.#stop = onAbort(other, abort);
    if (milliseconds !== undefined) this.#timer = after(milliseconds, () => this.#controller.abort());
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#stop();
  }
}
