/**
 * Keeps the page's own files, so that it opens without a network. Models are not among them: those are in the package's
 * cache, where the visitor sees and deletes them.
 */

import { cleanupOutdatedCaches, precacheAndRoute } from "workbox-precaching";

declare const __PRECACHE__: { url: string; revision: string | null }[];

precacheAndRoute(__PRECACHE__);
cleanupOutdatedCaches();
