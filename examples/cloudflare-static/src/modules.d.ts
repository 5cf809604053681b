/** What wrangler makes of such a file. */
declare module "*.bin" {
  const bytes: ArrayBuffer;
  export default bytes;
}
