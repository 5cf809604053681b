/** A wasm file that is imported is a compiled module, where the host or the bundler does that. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

/** The wasm as text: base64 of what gzip made of it. */
declare module "*/wasm/inline.js" {
  const gzip: string;
  export default gzip;
}
