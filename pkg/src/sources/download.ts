/**
 * Downloads that recover: requests are retried when a server asks to wait, and an interrupted body
 * is continued where it stopped.
 */

import { checkAborted, GossamerError, reason, withoutQueries } from "../errors.js";
import { after } from "../event-loop.js";
import { streamChunks } from "./source.js";
import { isSize } from "./trust.js";

/** Maximum number of attempts without progress. */
const TRIES = 4;
/**
 * Milliseconds before the second attempt. Each further pause is twice as long, ± 50 % at random.
 */
const PAUSE = 250;
/** Maximum pause in milliseconds that a server may ask for. */
const LONGEST_PAUSE = 30_000;
/** Default of the option `stallTimeout`. */
const STALL = 30_000;
/** HTTP statuses that may be temporary. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];
/** HTTP statuses of redirects. */
const REDIRECTS = [301, 302, 303, 307, 308];
/** Maximum number of redirects. */
const HOPS = 20;
/** Headers that identify the version of a file. */
const VALIDATORS = ["etag", "last-modified"];

/** A request for a file, and what is known about it. */
export interface FileRequest {
  headers: Readonly<Record<string, string>>;
  /** The first byte to fetch. */
  start?: number | undefined;
  /** Size of the whole file in bytes, if it is known for certain. */
  size?: number | undefined;
  /** Milliseconds without a byte after which a connection is closed. */
  stallTimeout?: number | undefined;
  /** Whether to bypass the host's HTTP cache, for files that are cached elsewhere. */
  unstored?: boolean;
  /** Whether the file's hash is known and will be checked. */
  hashed?: boolean;
}

/**
 * Whether an address belongs to a browser extension. For its missing files `fetch` rejects and
 * there is no status.
 */
export const isExtensions = (url: string) => /^[a-z]+-extension:/.test(url);

/** The download of one file. */
export class Download {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #start: number;
  readonly #size: number | undefined;
  readonly #stall: number;
  readonly #unstored: boolean;
  readonly #hashed: boolean;
  readonly #signal: AbortSignal | undefined;
  /** Checksum of the bytes so far, if nothing else would show that the file has changed. */
  readonly #sum = new Checksum();

  constructor(url: string, request: FileRequest, signal: AbortSignal | undefined) {
    const { headers, start = 0, size, stallTimeout = STALL, unstored = false, hashed = false } = request;
    this.#url = url;
    this.#headers = headers;
    this.#start = start;
    this.#size = size;
    this.#stall = stallTimeout;
    this.#unstored = unstored;
    this.#hashed = hashed;
    this.#signal = signal;
  }

  /** Connects. Retries while the server responds with a temporary error. */
  async open(): Promise<Connection> {
    const tries = isExtensions(this.#url) ? 1 : TRIES;
    for (let failures = 1; ; failures++) {
      let pause = backoff(failures);
      try {
        const connection = await this.#connect(this.#start);
        const { response } = connection;
        if (!PASSING.includes(response.status) || failures === tries) return connection;
        pause = retryAfter(response) ?? pause;
        if (pause > LONGEST_PAUSE) return connection;
        connection.close();
      } catch (error) {
        checkAborted(this.#signal);
        if (error instanceof GossamerError) throw error;
        if (failures === tries) throw networkError(`${this.#place} could not be fetched`, error);
      }
      await sleep(pause, this.#signal);
    }
  }

  /** The address for messages. */
  get #place(): string {
    return withoutQueries(this.#url);
  }

  /** Size of the whole file in bytes, if it is known. */
  sizeOf(first: Connection): number | undefined {
    return this.#size ?? wholeSize(first.response);
  }

  /** All bytes from `start` on. `first` is the connection that has the beginning. */
  async *chunks(first: Connection): AsyncGenerator<Uint8Array> {
    const size = this.sizeOf(first);
    let connection: Connection | undefined = first;
    let position = this.#start;
    this.#take(first, first.response, position, size);
    const isUnsure = !this.#hashed && VALIDATORS.every((name) => !first.response.headers.has(name));
    for (let failures = 1; ; failures++) {
      try {
        connection ??= await this.#continue(first.response, position, size, isUnsure);
        for await (const chunk of connection.chunks()) {
          position += chunk.byteLength;
          failures = 0;
          if (isUnsure) this.#sum.add(chunk);
          yield chunk;
        }
        checkAborted(this.#signal);
        if (size === undefined || position === size) return;
        if (position > size) throw this.#changed(position, `it has more than ${size} bytes`);
        throw new Error(`it ended after ${position} of ${size} bytes`);
      } catch (error) {
        checkAborted(this.#signal);
        if (error instanceof GossamerError) throw error;
        // The server may have announced more bytes than the file has.
        if (position === this.#size) return;
        // Without a size it is unknown where the body stopped, since it may be compressed.
        if (size === undefined || failures === TRIES) {
          throw networkError(`The download of ${this.#place} broke off`, error);
        }
      } finally {
        connection?.close();
        connection = undefined;
      }
      await sleep(backoff(failures), this.#signal);
    }
  }

  /**
   * Requests the rest of a body. (`If-Range` is not used: it would need a CORS preflight in
   * browsers.) For a file without date and ETag the whole file is requested, and its beginning
   * compared with the bytes received before.
   */
  async #continue(
    first: Response,
    position: number,
    size: number | undefined,
    isUnsure: boolean,
  ): Promise<Connection> {
    const connection = await this.#connect(isUnsure ? 0 : position);
    const { status } = connection.response;
    if (PASSING.includes(status)) {
      connection.close();
      throw new Error(`HTTP ${status}`);
    }
    this.#take(connection, first, position, size);
    if (isUnsure) {
      const sum = new Checksum();
      connection.onSkipped = (bytes) => {
        sum.add(bytes);
        if (connection.skip === 0 && sum.value !== this.#sum.value) throw this.#changed(position, CHANGED);
      };
    }
    return connection;
  }

  /** Makes a body begin at `position`. Some servers ignore the range and start at 0. */
  #take(connection: Connection, first: Response, position: number, size: number | undefined): void {
    const { response } = connection;
    if (position === 0 && response.status !== 206) return;
    const same =
      VALIDATORS.every((name) => response.headers.get(name) === first.headers.get(name)) &&
      (response.status === 206 ? rangeStart(response) === position : response.ok) &&
      [undefined, size].includes(wholeSize(response));
    if (!same) {
      connection.close();
      throw this.#changed(position, CHANGED);
    }
    if (response.status !== 206) connection.skip = position;
  }

  #changed(position: number, why: string): GossamerError {
    return networkError(`The download of ${this.#place} broke off after ${position} bytes`, new Error(why));
  }

  async #connect(from: number): Promise<Connection> {
    const connection = new Connection(this.#stall, this.#signal);
    try {
      const range = from === 0 ? {} : { range: `bytes=${from}-` };
      await connection.open(this.#url, { ...this.#headers, ...range }, this.#unstored);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }
}

/** One request. It is aborted when nothing arrives for too long. */
export class Connection {
  /** Number of bytes at the beginning of the body to skip, since they were received before. */
  skip = 0;
  /** Called with the skipped bytes. */
  onSkipped: ((bytes: Uint8Array) => void) | undefined;
  readonly #stall: number;
  readonly #signal: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort(this.#signal?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #response: Response | undefined;

  constructor(stall: number, signal: AbortSignal | undefined) {
    this.#stall = stall;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  get response(): Response {
    return this.#response as Response;
  }

  async open(url: string, headers: Record<string, string>, unstored: boolean): Promise<void> {
    // Older edge workers throw for this option.
    const cache = unstored && "cache" in Request.prototype ? { cache: "no-store" as const } : {};
    const { signal } = this.#controller;
    // Browsers hide redirects from scripts; server runtimes show them.
    let redirect: RequestRedirect = "process" in globalThis ? "manual" : "follow";
    let at = url;
    let sent = headers;
    for (let hops = 0; ; ) {
      this.#wait();
      const response = await fetch(at, { headers: sent, signal, redirect, ...cache });
      this.#wait();
      this.#response = response;
      const location = REDIRECTS.includes(response.status) && response.headers.get("location");
      if (response.type === "opaqueredirect") {
        redirect = "follow";
      } else if (location) {
        void response.body?.cancel().catch(() => {});
        if (++hops > HOPS) throw refused(url, `there are more than ${HOPS} redirects`);
        if (!URL.canParse(location, at)) throw refused(url, "it redirects to no address");
        const next = new URL(location, at);
        checkRedirect(url, at, next.href);
        if (next.origin !== new URL(at).origin) {
          // The token must only be sent to the first host.
          const { authorization: _, ...others } = sent;
          sent = others;
        }
        at = next.href;
      } else {
        if (response.redirected) checkRedirect(url, at, response.url);
        return;
      }
    }
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    if (!this.response.body) return;
    for await (const chunk of streamChunks(this.response.body, this.#controller.signal)) {
      clearTimeout(this.#timer);
      const known = Math.min(this.skip, chunk.byteLength);
      this.skip -= known;
      if (known > 0) this.onSkipped?.(chunk.subarray(0, known));
      if (known < chunk.byteLength) yield chunk.subarray(known);
      this.#wait();
    }
  }

  /** Stops the request. */
  close(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }

  #wait(): void {
    clearTimeout(this.#timer);
    const stalled = new Error(`nothing arrived for ${this.#stall / 1000} seconds`);
    this.#timer = after(this.#stall, () => this.#controller.abort(stalled));
  }
}

/**
 * The size of the whole file, from the headers of a full or partial response. The `content-length`
 * of a compressed body is not the size.
 */
function wholeSize({ status, headers }: Response): number | undefined {
  const size =
    status === 206 ? RANGE.exec(headers.get("content-range") ?? "")?.[2] : headers.get("content-length");
  // An invalid size is treated like a missing one.
  return /^\d+$/.test(size ?? "") && isSize(Number(size)) && !headers.has("content-encoding")
    ? Number(size)
    : undefined;
}

const RANGE = /^bytes (\d+)-\d+\/(\d+|\*)$/;

function rangeStart({ headers }: Response): number | undefined {
  const start = RANGE.exec(headers.get("content-range") ?? "")?.[1];
  return start === undefined ? undefined : Number(start);
}

/** The pause in milliseconds that the server asks for. The header has seconds or a date. */
function retryAfter(response: Response): number | undefined {
  const header = response.headers.get("retry-after");
  if (header === null) return undefined;
  const pause = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(pause) ? undefined : Math.max(0, pause);
}

function backoff(failures: number): number {
  return PAUSE * 2 ** Math.max(0, failures - 1) * (0.5 + Math.random());
}

async function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
  checkAborted(signal);
}

const CHANGED = "the file changed meanwhile";

/** An FNV-1a checksum, to compare bytes. */
class Checksum {
  value = 0x811c9dc5;

  add(bytes: Uint8Array): void {
    let value = this.value;
    for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
    this.value = value;
  }
}

/** Throws if a redirect leads from https to an unencrypted address. */
function checkRedirect(url: string, from: string, to: string): void {
  if (/^https:/i.test(to) || (/^http:/i.test(to) && !/^https:/i.test(from))) return;
  throw refused(url, `it redirects to ${withoutQueries(to)}, which is not encrypted`);
}

function refused(url: string, why: string): GossamerError {
  return new GossamerError(
    "network",
    `${withoutQueries(url)} could not be fetched: ${why}. Load from another place.`,
    { status: 502 },
  );
}

function networkError(what: string, error: unknown): GossamerError {
  const why = reason(error);
  // The error messages of some runtimes contain the whole address, with its query.
  const cause = error instanceof Error && why.includes(error.message) ? error : new Error(why);
  return new GossamerError(
    "network",
    `${what} (${why}). Check the connection and the address; in a browser the server must allow this page's origin (CORS).`,
    { status: 502, cause },
  );
}
