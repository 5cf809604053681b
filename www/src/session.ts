/** The loaded models, which all panels share. */

import type { Embedder, LoadOptions, ModelSource } from "gossamer-embed";

/** What a model is used for. A model with both kinds of vectors has both roles. */
export type Role = "dense" | "sparse";

export interface LoadedModel {
  embedder: Embedder;
  /** The source and options that it was loaded with, to load it again. */
  source: ModelSource;
  options: Pick<LoadOptions, "device" | "dtype" | "workers" | "endpoint" | "token" | "revision" | "file">;
  /** Hub id, address or name of a folder. */
  name: string;
  milliseconds: number;
}

/** Fires `change` whenever a model is added or removed. */
class Session extends EventTarget {
  readonly #models = new Map<Role, LoadedModel>();

  get dense(): LoadedModel | undefined {
    return this.#models.get("dense");
  }

  get sparse(): LoadedModel | undefined {
    return this.#models.get("sparse");
  }

  /** All models, each once. */
  get models(): LoadedModel[] {
    return [...new Set(this.#models.values())];
  }

  roles(model: LoadedModel): Role[] {
    return [...this.#models].flatMap(([role, other]) => (other === model ? [role] : []));
  }

  /** Assigns a model the roles that its vectors allow. Models without a role are disposed of. */
  add(model: LoadedModel): void {
    const { outputs } = model.embedder.info;
    this.#update(() => {
      for (const role of ["dense", "sparse"] as const) {
        if (outputs.includes(role)) this.#models.set(role, model);
      }
    });
  }

  remove(model: LoadedModel): void {
    this.#update(() => {
      for (const role of this.roles(model)) this.#models.delete(role);
    });
  }

  #update(change: () => void): void {
    const before = this.models;
    change();
    const now = this.models;
    for (const model of before) if (!now.includes(model)) model.embedder.dispose();
    this.dispatchEvent(new Event("change"));
  }
}

export const session = new Session();
