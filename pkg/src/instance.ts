/** An instance of the WebAssembly module, and its state after a trap. */

import { GossamerError, toGossamerError } from "./errors.js";
import type { GpuDevice, Job, Loader, Model } from "./wasm/bindings.js";
import bindings from "./wasm/gossamer.js";

export type { GpuDevice, Job, Loader, Model };

/** A function that only the full build exports (src/web/mod.rs). */
const MARK = "isFull";

/** Whether a module is the full build. */
export function isFull(module: WebAssembly.Module): boolean {
  return WebAssembly.Module.exports(module).some(({ name }) => name === MARK);
}

/**
 * An instance. After a trap its memory may be in any state, so the instance and all models in it
 * are abandoned. Each model is loaded into a new instance at its next call.
 */
export class Wasm {
  readonly memory: WebAssembly.Memory;
  readonly classes: Omit<ReturnType<typeof bindings>, "default">;
  /** Whether it is the full build. */
  readonly isFull: boolean;
  /** The trap after which the instance was abandoned, if there was one. */
  trap: GossamerError | undefined;
  /** Rejects the promises of callers that wait for the instance when it traps. */
  readonly #waiting = new Set<(trap: GossamerError) => void>();

  static async start(module: WebAssembly.Module): Promise<Wasm> {
    let wasm: Wasm | undefined;
    // Errors in microtasks of the instance (continuations of its own promises) have no caller to
    // catch them.
    const classes = bindings((act) => {
      queueMicrotask(() => {
        try {
          act();
        } catch (error) {
          wasm?.explain(error);
        }
      });
    });
    const { memory } = await classes.default({ module_or_path: module });
    wasm = new Wasm(memory, classes, isFull(module));
    return wasm;
  }

  private constructor(memory: WebAssembly.Memory, classes: Wasm["classes"], isFull: boolean) {
    this.isFull = isFull;
    this.memory = memory;
    this.classes = classes;
  }

  /** Runs a call into the instance. Whatever it throws becomes a {@link GossamerError}. */
  guard<T>(call: () => T): T {
    // A new error object distinguishes this call from the call that trapped.
    if (this.trap) throw new GossamerError("internal", this.trap.message, this.trap);
    try {
      return call();
    } catch (error) {
      throw this.explain(error);
    }
  }

  /**
   * Converts an error of the instance to a {@link GossamerError}. Every error that is not one of
   * ours is a trap.
   */
  explain(error: unknown): GossamerError {
    const known = toGossamerError(error);
    if (known.code === "internal" && known.cause === error) {
      this.trap ??= known;
      for (const reject of this.#waiting) reject(known);
    }
    return known;
  }

  /**
   * Waits for a promise of the instance. Rejects if the instance traps, since the promise would
   * then never settle.
   */
  async settled<T>(promise: Promise<T> | undefined): Promise<T | undefined> {
    let reject: ((trap: GossamerError) => void) | undefined;
    try {
      return await new Promise<T | undefined>((resolve, fail) => {
        reject = fail;
        this.#waiting.add(fail);
        Promise.resolve(promise).then(resolve, fail);
      });
    } catch (error) {
      throw this.explain(error);
    } finally {
      if (reject) this.#waiting.delete(reject);
    }
  }

  /**
   * Frees an object. In an abandoned instance nothing is freed: a trap may have left the object
   * locked.
   */
  release(object: { free(): void }): void {
    try {
      // Both ways keep the garbage collector from freeing it again.
      if (this.trap) (object as unknown as { __destroy_into_raw(): void }).__destroy_into_raw();
      else object.free();
    } catch (error) {
      this.explain(error);
    }
  }
}
