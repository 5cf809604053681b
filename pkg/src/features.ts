/**
 * Detects the wasm features of the engine. `validate` works even where compiling from bytes is
 * forbidden.
 */

import { GossamerError } from "./errors.js";

/** A module with a function that splats an i32 and takes the absolute values of its lanes. */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98,
  11,
];
/** A module with a function that does a relaxed swizzle. */
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2,
  253, 15, 253, 128, 2, 11,
];

/** Whether the engine has relaxed SIMD. Throws if it has no SIMD at all. */
export function hasRelaxedSimd(): boolean {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new GossamerError(
      "unsupported_runtime",
      "This engine has no WebAssembly SIMD. Chrome 91, Firefox 89, Safari 16.4, Node 20 and their successors have it.",
      { status: 501 },
    );
  }
  return WebAssembly.validate(new Uint8Array(RELAXED_SIMD));
}
