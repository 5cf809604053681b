/** Saves a model as files. */

import type { Call, Results } from "./engine/call.js";
import type { CallOptions, SavedFile, SaveOptions } from "./types.js";

/** Maximum number of bytes that are copied out of wasm at a time. */
const PIECE = 1 << 22;

/** Runs a call. */
type Run = <Name extends keyof Results>(
  call: Call<Name>,
  signal: AbortSignal | undefined,
) => Promise<Results[Name]>;

/** Options of {@link save}. */
interface Saving extends SaveOptions, CallOptions {
  /** Whether to save the model without what the options of `load` changed, as caches do. */
  original?: boolean;
}

/** Lists the files. Their bytes are produced when they are read. */
export async function save(run: Run, { shard, original, signal }: Saving): Promise<SavedFile[]> {
  const options = { ...(shard !== undefined && { shard }), ...(original && { original }) };
  const files = await run({ name: "save", inputs: undefined, options }, signal);
  return files.map(({ path, size }, file) => {
    const read = (offset: number) => {
      const length = Math.min(PIECE, size - offset);
      return run({ name: "readSaved", inputs: { file, offset, length }, options }, signal);
    };
    return { path, size, stream: () => stream(size, read) };
  });
}

/** Streams a file, a piece whenever the consumer asks for one. */
function stream(
  size: number,
  read: (offset: number) => Promise<ArrayBuffer>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let offset = 0;
  return new ReadableStream(
    {
      async pull(controller) {
        if (offset >= size) return controller.close();
        const piece = new Uint8Array(await read(offset));
        offset += piece.byteLength;
        controller.enqueue(piece);
      },
    },
    { highWaterMark: 0 },
  );
}
