/**
 * Which weight file of a model to load, where the place lists its files. The crate chooses alike
 * (`LoadOptions::choose`); `tests/fixtures/choices.json` has cases for both.
 */

import type { LoadOptions } from "../types.js";
import type { Listing } from "./source.js";

/** Files in 16 bits, by the names of transformers, optimum and transformers.js, the best first. */
const HALVES = [
  "model.fp16.safetensors",
  "model.f16.safetensors",
  "model.bf16.safetensors",
  "onnx/model_fp16.onnx",
  "onnx/model_O4.onnx",
];

/**
 * Files in 8 bits, the most exact first. With a scale for each channel signed and unsigned codes
 * lose equally little; with one for a whole tensor unsigned ones, which have a zero point, lose a
 * third of what signed ones lose. Also looked for where a place lists nothing.
 */
export const EIGHTHS = [
  "model.int8.safetensors",
  "model.q8.safetensors",
  "onnx/model_uint8.onnx",
  "onnx/model_quantized.onnx",
  "onnx/model_int8.onnx",
  "onnx/model_quint8_avx2.onnx",
  "onnx/model_qint8_avx512_vnni.onnx",
  "onnx/model_qint8_avx512.onnx",
  "onnx/model_qint8_arm64.onnx",
];

/** Weight types in names of GGUF files, best first, where nothing is to be lost. */
const GGUF = ["f16", "bf16", "q8_0", "f32", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0"];
/** The same for the smallest download that is exact enough. */
const SMALL_GGUF = ["q8_0", "f16", "bf16", "q6_k", "q5_k", "q5_1", "q5_0", "f32", "q4_k", "q4_1", "q4_0"];

/** Weights that need no choice: the loader finds them. */
const USUAL = [
  /^model\.safetensors$/,
  /^model-\d{5}-of-\d{5}\.safetensors$/,
  /^pytorch_model(-\d{5}-of-\d{5})?\.bin$/,
  /^onnx\/model\.onnx(_data(_\d+)?)?$/,
  /^model\.onnx(_data(_\d+)?)?$/,
];

/** A file in fewer bits is taken if it has less than this part of the bytes of the usual one. */
const WORTHWHILE = 0.8;

/**
 * The weight files to try, one after the other if one is refused. `undefined` leaves it to the
 * loader to find the usual file.
 */
export function choices(
  listing: Listing,
  { dtype, download }: Pick<LoadOptions, "dtype" | "download">,
): (string | undefined)[] {
  const names = [...listing.keys()];
  const usual = USUAL.map((pattern) => names.filter((name) => pattern.test(name))).find(
    (found) => found.length > 0,
  );
  const isSmall = download === "small";
  const ggufs = names.filter((name) => /\.gguf$/i.test(name) && !/-\d{5}-of-\d{5}\./.test(name));
  const first = HALVES.concat(EIGHTHS).filter((name) => listing.has(name));
  if (ggufs.length > 0 && !usual && first.length === 0) {
    return [ranked(ggufs, isSmall ? SMALL_GGUF : GGUF)];
  }
  if (!listing.has("config.json")) return [undefined];
  const sizeOf = (name: string) => {
    const beside = names.filter((other) => other.startsWith(`${name}_data`));
    const sizes = [name, ...beside].map((file) => listing.get(file)?.size);
    return sizes.reduce<number>((sum, size) => sum + (size ?? Number.POSITIVE_INFINITY), 0);
  };
  let least = usual
    ? usual.reduce((sum, name) => sum + (listing.get(name)?.size ?? 0), 0)
    : Number.POSITIVE_INFINITY;
  const chosen: (string | undefined)[] = usual ? [undefined] : [];
  const take = (candidates: string[]) => {
    const found = candidates.find(
      (name) =>
        listing.has(name) && (least === Number.POSITIVE_INFINITY || sizeOf(name) < WORTHWHILE * least),
    );
    if (found === undefined) return;
    least = sizeOf(found);
    chosen.unshift(found);
  };
  if (dtype !== "f32" || !usual) take(HALVES);
  if (isSmall || chosen.length === 0) take(EIGHTHS);
  return chosen.length > 0 ? chosen : [undefined];
}

function ranked(names: string[], types: string[]): string | undefined {
  const rank = (name: string) => {
    const type = types.findIndex((type) => name.toLowerCase().includes(type));
    return type < 0 ? types.length : type;
  };
  return names.sort((a, b) => rank(a) - rank(b))[0];
}
