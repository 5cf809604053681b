/**
 * Vectors as a safetensors file, as xtask/js/demo-data.mjs writes it too: dense rows end to end,
 * and sparse vectors as the three arrays of a CSR matrix. https://huggingface.co/docs/safetensors
 */

import type { SparseVector } from "gossamer-embed";

/** The dense vectors of documents, end to end. */
export interface DenseRows {
  data: Float32Array;
  dimensions: number;
  tokens: number;
}

export interface StoredVectors {
  dense?: DenseRows;
  sparse?: SparseVector[];
}

interface Entry {
  dtype: "F32" | "U32";
  shape: number[];
  data_offsets: [number, number];
}

type Tensor = Pick<Entry, "dtype" | "shape"> & { parts: (Float32Array | Uint32Array)[] };

/** Writes vectors. The parts of large arrays are not copied. */
export function writeVectors(
  dense: { parts: Float32Array[]; dimensions: number; tokens: number } | undefined,
  sparse: readonly SparseVector[] | undefined,
): Blob {
  const tensors: Record<string, Tensor> = {};
  if (dense) {
    const values = dense.parts.reduce((sum, part) => sum + part.length, 0);
    const shape = [values / dense.dimensions, dense.dimensions];
    tensors.dense = { dtype: "F32", shape, parts: dense.parts };
    tensors["dense.tokens"] = { dtype: "U32", shape: [1], parts: [Uint32Array.of(dense.tokens)] };
  }
  if (sparse) {
    const ends = new Uint32Array(sparse.length + 1);
    sparse.forEach(({ indices }, row) => {
      ends[row + 1] = (ends[row] ?? 0) + indices.length;
    });
    const values = ends.at(-1) ?? 0;
    tensors["sparse.indptr"] = { dtype: "U32", shape: [ends.length], parts: [ends] };
    tensors["sparse.indices"] = {
      dtype: "U32",
      shape: [values],
      parts: sparse.map(({ indices }) => indices),
    };
    tensors["sparse.values"] = { dtype: "F32", shape: [values], parts: sparse.map(({ values }) => values) };
  }
  const header: Record<string, Entry> = {};
  let end = 0;
  for (const [name, { dtype, shape, parts }] of Object.entries(tensors)) {
    const start = end;
    end += parts.reduce((sum, part) => sum + part.byteLength, 0);
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  // The data begins at a multiple of eight bytes.
  const json = JSON.stringify(header);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
  const parts = Object.values(tensors).flatMap(({ parts }) => parts as BlobPart[]);
  return new Blob([BigUint64Array.of(BigInt(padded.length)), padded, ...parts]);
}

/** Reads vectors. Throws if the file is not one of these. */
export function readVectors(file: ArrayBuffer): StoredVectors {
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length))) as Record<
    string,
    Entry
  >;
  const tensor = <T>(name: string, View: new (buffer: ArrayBuffer) => T) => {
    const { data_offsets: [from, to] = [0, 0], shape = [] } = header[name] ?? {};
    return { shape, data: new View(file.slice(8 + length + from, 8 + length + to)) };
  };
  const vectors: StoredVectors = {};
  if (header.dense) {
    const { data, shape } = tensor("dense", Float32Array);
    const { data: tokens } = tensor("dense.tokens", Uint32Array);
    vectors.dense = {
      data,
      dimensions: shape[1] ?? 0,
      tokens: tokens.reduce((sum, count) => sum + count, 0),
    };
  }
  if (header["sparse.indptr"]) {
    const ends = tensor("sparse.indptr", Uint32Array).data;
    const indices = tensor("sparse.indices", Uint32Array).data;
    const values = tensor("sparse.values", Float32Array).data;
    vectors.sparse = [...ends].slice(1).map((end, row) => {
      const range = [ends[row] ?? 0, end] as const;
      return { indices: indices.slice(...range), values: values.slice(...range) };
    });
  }
  return vectors;
}
