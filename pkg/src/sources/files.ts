/** Files that the caller passes to `load`. */

import { checkAborted, GossamerError } from "../errors.js";
import type { FileContents, ModelFileGetter, ModelFiles } from "../types.js";
import { type Absent, type OpenFile, type Source, streamChunks } from "./source.js";

/** A source of files by name, or of a function that gets them. */
export function filesSource(files: ModelFiles | ModelFileGetter): Source {
  const get = typeof files === "function" ? files : (name: string) => named(files, name);
  return {
    model: "files",
    names: typeof files === "function" ? undefined : namesOf(files),
    async open(name, signal): Promise<OpenFile | Absent> {
      const contents = await got(name, signal, () => get(name, signal));
      if (contents === undefined || contents === null) return { absent: name };
      return openContents(name, contents, signal);
    },
  };
}

/** The names of the files that are there. */
function namesOf(files: ModelFiles): string[] {
  const entries: Iterable<[string, unknown]> = files instanceof Map ? files : Object.entries(files);
  return [...entries].flatMap(([name, contents]) => (contents == null ? [] : [name]));
}

function named(files: ModelFiles, name: string) {
  return (files instanceof Map ? files.get(name) : own(files, name)) as FileContents | null | undefined;
}

async function got<T>(name: string, signal: AbortSignal | undefined, get: () => T | Promise<T>): Promise<T> {
  try {
    return await get();
  } catch (cause) {
    checkAborted(signal);
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new GossamerError(
      "network",
      `The file ${name} could not be got: ${why}. The function that was passed to load threw this; try again, or see to it.`,
      { status: 502, cause },
    );
  }
}

function own(files: object, name: string): unknown {
  return Object.hasOwn(files, name) ? (files as Record<string, unknown>)[name] : undefined;
}

/** Opens a file in any of the accepted forms. */
export function openContents(
  name: string,
  contents: FileContents,
  signal: AbortSignal | undefined,
): OpenFile {
  if (ArrayBuffer.isView(contents)) {
    return whole(new Uint8Array(contents.buffer, contents.byteOffset, contents.byteLength));
  }
  if (isBuffer(contents)) return whole(new Uint8Array(contents));
  if (typeof contents === "object") {
    // Checks for members instead of classes, since `instanceof` rejects values of another realm.
    if ("stream" in contents && typeof contents.stream === "function") {
      return { chunks: streamChunks(contents.stream(), signal), size: contents.size };
    }
    if ("getReader" in contents) return stream(name, contents, signal);
    if ("body" in contents) {
      if ("ok" in contents && contents.ok === false) {
        throw invalid(name, `is a response with HTTP status ${(contents as unknown as Response).status}`);
      }
      if (contents.body) return stream(name, contents.body, signal);
      throw invalid(name, "has no body");
    }
  }
  throw invalid(name, "is not bytes, a Blob, a stream or a Response");
}

function isBuffer(value: unknown): value is ArrayBufferLike {
  return /^\[object (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(value));
}

function whole(bytes: Uint8Array): OpenFile {
  const chunks = async function* () {
    yield bytes;
  };
  return { chunks: chunks(), size: bytes.byteLength };
}

/** Streams that have been opened. A stream that was read to its end looks like an empty one. */
const taken = new WeakSet<ReadableStream>();

function stream(name: string, body: ReadableStream<Uint8Array>, signal: AbortSignal | undefined): OpenFile {
  if (body.locked || taken.has(body)) {
    throw invalid(name, "is a stream that was read before; a stream can be read once");
  }
  taken.add(body);
  return { chunks: streamChunks(body, signal), size: undefined };
}

function invalid(name: string, what: string): GossamerError {
  return new GossamerError(
    "invalid_source",
    `The file ${name} ${what}; pass an ArrayBuffer, a typed array, a Blob, a fresh ReadableStream, or a Response.`,
    { status: 400 },
  );
}
