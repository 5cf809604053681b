/** Checked by the compiler only: the adapters have the types that their peers ask for. */

import type { EmbeddingModelV4, RerankingModelV4 } from "@ai-sdk/provider";
import type { EmbeddingsInterface } from "@langchain/core/embeddings";
import type { BaseDocumentCompressor } from "@langchain/core/retrievers/document_compressors";
import { BaseEmbedding } from "@llamaindex/core/embeddings";
import type { BaseNodePostprocessor } from "@llamaindex/core/postprocessor";
import type { OramaPlugin } from "@orama/orama";
import type { RecordSparseValues } from "@pinecone-database/pinecone";
import type { Schemas } from "@qdrant/js-client-rest";
import { embedMany, rerank } from "ai";
import {
  type EmbeddingFunction,
  registerEmbeddingFunction,
  registerSparseEmbeddingFunction,
  type SparseEmbeddingFunction,
} from "chromadb";
import * as gossamer from "gossamer-embed";
import { embeddingModel, rerankingModel } from "gossamer-embed/adapters/ai-sdk";
import { denseFunction, sparseFunction } from "gossamer-embed/adapters/chroma";
import { GossamerEmbeddings, GossamerReranker } from "gossamer-embed/adapters/langchain";
import { llamaIndexEmbedding, llamaIndexReranker } from "gossamer-embed/adapters/llamaindex";
import { oramaPlugin, withVectors } from "gossamer-embed/adapters/orama";
import { pgvectorSparse } from "gossamer-embed/adapters/pgvector";
import { pineconeSparse } from "gossamer-embed/adapters/pinecone";
import { qdrantSparse, qdrantVectors } from "gossamer-embed/adapters/qdrant";
import { type SemanticEmbedder, semanticEmbedder } from "gossamer-embed/adapters/semantic-embedder";

declare const embedder: gossamer.Embedder;
declare const sparse: gossamer.SparseVector;
declare const multi: gossamer.EncodedMulti;

export async function fits(): Promise<void> {
  const langchain: EmbeddingsInterface = new GossamerEmbeddings(embedder, { dimensions: 256 });
  const llamaIndex: BaseEmbedding = llamaIndexEmbedding(BaseEmbedding, embedder);
  const aiSdk: EmbeddingModelV4 = embeddingModel(embedder, { task: "document" });
  const { embeddings } = await embedMany({ model: aiSdk, values: ["a"] });
  const compressor: BaseDocumentCompressor = new GossamerReranker(embedder, { topK: 3 });
  const postprocessor: BaseNodePostprocessor = llamaIndexReranker(embedder, { topK: 3 });
  const rerankModel: RerankingModelV4 = rerankingModel(embedder, { activation: "sigmoid" });
  const { ranking } = await rerank({ model: rerankModel, query: "a", documents: ["b"] });
  const [best] = await embedder.rerank("a", ["b"], { topK: 1, returnDocuments: true });
  const score: number | undefined = best?.score;
  const scores: Float32Array = await embedder.score([["a", "b"]]);
  // @ts-expect-error: documents are texts.
  await embedder.rerank("a", [{ text: "b" }]);
  console.log(compressor, postprocessor, ranking, score, scores);

  const [Dense, Sparse] = [denseFunction(gossamer.load), sparseFunction(gossamer.load, "splade")];
  registerEmbeddingFunction("gossamer", Dense);
  registerSparseEmbeddingFunction("splade", Sparse);
  const dense: EmbeddingFunction = new Dense({ model: "org/name", dtype: "q8" });
  const sparseFn: SparseEmbeddingFunction = new Sparse({ model: "org/name", topK: 100 });
  // @ts-expect-error: a model is needed.
  new Dense({ dtype: "q8" });

  const plugin: OramaPlugin = oramaPlugin(embedder, { from: ["title"] });
  const [document] = await withVectors(embedder, [{ title: "a" }], { from: ["title"] });
  const title: string | undefined = document?.title;

  const qdrant: Schemas["SparseVector"] = qdrantSparse(sparse);
  const point: Schemas["PointStruct"] = { id: 1, vector: qdrantVectors(multi)[0] ?? {} };
  const pinecone: RecordSparseValues = pineconeSparse(sparse);
  const text: string = pgvectorSparse(sparse, embedder.info.dimensions);

  const Class = semanticEmbedder(gossamer, "org/name", { workers: 1 });
  const one: SemanticEmbedder = await Class.create({ signal: AbortSignal.timeout(1000) });
  const { embeddings: found } = await one.embed(["a"], { taskType: "clustering" });
  const values: Float32Array | undefined = found[0]?.values;
  // @ts-expect-error: a task that there is not.
  await one.embed("a", { taskType: "retrieval" });
  console.log(langchain, llamaIndex, embeddings, dense, sparseFn, plugin, title, qdrant, point, pinecone);
  console.log(text, values);
}

export async function outputs(texts: AsyncIterable<string>): Promise<void> {
  const float: Float32Array = (await embedder.encode("a")).data;
  const int8: Int8Array = (await embedder.encode("a", { output: "int8" })).data;
  const bits: Uint8Array = (await embedder.encode("a", { output: "ubinary" })).data;
  const table: gossamer.Matrix = embedder.similarity(
    await embedder.encode("a"),
    await embedder.encode("b", { output: "binary" }),
  );
  for await (const batch of embedder.stream(texts, { output: "binary" })) {
    const data: Int8Array = batch.data;
    const inputs: string[] = batch.inputs;
    console.log(data, inputs);
  }
  for await (const { vectors, first } of embedder.streamSparse(["a"]))
    console.log(vectors[0]?.indices, first);
  const [chunked] = await embedder.encodeChunks("a", { chunkSize: 256, overlap: 32, late: true });
  const text: string | undefined = chunked?.chunks[0]?.text;
  const fused: number | undefined = gossamer.fuse([[1, 2], [2]])[0]?.id;
  // @ts-expect-error: there is no such output.
  await embedder.encode("a", { output: "int4" });
  // @ts-expect-error: several kinds at once are always in f32.
  await embedder.encodeMulti("a", { dense: true, output: "int8" });
  console.log(float, int8, bits, table, text, fused);
}
