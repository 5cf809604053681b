/** Files of a local folder, in Node, Deno and Bun. */

import { open } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { GossamerError } from "../errors.js";
import type { Absent, OpenFile, Source } from "./source.js";

const CHUNK = 1 << 20;

/** A folder, by path or `file:` URL. */
export function directorySource(folder: string | URL): Source {
  const base = typeof folder === "string" ? folder : fileURLToPath(folder);
  return {
    model: base,
    async open(file): Promise<OpenFile | Absent> {
      const path = join(base, file);
      try {
        const handle = await open(path);
        const stat = await handle.stat();
        if (stat.isFile()) return { chunks: fileChunks(handle), size: stat.size };
        await handle.close();
        return { absent: `${path} (not a file)` };
      } catch (error) {
        const code = (error as { code?: unknown }).code;
        if (code === "ENOENT" || code === "ENOTDIR" || code === "EISDIR") return { absent: path };
        const why = error instanceof Error ? error.message : String(error);
        throw new GossamerError("invalid_source", `${path} cannot be read (${why}); check its permissions.`, {
          status: 400,
          cause: error,
        });
      }
    },
  };
}

/** One buffer for the whole file: each chunk is taken in before the next is read. */
async function* fileChunks(handle: Awaited<ReturnType<typeof open>>): AsyncGenerator<Uint8Array> {
  try {
    const buffer = new Uint8Array(CHUNK);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, CHUNK);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
