/** Writing to files. */

import type { FileHandle } from "node:fs/promises";

/** Writes all bytes of a chunk at a position. One call of `write` may write fewer. */
export async function writeAt(file: FileHandle, chunk: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < chunk.byteLength; ) {
    done += (await file.write(chunk, done, chunk.byteLength - done, at + done)).bytesWritten;
  }
}
