/** `gossamer-embed quantize`: writes a model with weights of few bits. */

import { randomUUID } from "node:crypto";
import { lstat, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { writeAt } from "../cache/write-at.js";
import type { Embedder } from "../embedder.js";
import type { EntryPoint } from "../entry-point.js";
import { streamChunks } from "../sources/source.js";
import type { SavedFile } from "../types.js";
import { type CommandSpec, formatSize, type Given, readSize, UsageError } from "./arguments.js";
import { loadFor, MODEL, MODEL_OPTIONS } from "./model.js";

export const QUANTIZE: CommandSpec = {
  about: "Write a model with weights of few bits: smaller, and faster to load",
  positionals: [MODEL],
  options: {
    ...MODEL_OPTIONS,
    dtype: {
      value: "DTYPE",
      values: ["q8", "q6", "q4"],
      isRequired: true,
      help: "Bits of the weights: 8; about 6 in the files, and 8 in memory; or 4 in the feed-forward blocks",
    },
    shard: { value: "SIZE", help: 'Maximum size of a file, for platforms that have a limit: "24MiB"' },
    output: { value: "OUTPUT", short: "o", isRequired: true, help: "Folder to be made" },
  },
};

/** Loads, quantises and writes. */
export async function quantize(
  load: EntryPoint["load"],
  { positionals, options }: Given,
  signal: AbortSignal,
): Promise<void> {
  const [model = ""] = positionals;
  const { output = "", shard } = options;
  const size = shard === undefined ? undefined : readSize(shard);
  if (size !== undefined && !(size > 0)) {
    throw new UsageError(
      `invalid value '${shard}' for '--shard <SIZE>': write a number of bytes, such as 24MiB`,
      "gossamer-embed quantize [OPTIONS] --dtype <DTYPE> --output <OUTPUT> <ID|DIR>",
    );
  }
  if (await isThere(output)) throw new Error(`${output} is there already: name a folder that is not`);
  const embedder = await loadFor(load, model, options, { saveable: true, signal });
  try {
    const files = await embedder.save({ shard: size });
    await write(files, output, signal).catch((error: unknown) => {
      throw new Error(`${output} cannot be written: ${error instanceof Error ? error.message : error}`);
    });
    console.log(summary(embedder, files, output));
  } finally {
    embedder.dispose();
  }
}

/** Writes the files to a temporary folder beside the output, which then gets its final name. */
async function write(files: SavedFile[], output: string, signal: AbortSignal): Promise<void> {
  const target = resolve(output);
  const parent = dirname(target);
  await mkdir(parent, { recursive: true });
  const unfinished = join(parent, `${basename(target)}.${randomUUID().slice(0, 8)}.part`);
  await mkdir(unfinished);
  try {
    for (const file of files) await writeFile(join(unfinished, file.path), file, signal);
    signal.throwIfAborted();
    // `rename` would replace an empty folder, and a link to one.
    if (await isThere(target)) throw new Error("it is there by now: name a folder that is not");
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    throw error;
  }
}

async function writeFile(path: string, { stream }: SavedFile, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const file = await open(path, "wx");
  try {
    let at = 0;
    for await (const chunk of streamChunks(stream(), signal)) {
      signal.throwIfAborted();
      await writeAt(file, chunk, at);
      at += chunk.byteLength;
    }
  } finally {
    await file.close();
  }
}

/** Whether there is anything at a path, even a link to nothing. */
function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function summary({ info }: Embedder, files: SavedFile[], output: string): string {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  return `${output}: ${files.length} files, ${formatSize(bytes)}; ${info.parameters} parameters in ${info.dtype}`;
}
