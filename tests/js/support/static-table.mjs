/** A static table of random numbers, of potion-base-8M's width, for any tokenizer. */

const COLUMNS = 256;

/** The files of a model with modules.json, by the bytes of a tokenizer.json. */
export function staticFiles(tokenizer) {
  const encode = (value) => new TextEncoder().encode(value);
  const rows = Object.keys(JSON.parse(new TextDecoder().decode(tokenizer)).model.vocab).length;
  const size = rows * COLUMNS * 4;
  const header = encode(
    JSON.stringify({ embeddings: { dtype: "F32", shape: [rows, COLUMNS], data_offsets: [0, size] } }).padEnd(
      128,
    ),
  );
  const weights = new Uint8Array(8 + header.length + size);
  const view = new DataView(weights.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  weights.set(header, 8);
  let seed = 1;
  for (let at = 8 + header.length; at < weights.length; at += 4) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    view.setFloat32(at, seed / 2 ** 32 - 0.5, true);
  }
  const modules = [
    { path: ".", type: "sentence_transformers.models.StaticEmbedding" },
    { path: "1_Normalize", type: "sentence_transformers.models.Normalize" },
  ];
  return {
    "modules.json": encode(JSON.stringify(modules)),
    "tokenizer.json": new Uint8Array(tokenizer),
    "model.safetensors": weights,
  };
}
