/** Splits a call into parts for several workers, by the number of tokens. */

import { type Call, severalInputs, withInputs } from "../engine/call.js";

/** Some of a call's inputs. */
export interface Part {
  call: Call;
  /** Index of its first input in the whole call. */
  first: number;
  /** Approximate number of tokens. */
  tokens: number;
  /**
   * Whether the part must run alone on a worker, since a worker failed while it ran beside others.
   */
  alone?: boolean;
}

/** Parts per worker. With several parts, a worker that had short ones takes more of them. */
const PARTS = 3;
/**
 * Minimum number of tokens of a part: enough that messages and the reading of weights cost little
 * compared to the work.
 */
const FEWEST = 128;
/**
 * Maximum number of tokens of a part: few enough that a short call does not wait long behind it.
 */
const MOST = 512;
/**
 * Maximum number of tokens of all parts that a worker may have at once: short parts are faster
 * together.
 */
export const SHARED = FEWEST;

/** Splits a call into parts, in order. */
export function split(call: Call, workers: number, maxTokens: number): Part[] {
  const inputs = workers > 1 ? severalInputs(call) : undefined;
  if (!inputs) return [{ call, first: 0, tokens: whole(call) }];
  const lengths = inputs.map((input) => Math.min(maxTokens, estimate(input)));
  const total = lengths.reduce((sum, tokens) => sum + tokens, 0);
  const size = Math.min(MOST, Math.max(FEWEST, total / (PARTS * workers)));
  // The same number for each worker, all of about the same size. Otherwise the others wait at the
  // end for the worker with the last part.
  const count = Math.ceil(total / size / workers) * workers;
  const parts: Part[] = [];
  let before = 0;
  /** Index of the part that contains the middle of the next input, which has `tokens` tokens. */
  const place = (tokens: number) => Math.floor(((before + tokens / 2) / total) * count);
  for (let first = 0; first < inputs.length; ) {
    const number = place(lengths[first] as number);
    let end = first;
    let tokens = 0;
    do {
      const length = lengths[end++] as number;
      before += length;
      tokens += length;
    } while (end < inputs.length && place(lengths[end] as number) === number);
    parts.push({ call: withInputs(call, inputs.slice(first, end)), first, tokens });
    first = end;
  }
  return parts;
}

/** Approximate number of tokens of a call. */
function whole({ name, inputs }: Call): number {
  // Tokens have about four bytes.
  if (name === "fetch") return (inputs as { body: ArrayBuffer }).body.byteLength >> 2;
  const count = (value: unknown, depth: number): number => {
    if (typeof value === "string") return estimate(value);
    // Valid inputs are not deeper: a body, its inputs, and lists of token ids.
    if (typeof value !== "object" || value === null || depth > 3) return 1;
    return Object.values(value).reduce((sum, item) => sum + count(item, depth + 1), 0);
  };
  return count(inputs, 0);
}

/**
 * Approximate number of tokens of an input. A token has about four letters in the Latin alphabet,
 * and one or two characters in most other scripts. An exact count would need the tokenizer, which
 * is in the workers.
 */
export function estimate(input: string | readonly (string | number)[]): number {
  // Token ids, or the texts of a pair.
  if (typeof input !== "string") {
    return input.reduce<number>((sum, item) => sum + (typeof item === "string" ? estimate(item) : 1), 0);
  }
  let quarters = 8;
  for (let i = 0; i < input.length; i++) quarters += input.charCodeAt(i) < 0x250 ? 1 : 3;
  return quarters >> 2;
}
