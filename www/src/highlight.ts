/** Marks tokens in a text, such as those that match a query. */

import type { Token } from "gossamer-embed";
import { html, type TemplateResult } from "lit";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Marks the tokens of a text whose ids are in `wanted`. Positions of tokens are in UTF-8 bytes. */
export function highlight(
  text: string,
  tokens: readonly Token[],
  wanted: ReadonlySet<number>,
): TemplateResult {
  const bytes = encoder.encode(text);
  const slice = (from: number, to?: number) => decoder.decode(bytes.subarray(from, to));
  const pieces: (string | TemplateResult)[] = [];
  let at = 0;
  for (const { start, stop } of joined(tokens.filter(({ id }) => wanted.has(id)))) {
    pieces.push(slice(at, start), html`<mark>${slice(start, stop)}</mark>`);
    at = stop;
  }
  return html`${pieces}${slice(at)}`;
}

/** The ranges of tokens. Adjacent ranges are joined, so that the pieces of a word are one mark. */
function joined(tokens: Token[]): { start: number; stop: number }[] {
  const ranges: { start: number; stop: number }[] = [];
  for (const { start, stop } of tokens) {
    if (start === null || stop === null) continue;
    const last = ranges.at(-1);
    if (last && start <= last.stop) last.stop = Math.max(last.stop, stop);
    else ranges.push({ start, stop });
  }
  return ranges;
}
