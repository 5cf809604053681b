/** Files as a store has them: in pieces, each with its hash, so that what is read back is what was written or nothing. */

import { openContents } from "../sources/files.js";
import { readAll } from "../sources/source.js";
import { hexadecimal } from "../sources/verify.js";
import type { ModelStore } from "../types.js";

/** Bytes of a piece, but for a file's last: what key-value stores take, and of a broken download is lost at most. */
export const PIECE = 1 << 22;

/** Some bytes of a file. */
export interface Piece {
  start: number;
  length: number;
  sha256: string;
}

/** A file of which pieces are kept. */
export interface KeptFile {
  /** Of the whole, if it is known. */
  size?: number;
  /** What the server told its version by: the rest must be of the same. */
  validator?: string;
  /** In order; there may be gaps. */
  pieces: Piece[];
}

/** Bytes that are kept of a file. */
export const keptBytes = ({ pieces }: KeptFile): number =>
  pieces.reduce((sum, { length }) => sum + length, 0);

export const pieceName = (file: string, { start }: Pick<Piece, "start">): string => `${file}/${start}`;

/** Keeps a piece. */
export async function putPiece(
  store: ModelStore,
  file: string,
  start: number,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Piece> {
  const piece = { start, length: bytes.byteLength, sha256: await sha256(bytes) };
  await store.put(pieceName(file, piece), bytes);
  return piece;
}

/** A piece's bytes, unless the store has lost or changed them. */
export async function getPiece(
  store: ModelStore,
  file: string,
  piece: Piece,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = await getValue(store, pieceName(file, piece));
  return bytes?.byteLength === piece.length && (await sha256(bytes)) === piece.sha256 ? bytes : undefined;
}

/** A value's bytes. */
export async function getValue(
  store: ModelStore,
  name: string,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const contents = await store.get(name);
  if (contents === undefined || contents === null) return undefined;
  if (contents instanceof Uint8Array) return contents as Uint8Array<ArrayBuffer>;
  return readAll(openContents(name, contents, undefined));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return hexadecimal(await crypto.subtle.digest("SHA-256", bytes));
}
