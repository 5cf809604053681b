/** A store whose values are files in a folder, for Node, Deno and Bun. */

import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { ModelStore } from "../types.js";

export function folderStore(folder: string): ModelStore {
  return {
    get: (name) => read(join(folder, name)),
    async put(name, value) {
      const path = join(folder, name);
      // A concurrent reader finds the old value or the new one.
      const draft = `${path}.${randomUUID()}`;
      await mkdir(dirname(path), { recursive: true });
      try {
        await writeFile(draft, value);
        await rename(draft, path);
      } catch (error) {
        await rm(draft, { force: true });
        throw error;
      }
    },
    delete: (name) => rm(join(folder, name), { force: true }),
  };
}

/** Reads a file in one operation, if it exists. `readFile` reads half a megabyte at a time. */
async function read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const file = await open(path).catch(() => undefined);
  if (!file) return undefined;
  try {
    const bytes = new Uint8Array((await file.stat()).size);
    const { bytesRead } = await file.read(bytes);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
