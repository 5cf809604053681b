/**
 * Stores files in pieces, each with its hash, so that a piece is read back unchanged or not at all.
 */

import { openContents } from "../sources/files.js";
import { readAll } from "../sources/source.js";
import { hexadecimal } from "../sources/verify.js";
import type { ModelStore } from "../types.js";

/**
 * Size of a piece in bytes (the last one of a file may be smaller). It fits into key-value stores,
 * and is the most that an interrupted download loses.
 */
export const PIECE = 1 << 22;

/** A part of a file. */
export interface Piece {
  start: number;
  length: number;
  sha256: string;
}

/** A file with stored pieces. */
export interface KeptFile {
  /** Size of the whole file in bytes, if it is known. */
  size?: number;
  /** ETag or date of the file's version. The rest must have the same. */
  validator?: string;
  /** The stored pieces, in order. There may be gaps. */
  pieces: Piece[];
}

/** Number of stored bytes of a file. */
export const keptBytes = ({ pieces }: KeptFile): number =>
  pieces.reduce((sum, { length }) => sum + length, 0);

export const pieceName = (file: string, { start }: Pick<Piece, "start">): string => `${file}/${start}`;

/** Stores a piece. */
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

/** Reads a piece. Undefined if the store has lost or changed it. */
export async function getPiece(
  store: ModelStore,
  file: string,
  piece: Piece,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const bytes = await getValue(store, pieceName(file, piece));
  return bytes?.byteLength === piece.length && (await sha256(bytes)) === piece.sha256 ? bytes : undefined;
}

/** Reads a value. Undefined if it does not exist. */
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
