/** Models and references that several cases share, loaded once. */

import { load } from "gossamer-embed";
import { tensors } from "./safetensors.mjs";

export const MINILM = "models/sentence-transformers/all-MiniLM-L6-v2/";
export const TINY = "tests/fixtures/tiny-bert/";
export const SPLADE = "tests/fixtures/tiny-splade/";

const loaded = new Map();

/** An embedder of a folder of this repository. Not to be disposed of. */
export function embedder(origin, folder, dtype) {
  const key = `${folder} ${dtype}`;
  if (!loaded.has(key)) loaded.set(key, load(`${origin}/${folder}`, { dtype }));
  return loaded.get(key);
}

/** Disposes of the shared embedders, so that a case sees what memory it needs itself. */
export async function disposeAll() {
  for (const one of loaded.values()) (await one).dispose();
  loaded.clear();
}

/** A file of this repository. */
export async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The same, parsed. */
export async function fetchJson(url) {
  return JSON.parse(new TextDecoder().decode(await fetchBytes(url)));
}

/** A tiny model's files, by name, fresh for every caller. */
export async function tinyFiles(origin, folder = TINY) {
  const names = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "1_Pooling/config.json",
    "model.safetensors",
  ];
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await fetchBytes(`${origin}/${folder}${name}`)])),
  );
}

/** The texts of a list. */
export async function texts(origin, list) {
  const rows = await fetchJson(`${origin}/tests/fixtures/${list}`);
  return rows.map((row) => row.text ?? row.repeat.repeat(row.times));
}

/** The reference tensors of a file. */
export async function reference(origin, file) {
  return tensors(await fetchBytes(`${origin}/tests/fixtures/${file}`));
}

/** The rows of `{ data, shape }`. */
export function rows({ data, shape }) {
  return Array.from({ length: shape[0] }, (_, i) => data.subarray(i * shape[1], (i + 1) * shape[1]));
}

/** The error of a call that must fail. */
export async function failure(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("this call should have failed");
}
