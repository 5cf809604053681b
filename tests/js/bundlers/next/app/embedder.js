"use client";

import { useEffect } from "react";
import { outcome } from "./outcome";

/** A client component: embeds when it is shown. */
export function Embedder() {
  useEffect(() => {
    globalThis.outcome = outcome();
  }, []);
  return <p>Embeddings</p>;
}
