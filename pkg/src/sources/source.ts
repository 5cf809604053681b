/** A place that a model's files come from. */

import { GossamerError } from "../errors.js";

/** A file that is there. */
export interface OpenFile {
  /**
   * Its bytes, to be read once. A chunk holds good until the next is asked for. Leaving the loop early closes the file or
   * stops the download.
   */
  chunks: AsyncIterable<Uint8Array>;
  /** Its size, where the place knows it for certain. */
  size: number | undefined;
  /** What a server tells this version of it by: an ETag, or a date. */
  validator?: string | undefined;
}

/** A file that is not there: where it was looked for, and what was found instead. */
export interface Absent {
  absent: string;
}

/** All files of a place, by name, with what it knows of them. */
export type Listing = ReadonlyMap<string, ListedFile>;

export interface ListedFile {
  readonly size?: number | undefined;
  readonly sha256?: string | undefined;
  /** What git calls it: the SHA-1 of its bytes behind a header. */
  readonly oid?: string | undefined;
}

/** Files by name. */
export interface Source {
  /** The model's name, for `info`, progress and messages. */
  readonly model: string;
  readonly revision?: string | undefined;
  /** The weight file to load, where the model's address or the options name one. */
  readonly file?: string | undefined;
  /** What makes it worth keeping; absent where files may change unseen. */
  readonly identity?: Identity | undefined;
  /** What the place has, if it can tell. To be awaited before any file is opened. */
  list?(signal: AbortSignal | undefined): Promise<Listing | undefined>;
  /**
   * Opens a file, from byte `start` on where its size is known. Rejects if the place itself fails; that a file is not there is
   * an answer.
   */
  open(file: string, signal: AbortSignal | undefined, start?: number): Promise<OpenFile | Absent>;
}

/** What a cache knows a model by. */
export interface Identity {
  /** All but the version: host, name, folder, file. */
  readonly key: string;
  /** A commit, or what the user calls the version: as long as it is the same, the files are. Known once they are listed. */
  readonly version: string | undefined;
  /** The branch or tag that was asked for. */
  readonly ref: string | undefined;
  /** Whether the place could not be reached when it was to be listed. */
  readonly away?: boolean;
  /** Name and folder of a Hub model. */
  readonly hub?: { readonly id: string; readonly folder: string };
}

/** Memory that is taken for a file before it has arrived. */
const MOST_AT_ONCE = 1 << 24;

/** The most bytes of a file that is read as a whole: several times the largest tokenizer's. */
const MOST_AT_ALL = 1 << 27;

/** The whole of a small file. */
export async function readAll(file: OpenFile, most = MOST_AT_ALL): Promise<Uint8Array<ArrayBuffer>> {
  // What a server says of the size is not always so.
  let whole = new Uint8Array(Math.min(file.size ?? 0, MOST_AT_ONCE));
  let length = 0;
  for await (const part of file.chunks) {
    const end = length + part.byteLength;
    if (end > most) {
      throw new GossamerError(
        "network",
        `A file has more than ${most >> 20} MiB, which none of its kind needs.`,
        {
          status: 502,
        },
      );
    }
    if (end > whole.byteLength) {
      const larger = new Uint8Array(Math.max(end, 2 * whole.byteLength));
      larger.set(whole);
      whole = larger;
    }
    whole.set(part, length);
    length = end;
  }
  return whole.subarray(0, length);
}

/** A stream's chunks. (Streams are not iterable in every browser.) */
export async function* streamChunks(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  const cancel = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", cancel);
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        ended = true;
        return;
      }
      yield value;
    }
  } finally {
    signal?.removeEventListener("abort", cancel);
    if (!ended) cancel();
    reader.releaseLock();
  }
}
