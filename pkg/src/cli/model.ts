/** The model that a command works with: its arguments, and loading it. */

import { stat } from "node:fs/promises";
import type { Embedder } from "../embedder.js";
import type { EntryPoint } from "../entry-point.js";
import type { Progress } from "../progress-events.js";
import { WRAP, type Wrap, type WrapOptions } from "../sources/wrap.js";
import type { LoadOptions } from "../types.js";
import { formatSize, type OptionSpec } from "./arguments.js";

/** Name of the model's argument. */
export const MODEL = "<ID|DIR>";

/** Options of every command that loads a model. */
export const MODEL_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  file: {
    value: "FILE",
    help: "The weight file to load, by its path in the folder or repository: a GGUF file, or one that replaces model.safetensors",
  },
  download: {
    value: "DOWNLOAD",
    values: ["auto", "small"],
    help: "Which weight file to download: auto, the default, the smallest that loses nothing; small, one in 8 bits if there is any",
  },
  kind: {
    value: "KIND",
    values: ["dense", "sparse"],
    help: "Load the model as this kind of embedder, though its files say that it is something else",
  },
};

/** Number formats of weights that a command can load. */
export const DTYPE: OptionSpec = {
  value: "DTYPE",
  values: ["auto", "q8", "q6", "q4", "f32"],
  help: "Number format of the weights in memory; auto, the default, is what the model was saved in, or q8",
};

/** Loads `ID`, `ID@REVISION`, a folder or an address. `wrap` replaces the source of its files. */
export async function loadFor(
  load: EntryPoint["load"],
  model: string,
  { file, download, kind, dtype }: Record<string, string | undefined>,
  more: LoadOptions,
  wrap?: Wrap,
): Promise<Embedder> {
  const isFolder = await stat(model).then(
    (found) => found.isDirectory(),
    () => false,
  );
  // To `load`, a folder in this one is written ./folder.
  const source = isFolder && !/^([./\\]|[a-z]:[/\\])/i.test(model) ? `./${model}` : model;
  const bar = new Bar();
  const options: WrapOptions = {
    onWarning: (warning) => bar.say(`gossamer-embed: ${warning.message}`),
    onProgress: (event) => bar.show(event),
    ...more,
    file,
    download: download as LoadOptions["download"],
    kind: kind as LoadOptions["kind"],
    dtype: dtype as LoadOptions["dtype"],
    [WRAP]: wrap,
  };
  try {
    return await load(source, options);
  } catch (error) {
    throw new Error(`${model} cannot be loaded: ${error instanceof Error ? error.message : error}`);
  } finally {
    bar.clear();
  }
}

/** One line on a terminal that shows how much has arrived. */
class Bar {
  readonly #isShown = process.stderr.isTTY === true;
  #width = 0;

  show(event: Progress): void {
    if (!this.#isShown || event.status !== "progress_total") return;
    const line = `${event.name} ${formatSize(event.loaded)}/${formatSize(event.total)}`;
    process.stderr.write(`\r${line.padEnd(this.#width)}`);
    this.#width = line.length;
  }

  /** Prints a line of its own. */
  say(line: string): void {
    this.clear();
    console.error(line);
  }

  clear(): void {
    if (this.#width > 0) process.stderr.write(`\r${" ".repeat(this.#width)}\r`);
    this.#width = 0;
  }
}
