/**
 * The shared cases, by topic, in the order in which they run. Every engine runs all of `topics`;
 * `once` is for one of them.
 */

import * as bits from "./bits.mjs";
import * as cache from "./cache.mjs";
import * as chunks from "./chunks.mjs";
import * as colbert from "./colbert.mjs";
import * as families from "./families.mjs";
import * as formats from "./formats.mjs";
import * as hostile from "./hostile.mjs";
import * as lifecycle from "./lifecycle.mjs";
import * as lora from "./lora.mjs";
import * as memory from "./memory.mjs";
import * as openai from "./openai.mjs";
import * as output from "./output.mjs";
import * as parity from "./parity.mjs";
import * as pool from "./pool.mjs";
import * as requests from "./requests.mjs";
import * as rerank from "./rerank.mjs";
import * as rerankFormats from "./rerank-formats.mjs";
import * as save from "./save.mjs";
import * as semanticEmbedder from "./semantic-embedder.mjs";
import * as stated from "./stated.mjs";
import * as staticTables from "./static.mjs";
import * as stream from "./stream.mjs";
import * as tokens from "./tokens.mjs";
import * as topK from "./top-k.mjs";

export const topics = {
  memory: memory.cases,
  lifecycle: lifecycle.cases,
  openai: openai.cases,
  formats: formats.cases,
  requests: requests.cases,
  families: families.cases,
  lora: lora.cases,
  staticTables: staticTables.cases,
  tokens: tokens.cases,
  colbert: colbert.cases,
  rerank: rerank.cases,
  rerankFormats: rerankFormats.cases,
  output: output.cases,
  chunks: chunks.cases,
  topK: topK.cases,
  stream: stream.cases,
  semanticEmbedder: semanticEmbedder.cases,
  hostile: hostile.cases,
  parity: parity.cases,
  bits: bits.cases,
  pool: pool.cases,
  save: save.cases,
  cache: cache.cases,
  stated: stated.cases,
};
export const once = { ...parity.once, ...bits.once };
/**
 * Topics that depend on the host: its files, threads, streams, network and memory. The others are
 * the engine's work.
 */
export const host = ["memory", "lifecycle", "stream", "pool", "save", "cache", "lora"];
export { digests } from "./bits.mjs";
