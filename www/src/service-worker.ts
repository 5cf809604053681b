/**
 * Caches the page's own files, so that it opens without a network. Models are not included: they
 * are in the package's cache, where the visitor can see and delete them.
 */

import { cleanupOutdatedCaches, precacheAndRoute } from "workbox-precaching";

declare const __PRECACHE__: { url: string; revision: string | null }[];

precacheAndRoute(__PRECACHE__);
cleanupOutdatedCaches();
