/** Downloads that go on: servers that ask for patience get it, and a body that breaks off is continued where it stopped. */

import { checkAborted, GossamerError } from "../errors.js";
import { streamChunks } from "./source.js";

/** Times that something is tried without getting any further. */
const TRIES = 4;
/** Milliseconds before the second time; each further pause is twice as long, give or take a half. */
const PAUSE = 250;
/** The longest pause that a server may ask for. */
const LONGEST_PAUSE = 30_000;
/** Milliseconds without a byte after which a connection is given up. */
const STALL = 30_000;
/** Statuses that may be others a moment later. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];

/** One file by HTTP. */
export class Download {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #signal: AbortSignal | undefined;

  constructor(url: string, headers: Record<string, string>, signal: AbortSignal | undefined) {
    this.#url = url;
    this.#headers = headers;
    this.#signal = signal;
  }

  /** The server's answer, once it is none that passes. */
  async open(): Promise<Connection> {
    for (let failures = 1; ; failures++) {
      let pause = backoff(failures);
      try {
        const connection = await this.#connect(0);
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

  /** All bytes of the body, of which `first` is the beginning. */
  async *chunks(first: Connection): AsyncGenerator<Uint8Array> {
    const { response } = first;
    const size = bodySize(response);
    let connection: Connection | undefined = first;
    let received = 0;
    for (let failures = 1; ; failures++) {
      try {
        connection ??= await this.#continue(response, received);
        for await (const chunk of connection.chunks()) {
          received += chunk.byteLength;
          failures = 0;
          yield chunk;
        }
        checkAborted(this.#signal);
        if (size === undefined || received === size) return;
        throw new Error(`it ended after ${received} of ${size} bytes`);
      } catch (error) {
        checkAborted(this.#signal);
        if (error instanceof GossamerError) throw error;
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
  async #continue(first: Response, received: number): Promise<Connection> {
    const connection = await this.#connect(received);
    const { response } = connection;
    const size = bodySize(first);
    const [, start, total] =
      /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "") ?? [];
    const same =
      ["etag", "last-modified"].every((name) => response.headers.get(name) === first.headers.get(name)) &&
      (response.status === 206
        ? Number(start) === received && (total === "*" || Number(total) === size)
        : response.status === 200 && bodySize(response) === size);
    if (same) {
      // Some servers begin anew.
      if (response.status === 200) connection.skip = received;
      return connection;
    }
    connection.close();
    if (PASSING.includes(response.status)) throw new Error(`HTTP ${response.status}`);
    throw networkError(
      `The download of ${this.#url} broke off after ${received} bytes`,
      new Error("the file changed meanwhile"),
    );
  }

  async #connect(from: number): Promise<Connection> {
    const connection = new Connection(this.#signal);
    try {
      const range = from === 0 ? {} : { range: `bytes=${from}-` };
      await connection.open(this.#url, { ...this.#headers, ...range });
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
  readonly #signal: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort(this.#signal?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #response: Response | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  get response(): Response {
    return this.#response as Response;
  }

  async open(url: string, headers: Record<string, string>): Promise<void> {
    this.#wait();
    this.#response = await fetch(url, { headers, signal: this.#controller.signal });
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
    const stalled = new Error(`nothing arrived for ${STALL / 1000} seconds`);
    this.#timer = setTimeout(() => this.#controller.abort(stalled), STALL);
  }
}

/** The size of the bytes that will come out of a body. A compressed body's `content-length` is not it. */
export function bodySize(response: Response): number | undefined {
  const length = response.headers.get("content-length");
  return length === null || response.headers.has("content-encoding") ? undefined : Number(length);
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
