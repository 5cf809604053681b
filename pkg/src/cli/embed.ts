/** `gossamer-embed embed`: writes the vectors of texts as JSON lines. */

import { once } from "node:events";
import type { Embedder } from "../embedder.js";
import type { EntryPoint } from "../entry-point.js";
import type { EncodeOptions, EncodeSparseOptions, Output } from "../types.js";
import { type CommandSpec, type Given, type OptionSpec, UsageError } from "./arguments.js";
import { DTYPE, loadFor, MODEL, MODEL_OPTIONS } from "./model.js";

const FLAGS: Readonly<Record<string, OptionSpec>> = {
  json: { help: "Each line of the standard input is JSON: a string, or an object with the field text" },
  labels: { help: "Sparse vectors: add the vocabulary's word for each index" },
};

export const EMBED: CommandSpec = {
  about: "Write the vectors of texts as JSON lines. Without TEXT, each line of the standard input is a text",
  positionals: [MODEL, "[TEXT]..."],
  options: {
    ...MODEL_OPTIONS,
    dtype: DTYPE,
    task: { value: "TASK", help: "What the texts are: query or document" },
    "prompt-name": { value: "NAME", help: "One of the model's own prompts to put before the texts" },
    prompt: { value: "TEXT", help: "Text to put before the texts" },
    dimensions: { value: "N", help: "Keep only the first N components of dense vectors" },
    "output-dtype": {
      value: "OUTPUT",
      values: ["float", "int8", "uint8", "binary", "ubinary"],
      help: "Number format of dense vectors",
    },
    "top-k": { value: "N", help: "Sparse vectors: keep only the N entries with the largest weights" },
    workers: { value: "N", help: "Number of worker threads; none by default" },
    ...FLAGS,
  },
};

/** Loads the model, embeds the texts and writes a line for each. */
export async function embed(
  load: EntryPoint["load"],
  { positionals, options }: Given,
  signal: AbortSignal,
): Promise<void> {
  const [model = "", ...texts] = positionals;
  const whole = (name: string) => {
    const value = options[name];
    if (value === undefined) return undefined;
    if (/^\d+$/.test(value)) return Number(value);
    throw usage(`invalid value '${value}' for '--${name} <N>': write a whole number`);
  };
  if (texts.length === 0 && process.stdin.isTTY) {
    throw usage("there is no text: write texts behind the model, or pipe them in, one a line");
  }
  const isJson = options.json !== undefined;
  if (texts.length > 0 && isJson) throw usage("'--json' is for texts of the standard input");
  const inputs = texts.length > 0 ? texts : linesOf(process.stdin, isJson);
  const workers = whole("workers") ?? 0;
  const common = { signal, task: options.task, promptName: options["prompt-name"], prompt: options.prompt };
  const dense = { dimensions: whole("dimensions"), output: options["output-dtype"] as Output | undefined };
  const sparse = { topK: whole("top-k"), labels: options.labels === undefined ? undefined : true };
  const embedder = await loadFor(load, model, options, { workers, signal });
  try {
    const isSparse = embedder.info.kind === "sparse";
    checkMeant(isSparse ? dense : sparse, isSparse);
    const lines = isSparse
      ? sparseLines(embedder, inputs, { ...common, ...sparse })
      : denseLines(embedder, inputs, { ...common, ...dense });
    for await (const line of lines) {
      if (!process.stdout.write(`${JSON.stringify(line)}\n`)) await once(process.stdout, "drain", { signal });
    }
  } finally {
    embedder.dispose();
  }
}

/** Throws for options of the other kind of vectors, which would have no effect. */
function checkMeant(others: object, isSparse: boolean): void {
  const [name] = Object.entries(others).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined) return;
  const option = { topK: "top-k", output: "output-dtype" }[name] ?? name;
  const [is, other] = isSparse ? ["sparse", "dense"] : ["dense", "sparse"];
  throw new Error(`--${option} is for ${other} vectors, and those of this model are ${is}: leave it out.`);
}

type Texts = Iterable<string> | AsyncIterable<string>;

async function* denseLines(embedder: Embedder, texts: Texts, options: EncodeOptions): AsyncGenerator<object> {
  for await (const batch of embedder.stream<string, Output>(texts, options)) {
    const scales = "scales" in batch ? batch.scales : undefined;
    for (const [at, embedding] of batch.toList().entries()) {
      yield {
        index: batch.first + at,
        embedding,
        ...(scales && { scale: scales[at] }),
        tokens: batch.tokens[at],
        truncated: batch.truncated[at],
      };
    }
  }
}

async function* sparseLines(
  embedder: Embedder,
  texts: Texts,
  options: EncodeSparseOptions,
): AsyncGenerator<object> {
  for await (const { first, vectors } of embedder.streamSparse(texts, options)) {
    for (const [at, { indices, values, labels }] of vectors.entries()) {
      const lists = { indices: Array.from(indices), values: Array.from(values) };
      yield { index: first + at, ...lists, ...(labels && { labels }) };
    }
  }
}

/** The texts of the standard input, one a line. */
async function* linesOf(input: AsyncIterable<Uint8Array>, isJson: boolean): AsyncGenerator<string> {
  // Not readline, which also ends lines at U+2028 and at a lone CR.
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const decode = (chunk?: Uint8Array) => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch {
      throw new Error(`the standard input is not UTF-8 (behind line ${number}); convert it first`);
    }
  };
  let number = 0;
  const read = (line: string) => {
    number++;
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    return isJson ? fromJson(text, number) : text;
  };
  let rest = "";
  for await (const chunk of input) {
    const [head = "", ...lines] = decode(chunk).split("\n");
    rest += head;
    for (const line of lines) {
      yield read(rest);
      rest = line;
    }
  }
  rest += decode();
  if (rest !== "") yield read(rest);
}

function fromJson(line: string, number: number): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`line ${number} of the standard input is not JSON: ${(error as Error).message}`);
  }
  const text = typeof value === "object" && value !== null ? (value as { text?: unknown }).text : value;
  if (typeof text === "string") return text;
  throw new Error(
    `line ${number} of the standard input is neither a string nor an object with the string text`,
  );
}

function usage(message: string): UsageError {
  return new UsageError(message, "gossamer-embed embed [OPTIONS] <ID|DIR> [TEXT]...");
}
