/** Hosts and bundlers that can import wasm files import them as compiled modules. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

/** The wasm, compressed with zstd and encoded as base64. */
declare module "*/wasm/inline.js" {
  const zstd: string;
  export default zstd;
}
