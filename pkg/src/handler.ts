/**
 * Answers requests of several APIs with an embedder. A handler has the signature of `fetch` and of
 * servers' handlers.
 */

import { onAbort, orAborted } from "./abort.js";
import type { Call, Answer as Data } from "./engine/call.js";
import { checkAborted, GossamerError } from "./errors.js";
import { after } from "./event-loop.js";
import type { HttpRequest, HttpRequestInit } from "./globals.js";
import type { Scorer } from "./max-sim.js";
import { checkOptions, checkValues, LIMIT, type Rule } from "./options.js";

/** Options of a handler. */
export interface HandlerOptions {
  /**
   * Error format of `/v1/embeddings`: OpenAI's (default), the same object with SambaNova's codes,
   * or that of text-embeddings-inference.
   */
  dialect?: "openai" | "sambanova" | "tei" | undefined;
  /**
   * API keys. A request must send one of them (`Authorization`, or `x-chroma-token`). Without this
   * option no key is needed. An empty key, or one that is `undefined`, is an error.
   */
  apiKeys?: readonly string[] | undefined;
  /**
   * Origins whose web pages may send requests (CORS); true allows all. By default browsers allow
   * none.
   */
  cors?: boolean | readonly string[] | undefined;
  /**
   * Maximum number of requests in progress or waiting; 512 by default. Further requests are
   * answered with 429.
   */
  maxRequests?: number | undefined;
  /**
   * Milliseconds after which a request is stopped and answered with 408 (Inworld's format: 504).
   * This includes the time to receive the body and to load the model. By default there is no limit.
   */
  timeout?: number | undefined;
  /** Maximum size of a body in bytes; 2 MiB by default. Larger ones are answered with 413. */
  maxBodyBytes?: number | undefined;
  /**
   * Maximum size of the bodies of all requests in progress, in bytes; 32 MiB by default. Beyond it,
   * requests are answered with 429.
   */
  maxBodiesBytes?: number | undefined;
}

/** The context that an edge worker receives with a request. */
export interface RequestContext {
  /** Keeps the runtime alive until the promise settles, even after the request was answered. */
  waitUntil(promise: Promise<unknown>): void;
}

/** Answers a request. */
export interface Handler {
  /** Takes the arguments of `fetch`. */
  (input: string | URL | HttpRequest, init?: HttpRequestInit): Promise<Response>;
  /**
   * The signature in edge workers. Work that a request starts ends with the request there unless it
   * is passed to `waitUntil`.
   */
  (request: HttpRequest, environment: unknown, context: RequestContext): Promise<Response>;
}

/**
 * The part of a wasm instance that handlers use. A separate type keeps browser types out of the
 * public types.
 */
export interface Instance {
  guard<T>(call: () => T): T;
  classes: {
    /** The response to a request, if its head alone decides it. */
    admit(head: unknown, options: unknown): unknown;
    /** The model that a request names, and the kind of vectors that it asks for. */
    wanted(request: unknown): unknown;
  } & Scorer;
}

/** A request as wasm reads it. */
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

/** Thrown to refuse a request. */
export class Refused extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal);
    this.refusal = refusal;
  }
}

/** Names of the options of a handler. `serve` has more. */
export const HANDLER_OPTIONS: readonly (keyof HandlerOptions)[] = [
  "dialect",
  "apiKeys",
  "cors",
  "maxRequests",
  "timeout",
  "maxBodyBytes",
  "maxBodiesBytes",
];

/** Returns a wasm instance; if `isFull`, one of the full build. */
export type Start = (isFull: boolean) => Promise<Instance>;

/** The path of the one answer that only the full build has. */
const OPENAPI = /^\/openapi\.json\/*$/;

/**
 * Creates a handler. `run` runs a call. `start` returns a wasm instance, which decides by the head
 * of a request (key, path, method, size) whether to read its body; this needs no model. `models`
 * are the names to list if there are several models. `serve` checks the names of options itself,
 * since it has more.
 */
export function handler(
  call: "handler" | "serve",
  run: Runner,
  options: HandlerOptions,
  start: Start,
  models: readonly string[] = [],
): Handler {
  if (call === "handler") checkOptions(call, options, HANDLER_OPTIONS);
  checkValues(call, options, RULES);
  const { dialect = "openai", apiKeys = [], maxRequests = 512, timeout, maxBodyBytes = 1 << 21 } = options;
  const { maxBodiesBytes = 1 << 25 } = options;
  checkKeys(apiKeys);
  const cors = typeof options.cors === "object" ? options.cors : options.cors ? ["*"] : [];
  // Wasm reads limits as 32-bit integers, and limits may be infinite.
  const whole = (limit: number) => Math.floor(Math.min(limit, 2 ** 32 - 1));
  const limits = { maxBodyBytes: whole(maxBodyBytes), maxRequests: whole(maxRequests) };
  const told = { dialect, apiKeys, cors, models, ...limits };
  let underWay = 0;
  let held = 0;

  /** The response to a request if its head alone decides it. */
  async function admit(head: Head, refuse?: Refusal): Promise<Response | undefined> {
    const wasm = await start(OPENAPI.test(head.path));
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
    // Servers pass further arguments of their own after the request.
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
      // `fetch` rejects with the reason of the signal, too.
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

/**
 * Rules of the options. Without them a string in `cors` would allow all origins, and a limit that
 * is not a number would have no effect.
 */
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

/** Throws if a key is empty or undefined: a key that was not filled in would let everybody in. */
function checkKeys(keys: readonly unknown[]): void {
  const isKey = (key: unknown) => typeof key === "string" && key.trim() !== "";
  // `Array.from` also visits the holes of a sparse array, which `every` skips.
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

/** Reads the body of a request. `take` is called with the number of bytes before they are kept. */
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
  // The reader is never cancelled: some servers would close the connection before the response is
  // sent.
  const reader = request.body?.getReader();
  // Not every browser has `request.body`.
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

/** A signal that is aborted with another one, or after a time. */
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
