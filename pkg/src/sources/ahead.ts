/**
 * A source whose files are requested before they are asked for, so that the requests need not wait
 * for the WebAssembly module, nor for each other.
 */

import { onAbort } from "../abort.js";
import { type Absent, type Listing, type OpenFile, readAll, type Source } from "./source.js";

/** Small files that nearly every model has, and that the loader asks for first. */
const SMALL = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "modules.json",
  "sentence_bert_config.json",
  "config_sentence_transformers.json",
  "1_Pooling/config.json",
];
/** Configurations of modules, in places that list their files. */
const MODULE = /^\d+_\w+\/config\.json$/;

/** The most bytes of a weight file that are held before they are asked for. */
const MOST = 1 << 22;

/** The weight file that the loader asks for if none was chosen. */
const USUAL = "model.safetensors";

export class Ahead implements Source {
  readonly model: string;
  readonly revision: string | undefined;
  readonly #place: Source;
  readonly #controller = new AbortController();
  readonly #ignore: () => void;
  readonly #opened = new Map<string, Promise<OpenFile | Absent>>();

  constructor(place: Source, signal: AbortSignal | undefined) {
    this.#place = place;
    this.model = place.model;
    this.revision = place.revision;
    this.#ignore = onAbort(signal, () => this.#controller.abort(signal?.reason));
  }

  /**
   * Requests what loading most likely needs: small files, and the weights, which are `file` or the
   * usual ones.
   */
  start(listing: Listing | undefined, file: string | undefined): void {
    const weights = file ?? USUAL;
    // A GGUF file holds all that small files would say.
    if (!/\.gguf$/i.test(weights)) {
      const modules = [...(listing?.keys() ?? [])].filter((name) => MODULE.test(name));
      const names = new Set([...SMALL, ...modules]);
      for (const name of names) if (!listing || listing.has(name)) this.#ask(name, (file) => whole(file));
    }
    if (!listing || listing.has(weights)) this.#ask(weights, async (file) => begun(file));
  }

  /** Has a file read that was opened before. */
  adopt(name: string, file: OpenFile): void {
    this.#opened.set(name, Promise.resolve(file));
  }

  async open(name: string, signal: AbortSignal | undefined): Promise<OpenFile | Absent> {
    const opened = this.#opened.get(name);
    this.#opened.delete(name);
    return opened ?? this.#place.open(name, signal);
  }

  /** Stops the requests whose files nobody has asked for. */
  close(): void {
    this.#ignore();
    this.#controller.abort();
    this.#opened.clear();
  }

  #ask(name: string, read: (file: OpenFile) => Promise<OpenFile>): void {
    const ask = async () => {
      const file = await this.#place.open(name, this.#controller.signal);
      return "absent" in file ? file : read(file);
    };
    const asked = ask();
    // Whoever asks for the file hears of the failure.
    asked.catch(() => {});
    this.#opened.set(name, asked);
  }
}

/** A small file, read to its end. */
async function whole(file: OpenFile): Promise<OpenFile> {
  const bytes = await readAll(file);
  const chunks = async function* () {
    yield bytes;
  };
  return { ...file, chunks: chunks() };
}

/** A file whose first bytes are read, and held until they are asked for. */
function begun(file: OpenFile): OpenFile {
  const iterator = file.chunks[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let isTaken = false;
  let isOver = false;
  const read = async () => {
    for (let size = 0; size < MOST && !isTaken; ) {
      const { done, value } = await iterator.next();
      if (done) {
        isOver = true;
        return;
      }
      // A chunk is valid until the next one is requested.
      held.push(value.slice());
      size += value.byteLength;
    }
  };
  const reading = read();
  reading.catch(() => {});
  const chunks = async function* () {
    isTaken = true;
    try {
      // What is there comes out while the next bytes may be long in coming.
      for (let chunk = held.shift(); chunk; chunk = held.shift()) yield chunk;
      await reading;
      for (let chunk = held.shift(); chunk; chunk = held.shift()) yield chunk;
      while (!isOver) {
        const { done, value } = await iterator.next();
        if (done) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  };
  return { ...file, chunks: chunks() };
}
