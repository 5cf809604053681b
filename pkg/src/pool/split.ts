/** Cuts a call into parts for several workers, by the number of tokens. */

import { type Call, severalInputs, withInputs } from "../engine/call.js";

/** Some of a call's inputs. */
export interface Part {
  call: Call;
  /** Number of its first input in the whole call. */
  first: number;
  /** About so many tokens. */
  tokens: number;
  /** Whether it must have a worker to itself: with others one died. */
  alone?: boolean;
}

/** Parts for each worker: with several, those that get the shorter ones make up for it. */
const PARTS = 3;
/** Tokens of a part: enough that messages and the reading of weights cost nothing beside the work… */
const FEWEST = 128;
/** …and few enough that a short call need not wait for long behind it. */
const MOST = 512;
/** Tokens of the parts that a worker may have at once, if they are several: so short that they do better together. */
export const SHARED = FEWEST;

/** All of a call, in order. */
export function split(call: Call, workers: number, maxTokens: number): Part[] {
  const inputs = workers > 1 ? severalInputs(call) : undefined;
  if (!inputs) return [{ call, first: 0, tokens: whole(call) }];
  const lengths = inputs.map((input) => Math.min(maxTokens, estimate(input)));
  const total = lengths.reduce((sum, tokens) => sum + tokens, 0);
  const size = Math.min(MOST, Math.max(FEWEST, total / (PARTS * workers)));
  // As many for each, and all of about one size: else the last one keeps a worker busy while the others wait for it.
  const count = Math.ceil(total / size / workers) * workers;
  const parts: Part[] = [];
  let before = 0;
  /** In which part an input lies that comes after the tokens before, by its middle. */
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

/** About how many tokens a call has in all. */
function whole({ name, inputs }: Call): number {
  // A byte of a request is a letter, or about a quarter of what else a token is made of.
  if (name === "fetch") return (inputs as { body: ArrayBuffer }).body.byteLength >> 2;
  const count = (value: unknown, depth: number): number => {
    if (typeof value === "string") return estimate(value);
    // Nothing that wasm takes is deeper: a body, its inputs, and lists of token ids.
    if (typeof value !== "object" || value === null || depth > 3) return 1;
    return Object.values(value).reduce((sum, item) => sum + count(item, depth + 1), 0);
  };
  return count(inputs, 0);
}

/**
 * About how many tokens an input has. Words of the Latin alphabet make one token of some four letters; in most other
 * scripts it is one or two characters. To count them exactly would take the tokenizer, which is with the workers.
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
