/** The models that the page offers. Any other can be loaded by name. */

import type { Role } from "./session.js";

export interface Offer {
  id: string;
  roles: Role[];
  /** Size of the weights to download, in bytes. */
  size: number;
  note: string;
  /** Address of a model that comes with the page, and the version of its files for the cache. */
  bundled?: { address: string; revision: string };
  /** The repository with its ONNX export, if it is another one. */
  onnx?: string;
}

export const OFFERS: Offer[] = [
  {
    id: "sentence-transformers/all-MiniLM-L6-v2",
    roles: ["dense"],
    size: 91e6,
    note: "English, small and quick. Comes with this page.",
    bundled: {
      address: new URL("models/sentence-transformers/all-MiniLM-L6-v2/", document.baseURI).href,
      revision: "bundled-1",
    },
    onnx: "Xenova/all-MiniLM-L6-v2",
  },
  { id: "BAAI/bge-small-en-v1.5", roles: ["dense"], size: 133e6, note: "English, good at search." },
  { id: "intfloat/multilingual-e5-small", roles: ["dense"], size: 471e6, note: "A hundred languages." },
  { id: "Qwen/Qwen3-Embedding-0.6B", roles: ["dense"], size: 1.19e9, note: "Large; follows instructions." },
  {
    id: "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini",
    roles: ["sparse"],
    size: 91e6,
    note: "English; queries cost nothing but a lookup.",
  },
  {
    id: "naver/splade-v3-distilbert",
    roles: ["sparse"],
    size: 268e6,
    note: "English. Gated: needs a token.",
  },
  { id: "prithivida/Splade_PP_en_v1", roles: ["sparse"], size: 438e6, note: "English, open licence." },
  { id: "BAAI/bge-m3", roles: ["dense", "sparse"], size: 2.27e9, note: "Large; both kinds in one pass." },
];
