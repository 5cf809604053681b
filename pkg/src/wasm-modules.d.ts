/** A wasm file that is imported is a compiled module, where the host or the bundler does that. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
