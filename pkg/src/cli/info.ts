/**
 * `gossamer-embed info`: shows what would be loaded, without reading the weights where that is
 * possible.
 */

import type { EntryPoint } from "../entry-point.js";
import type { CommandSpec, Given } from "./arguments.js";
import { DryRun } from "./dry-run.js";
import { DTYPE, loadFor, MODEL, MODEL_OPTIONS } from "./model.js";

export const INFO: CommandSpec = {
  about:
    "Show as JSON what would be loaded: files and their bytes, memory, and what the model is. Weights are not downloaded: of a safetensors or GGUF file only the header is read",
  positionals: [MODEL],
  options: { ...MODEL_OPTIONS, dtype: DTYPE },
};

/** Loads the model with zeros in place of its weights, and prints what it is. */
export async function info(
  load: EntryPoint["load"],
  { positionals, options }: Given,
  signal: AbortSignal,
): Promise<void> {
  const [model = ""] = positionals;
  const files = new Map<string, number>();
  let dryRun: DryRun | undefined;
  const attempt = (isWhole: boolean) => {
    files.clear();
    return loadFor(load, model, options, { signal, onProgress: undefined }, (place) => {
      dryRun = new DryRun(place, files, isWhole);
      return dryRun;
    });
  };
  const embedder = await attempt(false).catch((error: unknown) => {
    // Zeros may be no valid weights in some format.
    if (dryRun?.hasZeros && !signal.aborted) return attempt(true);
    throw error;
  });
  const { files: weights, spaceId: _, workers: __, ...facts } = embedder.info;
  embedder.dispose();
  const list = Array.from(files, ([path, bytes]) => ({ path, bytes, isWeights: weights.includes(path) }));
  const bytes = list.reduce((sum, file) => sum + file.bytes, 0);
  console.log(JSON.stringify({ ...facts, bytes, files: list }, undefined, 2));
}
