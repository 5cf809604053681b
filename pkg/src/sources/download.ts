/** Downloads that go on: servers that ask for patience get it, and a body that breaks off is continued where it stopped. */

import { checkAborted, GossamerError } from "../errors.js";
import { streamChunks } from "./source.js";

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
}

/** One file by HTTP. */
export class Download {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #start: number;
  readonly #size: number | undefined;
  readonly #stall: number;
  readonly #unstored: boolean;
  readonly #signal: AbortSignal | undefined;

  constructor(url: string, request: FileRequest, signal: AbortSignal | undefined) {
    const { headers, start = 0, size, stallTimeout = STALL, unstored = false } = request;
    this.#url = url;
    this.#headers = headers;
    this.#start = start;
    this.#size = size;
    this.#stall = stallTimeout;
    this.#unstored = unstored;
    this.#signal = signal;
  }

  /** The server's answer, once it is none that passes. */
  async open(): Promise<Connection> {
    for (let failures = 1; ; failures++) {
      let pause = backoff(failures);
      try {
        const connection = await this.#connect(this.#start);
        const { response } = connection;
        if (!PASSING.includes(response.status) || failures === TRIES) return connection;
        pause = retryAfter(response) ?? pause;
        if (pause > LONGEST_PAUSE) return connection;
        connection.close();
      } catch (error) {
        checkAborted(this.#signal);
        if (failures === TRIES) throw networkError(`${this.#url} could not be fetched`, error);
      }
      await sleep(pause, this.#signal);
    }
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
    for (let failures = 1; ; failures++) {
      try {
        connection ??= await this.#continue(first.response, position, size);
        for await (const chunk of connection.chunks()) {
          position += chunk.byteLength;
          failures = 0;
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
          throw networkError(`The download of ${this.#url} broke off`, error);
        }
      } finally {
        connection?.close();
        connection = undefined;
      }
      await sleep(backoff(failures), this.#signal);
    }
  }

  /** The rest of a body. (`If-Range` would do, but browsers ask a server's leave to send it.) */
  async #continue(first: Response, position: number, size: number | undefined): Promise<Connection> {
    const connection = await this.#connect(position);
    const { status } = connection.response;
    if (PASSING.includes(status)) {
      connection.close();
      throw new Error(`HTTP ${status}`);
    }
    this.#take(connection, first, position, size);
    return connection;
  }

  /** Sees to it that a body begins at `position`; some servers begin anew. */
  #take(connection: Connection, first: Response, position: number, size: number | undefined): void {
    if (position === 0) return;
    const { response } = connection;
    const same =
      ["etag", "last-modified"].every((name) => response.headers.get(name) === first.headers.get(name)) &&
      (response.status === 206 ? rangeStart(response) === position : response.ok) &&
      [undefined, size].includes(wholeSize(response));
    if (!same) {
      connection.close();
      throw this.#changed(position, "the file changed meanwhile");
    }
    if (response.status !== 206) connection.skip = position;
  }

  #changed(position: number, why: string): GossamerError {
    return networkError(`The download of ${this.#url} broke off after ${position} bytes`, new Error(why));
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
    this.#wait();
    // Early edge workers refuse the option.
    const cache = unstored && "cache" in Request.prototype ? { cache: "no-store" as const } : {};
    this.#response = await fetch(url, { headers, signal: this.#controller.signal, ...cache });
    this.#wait();
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    if (!this.response.body) return;
    for await (const chunk of streamChunks(this.response.body, this.#controller.signal)) {
      clearTimeout(this.#timer);
      const known = Math.min(this.skip, chunk.byteLength);
      this.skip -= known;
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
    this.#timer = setTimeout(() => this.#controller.abort(stalled), this.#stall);
  }
}

/** The size of a file of which a body has some or all bytes. A compressed body's `content-length` is not it. */
function wholeSize({ status, headers }: Response): number | undefined {
  const size =
    status === 206 ? RANGE.exec(headers.get("content-range") ?? "")?.[2] : headers.get("content-length");
  return !size || size === "*" || headers.has("content-encoding") ? undefined : Number(size);
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

function networkError(what: string, cause: unknown): GossamerError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new GossamerError(
    "network",
    `${what} (${why}). Check the connection and the address; in a browser the server must allow this page's origin (CORS).`,
    { status: 502, cause },
  );
}
