/** A place that a model's files come from. */

/** A file that is there. */
export interface OpenFile {
  /** Its bytes, to be read once. Leaving the loop early closes the file or stops the download. */
  chunks: AsyncIterable<Uint8Array>;
  /** Its size, where the place knows it for certain. */
  size: number | undefined;
}

/** A file that is not there: where it was looked for, and what was found instead. */
export interface Absent {
  absent: string;
}

/** Files by name. */
export interface Source {
  /** The model's name, for `info`, progress and messages. */
  readonly model: string;
  readonly revision?: string | undefined;
  /** Opens a file. Rejects if the place itself fails; that a file is not there is an answer. */
  open(file: string, signal: AbortSignal | undefined): Promise<OpenFile | Absent>;
}

/** The whole of a small file. */
export async function readAll(file: OpenFile): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of file.chunks) {
    parts.push(part);
    length += part.byteLength;
  }
  const only = parts[0];
  if (parts.length === 1 && only) return only;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
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
