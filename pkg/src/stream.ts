/** Any number of inputs → batches of results, in order and in bounded memory. */

import { onAbort } from "./abort.js";
import { aborted, checkAborted, GossamerError } from "./errors.js";
import { yieldToEventLoop } from "./event-loop.js";
import { estimate } from "./pool/split.js";
import type { BatchOf } from "./types.js";

/** Calls that may be under way: while one's results are used, workers do the next one. */
const AHEAD = 2;

/** Inputs, one after the other. */
export type Source<Input> = Iterable<Input> | AsyncIterable<Input>;

/** A call that is under way, and its inputs. */
interface UnderWay<Input, Result> extends BatchOf<Input> {
  result: Promise<Result>;
}

/**
 * Runs calls over a source's inputs, as many at a time as have about `batchTokens` tokens, or as there are if the source is
 * slow. It is read no faster than the results are taken, and told when no more are wanted.
 */
export async function* stream<Input extends string | readonly number[], Result extends object>(
  source: Source<Input>,
  run: (inputs: Input[], first: number, signal: AbortSignal) => Promise<Result>,
  batchTokens: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Result & BatchOf<Input>, void, undefined> {
  if (typeof batchTokens !== "number" || !(batchTokens > 0)) {
    throw invalid(`batchTokens is ${String(batchTokens)}; it must be a number above 0`);
  }
  checkAborted(signal);
  const reader = new Reader(source);
  const controller = new AbortController();
  const stopped = new Promise<never>((_, reject) => {
    if (signal) controller.signal.addEventListener("abort", () => reject(aborted(signal)));
  });
  stopped.catch(() => {});
  const ignore = onAbort(signal, () => controller.abort());
  const underWay: UnderWay<Input, Result>[] = [];
  let first = 0;
  let idle: Promise<void> | undefined;

  const start = () => {
    const inputs = reader.take();
    const result = run(inputs, first, controller.signal);
    // It is awaited in its turn.
    result.catch(() => {});
    underWay.push({ first, inputs, result });
    first += inputs.length;
    idle = undefined;
  };

  try {
    for (;;) {
      const reading = reader.read(batchTokens);
      if (!reading && reader.hasSome && underWay.length < AHEAD) {
        start();
        continue;
      }
      const [current] = underWay;
      if (!current && !reading) {
        reader.check();
        return;
      }
      // With nothing else to do, what there is need not wait for a source that makes us wait.
      if (reading && !current && reader.hasSome) idle ??= yieldToEventLoop();
      const finished = current?.result.then(() => current);
      const paused = idle?.then(() => idle && start());
      const events = [reading, finished, paused, stopped].filter((event) => event !== undefined);
      if ((await Promise.race(events)) === undefined || !current) continue;
      underWay.shift();
      yield Object.assign(await current.result, { first: current.first, inputs: current.inputs });
      checkAborted(signal);
    }
  } finally {
    ignore();
    controller.abort();
    await reader.leave();
  }
}

/** Reads a source, and keeps what was not taken yet. */
class Reader<Input extends string | readonly number[]> {
  readonly #iterator: Iterator<Input> | AsyncIterator<Input>;
  #inputs: Input[] = [];
  /** About so many tokens these have. */
  #tokens = 0;
  #reading: Promise<void> | undefined;
  #ended = false;
  #failure: { error: unknown } | undefined;

  constructor(source: Source<Input>) {
    this.#iterator = iteratorOf(source);
  }

  /** Whether there is something to take. */
  get hasSome(): boolean {
    return this.#inputs.length > 0;
  }

  /** Reads until so many tokens are kept; if the source makes us wait, this is the promise of a next input. */
  read(tokens: number): Promise<void> | undefined {
    while (!this.#ended && !this.#reading && this.#tokens < tokens) {
      try {
        const item = this.#iterator.next();
        if ("then" in item) this.#reading = this.#wait(item);
        else this.#keep(item);
      } catch (error) {
        this.#fail(error);
      }
    }
    return this.#tokens < tokens ? this.#reading : undefined;
  }

  /** All that is kept. */
  take(): Input[] {
    const inputs = this.#inputs;
    this.#inputs = [];
    this.#tokens = 0;
    return inputs;
  }

  /** Throws what the source has thrown: after what it gave before. */
  check(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Tells the source that it is not read on. If it is about to give an input, it may take its time: nobody waits for it. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const left = Promise.resolve(this.#iterator.return?.());
    if (this.#reading) left.catch(() => {});
    else await left;
  }

  async #wait(item: Promise<IteratorResult<Input, unknown>>): Promise<void> {
    try {
      this.#keep(await item);
    } catch (error) {
      this.#fail(error);
    }
    this.#reading = undefined;
  }

  #keep({ done, value }: IteratorResult<Input, unknown>): void {
    if (done) {
      this.#ended = true;
      return;
    }
    this.#inputs.push(value as Input);
    // What is neither a text nor token ids is refused with its batch.
    this.#tokens += estimate(Array.isArray(value) ? (value as Input) : String(value));
  }

  #fail(error: unknown): void {
    this.#ended = true;
    this.#failure = { error };
  }
}

function iteratorOf<Input>(source: Source<Input>): Iterator<Input> | AsyncIterator<Input> {
  if (typeof source === "object" && source !== null) {
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source) return source[Symbol.iterator]();
  }
  throw invalid("pass a list of texts, or anything else that `for await` goes through");
}

function invalid(why: string): GossamerError {
  return new GossamerError("invalid_input", `These inputs cannot be streamed: ${why}.`, { status: 400 });
}
