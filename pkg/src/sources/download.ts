/** Downloads that go on: servers that ask for patience get it, and a body that breaks off is continued where it stopped. */

import { checkAborted, GossamerError, reason, withoutQueries } from "../errors.js";
import { after } from "../event-loop.js";
import { streamChunks } from "./source.js";
import { isSize } from "./trust.js";

/** Times that something is tried without getting any further. */
const TRIES = 4;
/** Milliseconds before the second time; each further pause is twice as long, give or take a half. */
const PAUSE = 250;
/** The longest pause that a server may ask for. */
const LONGEST_PAUSE = 30_000;
/** Milliseconds without a byte, unless told otherwise. */
const STALL = 30_000;
/** Statuses that may be others a moment later. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];
/** Statuses that lead to another address. */
const REDIRECTS = [301, 302, 303, 307, 308];
/** Redirects that are followed. */
const HOPS = 20;
/** Headers that tell versions of a file apart. */
const VALIDATORS = ["etag", "last-modified"];

/** What is asked for, and what is known of it. */
export interface FileRequest {
  headers: Readonly<Record<string, string>>;
  /** The first byte that is wanted. */
  start?: number | undefined;
  /** Of the whole file, where that is known for certain. */
  size?: number | undefined;
  /** Milliseconds without a byte after which a connection is given up. */
  stallTimeout?: number | undefined;
  /** Passes the host's own HTTP cache by, for what is kept elsewhere. */
  unstored?: boolean;
  /** Whether the file's hash is known and will be checked. */
  hashed?: boolean;
}

/** Whether an address is of a browser extension's own files: of one that is not there `fetch` fails, without a status. */
export const isExtensions = (url: string) => /^[a-z]+-extension:/.test(url);

/** One file by HTTP. */
export class Download {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #start: number;
  readonly #size: number | undefined;
  readonly #stall: number;
  readonly #unstored: boolean;
  readonly #hashed: boolean;
  readonly #signal: AbortSignal | undefined;
  /** Of the bytes so far, where nothing else would tell that the file was exchanged. */
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

  /** The server's answer, once it is none that passes. */
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

  /** For messages. */
  get #place(): string {
    return withoutQueries(this.#url);
  }

  /** The whole file's size, as far as it is known. */
  sizeOf(first: Connection): number | undefined {
    return this.#size ?? wholeSize(first.response);
  }

  /** All bytes from the start on, of which `first` has the beginning. */
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
        // A server may have promised more than there is.
        if (position === this.#size) return;
        // Without a size there is no telling where it stopped: the bytes may have been compressed.
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
   * The rest of a body. (`If-Range` would do, but browsers ask a server's leave to send it.) Of a file without date and ETag
   * the whole is asked for, and its beginning compared with what was here.
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

  /** Sees to it that a body begins at `position`; some servers begin anew. */
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

/** One request, which ends when nothing arrives for long. */
export class Connection {
  /** Bytes at its beginning that are here already. */
  skip = 0;
  /** Sees those. */
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
    // Early edge workers refuse the option.
    const cache = unstored && "cache" in Request.prototype ? { cache: "no-store" as const } : {};
    const { signal } = this.#controller;
    // Browsers show no redirects, servers' runtimes do.
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
          // A token is for the first host alone.
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

  /** Stops what still runs. */
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

/** The size of a file of which a body has some or all bytes. A compressed body's `content-length` is not it. */
function wholeSize({ status, headers }: Response): number | undefined {
  const size =
    status === 206 ? RANGE.exec(headers.get("content-range") ?? "")?.[2] : headers.get("content-length");
  // What is no size is as good as none.
  return /^\d+$/.test(size ?? "") && isSize(Number(size)) && !headers.has("content-encoding")
    ? Number(size)
    : undefined;
}

const RANGE = /^bytes (\d+)-\d+\/(\d+|\*)$/;

function rangeStart({ headers }: Response): number | undefined {
  const start = RANGE.exec(headers.get("content-range") ?? "")?.[1];
  return start === undefined ? undefined : Number(start);
}

/** Milliseconds that the server asks for, in seconds or as a date. */
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

/** A number that tells whether bytes are the same: FNV-1a. */
class Checksum {
  value = 0x811c9dc5;

  add(bytes: Uint8Array): void {
    let value = this.value;
    for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
    this.value = value;
  }
}

/** Throws unless a redirect leads to where nobody else reads along. */
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
  // Some runtimes' errors have the whole address in them.
  const cause = error instanceof Error && why.includes(error.message) ? error : new Error(why);
  return new GossamerError(
    "network",
    `${what} (${why}). Check the connection and the address; in a browser the server must allow this page's origin (CORS).`,
    { status: 502, cause },
  );
}
