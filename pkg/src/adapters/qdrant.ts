/** Qdrant: sparse vectors and named vectors of points. */

import { GossamerError } from "../errors.js";
import type { EncodedMulti, SparseVector } from "../types.js";
import { lists, sparseLists } from "./shared/lists.js";

/** A sparse vector in Qdrant's format. */
export interface QdrantSparse {
  /** Token ids of the vocabulary that have a weight. */
  indices: number[];
  /** The weight of each index. */
  values: number[];
}

/** Converts a sparse vector for Qdrant's points and queries. */
export function qdrantSparse(vector: SparseVector): QdrantSparse {
  return sparseLists(vector);
}

/** Names of the vectors in a collection. */
export interface QdrantNames {
  /** Name of the dense vectors; `"dense"` by default. */
  dense?: string | undefined;
  /** Name of the sparse vectors; `"sparse"` by default. */
  sparse?: string | undefined;
  /** Name of the multivectors for late interaction; `"tokens"` by default. */
  tokens?: string | undefined;
}

/** Converts a result of `encodeMulti` to the `vector` of a point for each text. */
export function qdrantVectors(
  encoded: EncodedMulti,
  names: QdrantNames = {},
): Record<string, number[] | number[][] | QdrantSparse>[] {
  if (typeof encoded !== "object" || encoded === null || Array.isArray(encoded)) {
    throw new GossamerError("invalid_input", "Pass what encodeMulti gives.", { status: 400 });
  }
  const { dense, sparse, tokens } = encoded;
  const kinds: [string, (number[] | number[][] | QdrantSparse)[] | undefined][] = [
    [names.dense ?? "dense", dense && lists(dense)],
    [names.sparse ?? "sparse", sparse?.map(qdrantSparse)],
    [names.tokens ?? "tokens", tokens?.map(lists)],
  ];
  const given = kinds.flatMap(([name, vectors]) => (vectors ? [{ name, vectors }] : []));
  const points = given[0]?.vectors.length ?? 0;
  return Array.from({ length: points }, (_, at) =>
    Object.fromEntries(given.map(({ name, vectors }) => [name, vectors[at] as QdrantSparse])),
  );
}
