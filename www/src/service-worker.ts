/**
 * Caches the page's own files, so that it opens without a network. Models are not included: they
 * are in the package's cache, where the visitor can see and delete them.
 */

import { cleanupOutdatedCaches, precacheAndRoute } from "workbox-precaching";

declare const __PRECACHE__: { url: string; revision: string | null }[];

/** A module with a relaxed instruction: engines that take it load the package's relaxed builds. */
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2,
  253, 15, 253, 128, 2, 11,
];
const unused = WebAssembly.validate(new Uint8Array(RELAXED_SIMD))
  ? /simd128[^/]*\.wasm$/
  : /relaxed[^/]*\.wasm$/;

precacheAndRoute(__PRECACHE__.filter(({ url }) => !unused.test(url)));
cleanupOutdatedCaches();
