/**
 * Which models were loaded, so that a reload brings them back. Their files are in the package's
 * cache.
 */

import type { LoadedModel, Use } from "./loaded.js";

const KEY = "gossamer-models";

/** A model to load again. Those that come with the page have no more than `own`. */
export type Remembered =
  | { own: true }
  | { own?: false; source: string; name: string; options: LoadedModel["options"] };

export type RememberedModels = Partial<Record<Use, Remembered>>;

export function remembered(): RememberedModels {
  try {
    const known: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(known as object).filter(([, entry]) => isUsable(entry)));
  } catch {
    // Storage may be forbidden, or hold what another page has put there.
    return {};
  }
}

/**
 * Remembers a model. The files of a visitor's disk cannot be read again, so such a model is not.
 */
export function remember(use: Use, { source, name, options, own }: LoadedModel): void {
  const { token: _, ...others } = options;
  const entry: Remembered | undefined = own
    ? { own }
    : typeof source === "string"
      ? { source, name, options: others }
      : undefined;
  write({ ...remembered(), [use]: entry });
}

export function forget(use: Use): void {
  write({ ...remembered(), [use]: undefined });
}

function write(models: RememberedModels): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(models));
  } catch {
    // Without storage the next visit begins anew.
  }
}

function isUsable(entry: unknown): boolean {
  const { own, source, name, options } = Object(entry);
  return (
    own === true || ([source, name].every((text) => typeof text === "string") && typeof options === "object")
  );
}
