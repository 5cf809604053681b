// Downloads a model's files from the Hub: node download.mjs ORG/NAME FOLDER
// HF_ENDPOINT names a mirror, HF_TOKEN a token, as for other Hub clients.

import { createWriteStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const REQUIRED = ["config.json", "tokenizer.json", "model.safetensors"];
const OPTIONAL = [
  "modules.json",
  "config_sentence_transformers.json",
  "sentence_bert_config.json",
  "added_tokens.json",
  "special_tokens_map.json",
  "tokenizer_config.json",
];

const [id, folder] = process.argv.slice(2);
const base = `${process.env.HF_ENDPOINT ?? "https://huggingface.co"}/${id}/resolve/main/`;
const headers = process.env.HF_TOKEN ? { authorization: `Bearer ${process.env.HF_TOKEN}` } : {};

/** Fetches one file; false if there is none. */
async function download(name) {
  const response = await fetch(base + name, { headers });
  if (response.status === 404) return false;
  if (!response.ok) throw new Error(`${base}${name} answers ${response.status}`);
  const file = join(folder, name);
  await mkdir(dirname(file), { recursive: true });
  try {
    await pipeline(Readable.fromWeb(response.body), createWriteStream(file));
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
  return true;
}

try {
  for (const name of REQUIRED) {
    if (!(await download(name))) throw new Error(`${base} has no ${name}`);
  }
  for (const name of OPTIONAL) {
    if (!(await download(name)) || name !== "modules.json") continue;
    const { default: modules } = await import(join(folder, name), { with: { type: "json" } });
    for (const { path } of modules.filter(({ path }) => path && !path.includes(".."))) {
      await download(`${path}/config.json`);
      await download(`${path}/model.safetensors`);
    }
  }
} catch (error) {
  console.error(`${error.message}${error.cause ? ` (${error.cause.message})` : ""}`);
  process.exitCode = 1;
}
