/**
 * Checks that files are the listed ones and not Git LFS pointers. (Weights are checked while they
 * stream.)
 */

import { GossamerError } from "../errors.js";
import type { ListedFile } from "./source.js";

/** Throws if a file has another size or hash than the listing says. */
export async function checkListed(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  { size, oid }: ListedFile,
): Promise<void> {
  if (size !== undefined && bytes.byteLength !== size) {
    throw wrong(name, `it has ${bytes.byteLength} bytes, and should have ${size}`);
  }
  // Pages that were not loaded by https cannot compute hashes.
  if (oid === undefined || !globalThis.crypto?.subtle) return;
  const header = new TextEncoder().encode(`blob ${bytes.byteLength}\0`);
  const blob = await new Blob([header, bytes]).arrayBuffer();
  const found = hexadecimal(await crypto.subtle.digest("SHA-1", blob));
  if (found !== oid) throw wrong(name, `git's hash of it is ${found}, and should be ${oid}`);
}

/** Start of the pointer that Git LFS leaves in place of a file that was not downloaded. */
const POINTER = new TextEncoder().encode("version https://git-lfs.github.com/spec/");

/** Passes a file's bytes on, and throws if they are a Git LFS pointer. */
export async function* withoutPointer(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  // The start of the file, as long as it may be a pointer.
  let head: number[] | undefined = [];
  for await (const chunk of chunks) {
    if (head) {
      const more = chunk.subarray(0, POINTER.length - head.length);
      const isAlike: boolean = more.every((byte, at) => byte === POINTER[(head as number[]).length + at]);
      if (isAlike) {
        head.push(...more);
        if (head.length === POINTER.length) throw pointer(name);
        continue;
      }
      if (head.length > 0) yield Uint8Array.from(head);
      head = undefined;
    }
    yield chunk;
  }
  if (head && head.length > 0) yield Uint8Array.from(head);
}

function pointer(name: string): GossamerError {
  return new GossamerError(
    "invalid_source",
    `${name} is a Git LFS pointer in place of the file: run \`git lfs pull\` where the model was cloned.`,
    { status: 400 },
  );
}

export function hexadecimal(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function wrong(name: string, why: string): GossamerError {
  return new GossamerError(
    "wrong_hash",
    `${name} is not the file that was listed: ${why}. It was damaged on the way, or changed; load the model again.`,
    { status: 502 },
  );
}
