/** The loaded models, which all panels share. */

import type { LoadedModel, Role, Use } from "./loaded.js";
import { forget, remember } from "./remembered.js";

export type { LoadedModel, Role, Use };

export const USES: readonly Use[] = ["dense", "sparse", "reranker"];

/** The output that a model must have for each use. */
const OUTPUTS = { dense: "dense", sparse: "sparse", reranker: "scores" } as const;

/** Fires `change` whenever a model is added or removed. */
class Session extends EventTarget {
  readonly #models = new Map<Use, LoadedModel>();

  get dense(): LoadedModel | undefined {
    return this.#models.get("dense");
  }

  get sparse(): LoadedModel | undefined {
    return this.#models.get("sparse");
  }

  get reranker(): LoadedModel | undefined {
    return this.#models.get("reranker");
  }

  /** All models, each once. */
  get models(): LoadedModel[] {
    return [...new Set(this.#models.values())];
  }

  uses(model: LoadedModel): Use[] {
    return [...this.#models].flatMap(([use, other]) => (other === model ? [use] : []));
  }

  /** Uses a model for all that its outputs allow. Models without a use are disposed of. */
  add(model: LoadedModel): void {
    const { outputs } = model.embedder.info;
    this.#update(() => {
      for (const use of USES) {
        if (!outputs.includes(OUTPUTS[use])) continue;
        this.#models.set(use, model);
        remember(use, model);
      }
    });
  }

  remove(model: LoadedModel): void {
    this.#update(() => {
      for (const use of this.uses(model)) {
        this.#models.delete(use);
        forget(use);
      }
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
