/** Files in a local folder, for Node, Deno and Bun. */

import { open } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { GossamerError } from "../errors.js";
import type { Absent, OpenFile, Source } from "./source.js";

const CHUNK = 1 << 20;

/** A source of the files in a folder, given by path or `file:` URL. */
export function directorySource(folder: string | URL): Source {
  const base = typeof folder === "string" ? folder : fileURLToPath(folder);
  return {
    model: base,
    async open(file): Promise<OpenFile | Absent> {
      const path = join(base, file);
      try {
        const handle = await open(path);
        const stat = await handle.stat();
        // The file is opened again when it is read. An aborted load would otherwise leave it open.
        await handle.close();
        if (stat.isFile()) return { chunks: fileChunks(path), size: stat.size };
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

/** Reads with two buffers in turn: one chunk is processed while the next is read. */
async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  const handle = await open(path);
  const buffers: [Uint8Array, Uint8Array] = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)];
  let pending = handle.read(buffers[0], 0, CHUNK);
  try {
    for (;;) {
      const { bytesRead } = await pending;
      if (bytesRead === 0) return;
      buffers.reverse();
      pending = handle.read(buffers[0], 0, CHUNK);
      yield buffers[1].subarray(0, bytesRead);
    }
  } finally {
    await pending.catch(() => {});
    await handle.close();
  }
}
