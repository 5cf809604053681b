/** Sources of a model's files. */

import { GossamerError } from "../errors.js";

/** A file that exists. */
export interface OpenFile {
  /**
   * The bytes of the file, to be read once. A chunk is valid until the next one is requested.
   * Leaving the loop early closes the file or stops the download.
   */
  chunks: AsyncIterable<Uint8Array>;
  /** Size of the file in bytes, if the source knows it for certain. */
  size: number | undefined;
  /** ETag or date of this version of the file. */
  validator?: string | undefined;
}

/** A file that does not exist. `absent` says where it was looked for and what was found instead. */
export interface Absent {
  absent: string;
}

/** All files of a source by name, with what the source knows about them. */
export type Listing = ReadonlyMap<string, ListedFile>;

export interface ListedFile {
  readonly size?: number | undefined;
  readonly sha256?: string | undefined;
  /** Git's hash of the file: the SHA-1 of a header and its bytes. */
  readonly oid?: string | undefined;
}

/** A model on the Hub, or a part of it. */
export interface HubModel {
  id: string;
  revision?: string | undefined;
  subfolder?: string | undefined;
  /** A file in the folder. */
  file?: string | undefined;
}

/** An adapter: its name, and its folder among the files. */
export interface AdapterFolder {
  name: string;
  folder: string;
}

/** A source of files. */
export interface Source {
  /** The model's name, for `info`, progress and messages. */
  readonly model: string;
  /** Whether files come over a network, so that it is worth requesting them early. */
  readonly isRemote?: boolean | undefined;
  readonly revision?: string | undefined;
  /** The weight file to load, if the model's address or the options name one. */
  readonly file?: string | undefined;
  /** The names of all files, if the source knows them without asking anybody. */
  readonly names?: readonly string[] | undefined;
  /**
   * Identifies the model in a cache. Absent if files may change unnoticed: such a model is not
   * cached.
   */
  readonly identity?: Identity | undefined;
  /** The adapter that is to be merged into the model. */
  readonly adapter?: AdapterFolder | undefined;
  /** Lists the files, if the source can. Must be awaited before any file is opened. */
  list?(signal: AbortSignal | undefined): Promise<Listing | undefined>;
  /**
   * Opens a file, from byte `start` on if its size is known. Rejects if the source fails. A file
   * that does not exist is a result, not an error.
   */
  open(file: string, signal: AbortSignal | undefined, start?: number): Promise<OpenFile | Absent>;
}

/** Identifies a model in a cache. */
export interface Identity {
  /** Everything except the version: host, name, folder, file. */
  readonly key: string;
  /**
   * The commit, or the user's name for the version. Files of the same version are the same. Known
   * after `list`.
   */
  readonly version: string | undefined;
  /** The requested branch or tag. */
  readonly ref: string | undefined;
  /** Whether the source could not be reached by `list`. */
  readonly away?: boolean;
  /** Name and folder of a Hub model. */
  readonly hub?: { readonly id: string; readonly folder: string };
}

/** Maximum memory in bytes that is allocated for a file before it has arrived. */
const MOST_AT_ONCE = 1 << 24;

/**
 * Maximum size in bytes of a file that is read as a whole: several times that of the largest
 * tokenizer.
 */
const MOST_AT_ALL = 1 << 27;

/** Reads a small file as a whole. */
export async function readAll(file: OpenFile, most = MOST_AT_ALL): Promise<Uint8Array<ArrayBuffer>> {
  // The size that a server states is not always right.
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

/** The chunks of a stream. (Streams are not iterable in every browser.) */
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

/** The error for a file that the source has listed, or had before, and that is gone. */
export function gone(name: string, { absent }: Absent): GossamerError {
  return new GossamerError("network", `${name} is no longer there: ${absent}. Try again later.`, {
    status: 502,
  });
}
