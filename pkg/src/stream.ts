/** Turns any number of inputs into batches of results, in order and in bounded memory. */

import { onAbort } from "./abort.js";
import { checkAborted, GossamerError } from "./errors.js";
import { yieldToEventLoop } from "./event-loop.js";
import { estimate } from "./pool/split.js";
import type { BatchOf } from "./types.js";

/** Maximum number of calls under way. While the results of one are used, workers do the next. */
const AHEAD = 2;

/** A source of inputs. */
export type Source<Input> = Iterable<Input> | AsyncIterable<Input>;

/** A call that is under way. */
interface OpenCall<Input, Result> extends BatchOf<Input> {
  result: Promise<Result>;
  isSettled: boolean;
}

/**
 * Runs calls over the inputs of a source, each with about `batchTokens` tokens, or with the inputs
 * that there are if the source is slow. The source is read no faster than results are taken, and is
 * closed when no more are wanted.
 *
 * One loop looks at the state and takes the next step. If there is none, it waits until something
 * wakes it: an input has arrived, a call has settled, or the signal was aborted.
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
  let wake = () => {};
  const reader = new Reader(source, batchTokens, () => wake());
  const controller = new AbortController();
  const ignore = onAbort(signal, () => {
    controller.abort();
    wake();
  });
  const calls: OpenCall<Input, Result>[] = [];
  let first = 0;

  const start = () => {
    const inputs = reader.take();
    const result = run(inputs, first, controller.signal);
    const call = { first, inputs, result, isSettled: false };
    const settle = () => {
      call.isSettled = true;
      wake();
    };
    result.then(settle, settle);
    calls.push(call);
    first += inputs.length;
  };

  try {
    for (;;) {
      checkAborted(signal);
      reader.fill();
      const [oldest] = calls;
      if (reader.hasBatch && calls.length < AHEAD) {
        start();
      } else if (oldest?.isSettled) {
        calls.shift();
        yield Object.assign(await oldest.result, { first: oldest.first, inputs: oldest.inputs });
      } else if (!oldest && reader.isEnded) {
        reader.check();
        return;
      } else if (!oldest && reader.hasSome) {
        // The source is slow and nothing else is being done: these inputs do not wait for more of
        // them.
        await yieldToEventLoop();
        start();
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    ignore();
    controller.abort();
    await reader.leave();
  }
}

/** Reads a source, and keeps the inputs that were not taken yet. */
class Reader<Input extends string | readonly number[]> {
  readonly #iterator: Iterator<Input> | AsyncIterator<Input>;
  readonly #batchTokens: number;
  readonly #arrived: () => void;
  #inputs: Input[] = [];
  /** Approximate number of tokens of these. */
  #tokens = 0;
  #isWaiting = false;
  #ended = false;
  #failure: { error: unknown } | undefined;

  /** `arrived` is called whenever the source has answered after a wait. */
  constructor(source: Source<Input>, batchTokens: number, arrived: () => void) {
    this.#iterator = iteratorOf(source);
    this.#batchTokens = batchTokens;
    this.#arrived = arrived;
  }

  /** Whether there is something to take. */
  get hasSome(): boolean {
    return this.#inputs.length > 0;
  }

  /** Whether there is a whole batch to take, or the last one. */
  get hasBatch(): boolean {
    return this.hasSome && (this.#isFull || this.#ended);
  }

  /** Whether the source has ended or failed, and all its inputs were taken. */
  get isEnded(): boolean {
    return this.#ended && !this.hasSome;
  }

  get #isFull(): boolean {
    return this.#tokens >= this.#batchTokens;
  }

  /** Reads until there is a batch. If the source makes it wait, it goes on by itself afterwards. */
  fill(): void {
    while (!this.#ended && !this.#isWaiting && !this.#isFull) {
      try {
        const item = this.#iterator.next();
        if ("then" in item) void this.#wait(item);
        else this.#keep(item);
      } catch (error) {
        this.#fail(error);
      }
    }
  }

  /** All that is kept. */
  take(): Input[] {
    const inputs = this.#inputs;
    this.#inputs = [];
    this.#tokens = 0;
    return inputs;
  }

  /** Throws the error of the source, if it failed. */
  check(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Closes the source. One that is about to give an input is not waited for. */
  async leave(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const left = Promise.resolve(this.#iterator.return?.());
    if (this.#isWaiting) left.catch(() => {});
    else await left;
  }

  async #wait(item: Promise<IteratorResult<Input, unknown>>): Promise<void> {
    this.#isWaiting = true;
    try {
      this.#keep(await item);
    } catch (error) {
      this.#fail(error);
    }
    this.#isWaiting = false;
    this.fill();
    this.#arrived();
  }

  #keep({ done, value }: IteratorResult<Input, unknown>): void {
    if (done) {
      this.#ended = true;
      return;
    }
    this.#inputs.push(value as Input);
    // A value that is neither a text nor token ids is rejected with its batch.
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
