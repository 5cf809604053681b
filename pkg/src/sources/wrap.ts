/** An internal option of `load`, for the command line, which is a bundle of its own. */

import type { LoadOptions } from "../types.js";
import type { Source } from "./source.js";

/** Key of the option. */
export const WRAP = Symbol.for("gossamer-embed/wrap");

/** Replaces the source of the model's files. */
export type Wrap = (place: Source) => Source;

/** Options of `load` that may have it. */
export type WrapOptions = LoadOptions & { [WRAP]?: Wrap | undefined };
