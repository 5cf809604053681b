/** Saved models on disk. */

import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Saves a model into a folder; the paths of its files. */
export async function saveInto(directory, model, options) {
  const files = await model.save(options);
  for (const { path, stream } of files) {
    const file = join(directory, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, stream());
  }
  return files.map(({ path }) => path);
}
