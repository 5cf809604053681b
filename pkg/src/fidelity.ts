/** What storing weights in few bits costs, where it was measured. */

import type { ModelInfo } from "./types.js";

/**
 * Mean cosine to f32 over the 443 texts of `tests/js/cases/fidelity.mjs`, of all-MiniLM-L6-v2 whose
 * weights are stored so and held as q8 (docs/measurements.md).
 */
const COSINES: Readonly<Record<string, number>> = {
  "ONNX, 8 bits": 0.998,
  "ONNX, 8 bits by tensor": 0.93,
  "ONNX, 4 bits in blocks": 0.945,
};

/** What the crate says of a model, with the cosine of how it is stored. */
export function withCosine<T extends Pick<ModelInfo, "stored" | "dtype">>(info: T): T {
  if (!info.stored) return info;
  const cosine = info.dtype === "q6" ? Q6 : COSINES[info.stored.layout];
  return cosine === undefined ? info : { ...info, stored: { ...info.stored, cosine } };
}

const Q6 = 0.998;
