/** One instance of the WebAssembly module, and whether it can still be used. */

import { GossamerError, toGossamerError } from "./errors.js";
import type { GpuDevice, Job, Loader, Model } from "./wasm/bindings.js";
import bindings from "./wasm/gossamer.js";

export type { GpuDevice, Job, Loader, Model };

/**
 * An instance. After a trap nothing is known of its memory: the instance is then given up, with all models in it, and each
 * model is loaded anew into another instance when it is next called.
 */
export class Wasm {
  readonly memory: WebAssembly.Memory;
  readonly classes: Omit<ReturnType<typeof bindings>, "default">;
  /** Why the instance was given up, if it was. */
  trap: GossamerError | undefined;

  static async start(module: WebAssembly.Module): Promise<Wasm> {
    const classes = bindings();
    const { memory } = await classes.default({ module_or_path: module });
    return new Wasm(memory, classes);
  }

  private constructor(memory: WebAssembly.Memory, classes: Wasm["classes"]) {
    this.memory = memory;
    this.classes = classes;
  }

  /** Runs a call into the instance; whatever it throws becomes a {@link GossamerError}. */
  guard<T>(call: () => T): T {
    // An error of its own: the call that trapped is told from those that come after it.
    if (this.trap) throw new GossamerError("internal", this.trap.message, this.trap);
    try {
      return call();
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** What a call into the instance threw, as a {@link GossamerError}. All but errors of our own are traps. */
  explain(error: unknown): GossamerError {
    const known = toGossamerError(error);
    if (known.code === "internal" && known.cause === error) this.trap ??= known;
    return known;
  }

  /** Frees an object, which a trap may have left locked. In an instance that is given up nothing is freed. */
  release(object: { free(): void }): void {
    try {
      // Either way the garbage collector does not free it once more.
      if (this.trap) (object as unknown as { __destroy_into_raw(): void }).__destroy_into_raw();
      else object.free();
    } catch (error) {
      this.explain(error);
    }
  }
}
