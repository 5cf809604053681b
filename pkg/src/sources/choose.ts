/** Chooses the weight file of a model whose files are listed. */

import type { LoadOptions } from "../types.js";
import type { Listing } from "./source.js";

/**
 * Weight types in names of GGUF files, best first. 8 bits is the default in memory; more bits cost
 * download time, fewer cost accuracy.
 */
const GGUF_TYPES = ["q8_0", "f16", "bf16", "f32", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0"];

/** Variants of `model.safetensors` with fewer bits, by transformers' naming. */
const VARIANT = /^model\.(int8|q8|fp16|f16|bf16)\.safetensors$/;

/**
 * The weight file to load, if it is not `model.safetensors`: the smallest one that is exact enough.
 */
export function chooseFile(listing: Listing, dtype: LoadOptions["dtype"]): string | undefined {
  if (!listing.has("config.json")) return onlyGguf(listing);
  const plain = listing.get("model.safetensors");
  if (plain && dtype === "f32") return undefined;
  const size = (name: string) => listing.get(name)?.size ?? Number.POSITIVE_INFINITY;
  const [smallest] = [...listing.keys()]
    .filter((name) => VARIANT.test(name))
    .sort((a, b) => size(a) - size(b));
  return smallest !== undefined && plain && size(smallest) >= size("model.safetensors")
    ? undefined
    : smallest;
}

/** The GGUF file to load, for a model that has only such files. */
function onlyGguf(listing: Listing): string | undefined {
  const names = [...listing.keys()];
  const rank = (name: string) => {
    const type = GGUF_TYPES.findIndex((type) => name.toLowerCase().includes(type));
    return type < 0 ? GGUF_TYPES.length : type;
  };
  const whole = names.filter((name) => /\.gguf$/i.test(name) && !/-\d{5}-of-\d{5}\./.test(name));
  return whole.sort((a, b) => rank(a) - rank(b))[0];
}
