/** The models that the page offers. Any other can be loaded by name. */

import type { Use } from "./session.js";

export interface Offer {
  id: string;
  uses: Use[];
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
    uses: ["dense"],
    size: 91e6,
    note: "English, small and quick. Comes with this page.",
    bundled: {
      address: new URL("models/sentence-transformers/all-MiniLM-L6-v2/", document.baseURI).href,
      revision: "bundled-1",
    },
    onnx: "Xenova/all-MiniLM-L6-v2",
  },
  { id: "BAAI/bge-small-en-v1.5", uses: ["dense"], size: 133e6, note: "English, good at search." },
  { id: "intfloat/multilingual-e5-small", uses: ["dense"], size: 471e6, note: "A hundred languages." },
  { id: "Qwen/Qwen3-Embedding-0.6B", uses: ["dense"], size: 1.19e9, note: "Large; follows instructions." },
  {
    id: "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-mini",
    uses: ["sparse"],
    size: 91e6,
    note: "English; queries cost nothing but a lookup.",
  },
  {
    id: "naver/splade-v3-distilbert",
    uses: ["sparse"],
    size: 268e6,
    note: "English. Gated: needs a token.",
  },
  { id: "prithivida/Splade_PP_en_v1", uses: ["sparse"], size: 438e6, note: "English, open licence." },
  { id: "BAAI/bge-m3", uses: ["dense", "sparse"], size: 2.27e9, note: "Large; both kinds in one pass." },
  {
    id: "cross-encoder/ms-marco-MiniLM-L6-v2",
    uses: ["reranker"],
    size: 91e6,
    note: "English; orders what a search found.",
  },
];
