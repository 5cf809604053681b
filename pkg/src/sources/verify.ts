/** Small files that must be the ones that were listed; weights are checked as they stream. */

import { GossamerError } from "../errors.js";
import type { ListedFile } from "./source.js";

/** Throws if a file has another size or another hash than the place said. */
export async function checkListed(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  { size, oid }: ListedFile,
): Promise<void> {
  if (size !== undefined && bytes.byteLength !== size) {
    throw wrong(name, `it has ${bytes.byteLength} bytes, and should have ${size}`);
  }
  // Pages that did not come by https cannot compute hashes.
  if (oid === undefined || !globalThis.crypto?.subtle) return;
  const header = new TextEncoder().encode(`blob ${bytes.byteLength}\0`);
  const blob = await new Blob([header, bytes]).arrayBuffer();
  const found = hexadecimal(await crypto.subtle.digest("SHA-1", blob));
  if (found !== oid) throw wrong(name, `git's hash of it is ${found}, and should be ${oid}`);
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
