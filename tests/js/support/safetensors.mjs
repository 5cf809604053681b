/** Reads safetensors, and writes broken ones. */

const ARRAYS = { F32: Float32Array, I32: Int32Array, I64: BigInt64Array };

/** `{ header, data }`: what the header says, and the bytes after it. */
export function split(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = Number(view.getBigUint64(0, true));
  return {
    header: JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))),
    data: bytes.subarray(8 + length),
  };
}

/** The reverse of `split`. `length` may lie. */
export function join(header, data, length) {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

/** The file cut in two, tensors dealt out by turns: the index, and each shard by its name. */
export function shards(bytes) {
  const { header, data } = split(bytes);
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const parts = names.map(() => ({ header: {}, data: [], size: 0 }));
  const map = {};
  for (const [at, [tensor, entry]] of Object.entries(header).entries()) {
    if (tensor === "__metadata__") continue;
    const part = parts[at % 2];
    const own = data.subarray(...entry.data_offsets);
    part.header[tensor] = { ...entry, data_offsets: [part.size, part.size + own.length] };
    part.data.push(...own);
    part.size += own.length;
    map[tensor] = names[at % 2];
  }
  const files = names.map((name, at) => [name, join(parts[at].header, Uint8Array.from(parts[at].data))]);
  return { index: { metadata: {}, weight_map: map }, files: Object.fromEntries(files) };
}

/** The file in half as many bytes: F32 as BF16, cut off. */
export function halved(bytes) {
  const { header, data } = split(bytes);
  const halves = Object.entries(header).filter(([, { dtype }]) => dtype === "F32");
  for (const [, entry] of halves) {
    const own = Uint8Array.from(data.subarray(...entry.data_offsets));
    const upper = new Uint16Array(own.buffer).filter((_, i) => i % 2 === 1);
    entry.dtype = "BF16";
    entry.bytes = new Uint8Array(upper.buffer);
  }
  let end = 0;
  const parts = Object.values(header).flatMap((entry) => {
    if (!entry.data_offsets) return [];
    const { bytes = data.subarray(...entry.data_offsets) } = entry;
    delete entry.bytes;
    entry.data_offsets = [end, end + bytes.length];
    end += bytes.length;
    return [...bytes];
  });
  return join(header, Uint8Array.from(parts));
}

/** Tensors by name: `{ shape, data }`. */
export function tensors(bytes) {
  const { header, data } = split(bytes);
  const all = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    all.map(([name, { dtype, shape, data_offsets }]) => {
      // Copied, because the data may not be aligned.
      const copy = data.slice(...data_offsets).buffer;
      return [name, { shape, data: new ARRAYS[dtype](copy) }];
    }),
  );
}
